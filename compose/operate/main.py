"""``swarm``: finds the command and runs it."""

from __future__ import annotations

import sys
from importlib import import_module

from compose.operate.errors import OperateError
from compose.operate.host import VERSION
from compose.operate.plain import plain

COMMANDS: dict[str, tuple[str, str]] = {
    "gen-cert": ("compose.operate.gen_cert", "make the certificates of one host"),
    "run-license": ("compose.operate.run:license_server", "start the license server"),
    "run-sn": ("compose.operate.run:sn", "start an SN node"),
    "run-sl": ("compose.operate.run:sl", "start an SL node, and an ML container beside it"),
    "run-swop": ("compose.operate.run:swop", "start a SWOP node"),
    "run-swci": ("compose.operate.run:swci", "start SWCI, the operators' shell"),
    "list": ("compose.operate.listing", "show what of a swarm is on this host"),
    "stop-swarm": ("compose.operate.stop", "stop it"),
    "preflight": ("compose.operate.preflight", "check this host before a run"),
    "collect-logs": ("compose.operate.collect", "gather logs and settings into an archive"),
}
"""Name -> (module, or module:function, where it is not ``main``; what it does)."""


def usage() -> str:
    """The text of ``swarm --help``."""
    lines = [
        "usage: swarm COMMAND [OPTION...]",
        "",
        "Swarm Learning's nodes on this host, in containers.",
        "",
    ]
    lines += [f"  {name:14}{summary}" for name, (_, summary) in COMMANDS.items()]
    lines += [
        "", "`swarm COMMAND --help` tells more. Images are $SWARM_IMAGES/COMPONENT:$SWARM_TAG,",
        f"by default swarm-learning/COMPONENT:{VERSION}. docs/swarm-command.md has whole examples.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code (2 for a wrong command line)."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("--help", "-h", "help"):
        print(usage(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"swarm {VERSION}")
        return 0
    try:
        return _dispatch(words[0], list(words[1:]))
    except OperateError as error:
        print(f"Error: {plain(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _dispatch(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        print(f"Error: there is no command {name}.\n\n{usage()}", end="", file=sys.stderr)
        return 2
    module, _, function = COMMANDS[name][0].partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        print(f"Error: this version of swarm has no {name} yet.", file=sys.stderr)
        return 2
    return int(getattr(found, function or "main")(words))


if __name__ == "__main__":
    sys.exit(main())
