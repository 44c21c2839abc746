"""A whole swarm on this machine, every node a process of its own.

    python -m compose.local run --nodes 3 --min-peers 2 -- python my_train.py --node {index}
    python -m compose.local swop examples/digits     SWOPs start the pairs, as one SWCI script says
    python -m compose.local up --sns 3               license server and SNs, until Ctrl-C or `down`
    python -m compose.local status --json            who runs, where, which round, who leads
    python -m compose.local logs sl-2 -f             a node's log
    python -m compose.local history                  the training's history, proven on every SN
    python -m compose.local kill sn-1                kill a node, to see what happens
    python -m compose.local restart sn-1             start a node again; an SL with its program
    python -m compose.local down                     stop what runs

`run` starts a license server, the sentinel SN and those that join it, and for each node an SL and
one process of your program, and waits for them. In the program's words {index} (1 to N), {nodes},
{min_peers}, {contract}, {node_dir} and {run_dir} are filled in; its environment has NODE_ID,
MIN_PEERS, SCRATCH_DIR, MODEL_DIR and what SwarmCallback needs. The run folder keeps everything.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C in the imports: no traceback

from compose import control, pairs, run_folder, status
from compose.output import JsonOutput, Output, TextOutput
from compose.plan import REPOSITORY, Request
from compose.policy import SN_PATIENCE
from compose.processes import last_lines
from compose.session import Options, run_session
from services.common.errors import ConfigError, NotFoundError, SwarmError
from services.common.ids import DEFAULT_CONTRACT

DOWN_SECONDS = 60.0
"""How long `down` lets a swarm stop in order before it kills it."""
RESTART_SECONDS = 180.0
"""How long `restart` waits for a service to be stopped, started and ready."""
LOOK_SECONDS = 0.2
LOG_LINES = 50
EXAMPLE = (
    "e.g. python -m compose.local run --nodes 3 --min-peers 2 -- python my_train.py --node {index}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0: all went well. 1: a node failed, or the run was stopped before its end. 2: wrong arguments
    or certificates, port or folder taken. 3 to 5: as in ``services.common.errors``. 130, 143:
    stopped by Ctrl-C, SIGTERM.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    program: list[str] = []
    if "--" in given:
        at = given.index("--")
        given, program = given[:at], given[at + 1 :]
    parser = _parser()
    options, unknown = parser.parse_known_args(given)
    if unknown:
        hint = " (put -- before the program)" if options.command == "run" and not program else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    try:
        code: int = COMMANDS[options.command](options, tuple(program))
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def _run(options: argparse.Namespace, program: tuple[str, ...]) -> int:
    if not program:
        raise ConfigError(f"no program: name it after --, {EXAMPLE}")
    if options.nodes < 1:
        raise ConfigError(f"--nodes {options.nodes}: a run needs at least 1")
    wanted = options.nodes if options.min_peers is None else options.min_peers
    return _session(options, program, wanted)


def _up(options: argparse.Namespace, program: tuple[str, ...]) -> int:
    if program:
        raise ConfigError("up starts no program: use run")
    return _session(options, (), 1)


def _swop(options: argparse.Namespace, program: tuple[str, ...]) -> int:
    if program:
        raise ConfigError("swop starts no program of its own: the task definition names it")
    request = Request(0, contract=options.contract, sns=options.sns)
    return _start(options, request, options.folder.resolve().name)


def _session(options: argparse.Namespace, program: tuple[str, ...], min_peers: int) -> int:
    request = Request(
        options.nodes, min_peers, program, options.contract, options.quorum_seconds, options.sns,
        getattr(options, "foreign_client", False),
    )  # fmt: skip
    label = Path(program[-1] if len(program) == 1 else program[1]).stem if program else "up"
    return _start(options, request, label)


def _start(options: argparse.Namespace, request: Request, label: str) -> int:
    output: Output = JsonOutput(sys.stdout) if options.json else TextOutput(sys.stdout)
    asked = Options(
        request, options.run_dir, label, options.certs, options.license_port,
        tuple(options.sn_p2p_port), tuple(options.sn_api_port), tuple(options.sl_port),
        getattr(options, "wait_for_return", False), options.wait_for_sns,
        getattr(options, "folder", None),
    )  # fmt: skip
    return asyncio.run(run_session(asked, output)).exit_code


def _status(options: argparse.Namespace, _program: tuple[str, ...]) -> int:
    state = asyncio.run(status.read(options.run_dir or run_folder.latest()))
    if options.json:
        print(json.dumps(state, indent=1))
    else:
        print("\n".join(status.table(state)))
    return 0


def _logs(options: argparse.Namespace, _program: tuple[str, ...]) -> int:
    run_dir = options.run_dir or run_folder.latest()
    logs = _log_files(run_dir, run_folder.read_state(run_dir))
    if not options.node:
        for name, path in logs.items():
            print(f"==> {name} ({run_folder.shown(path)})", *last_lines(path, 5), sep="\n")
        return 0
    if options.node not in logs:
        raise NotFoundError(f"no log of {options.node!r} in {run_dir}; there are {', '.join(logs)}")
    if options.follow:
        _follow(logs[options.node], run_dir)
    else:
        print("\n".join(last_lines(logs[options.node], LOG_LINES)))
    return 0


def _log_files(run_dir: Path, state: Mapping[str, Any]) -> dict[str, Path]:
    """The logs of a run by the names of the nodes, those of SWOPs' pairs included."""
    files = sorted((run_dir / "logs").glob("*.log")) + pairs.kept_logs(run_dir)
    running = {one["name"]: Path(one["log"]) for one in state["nodes"]}
    return {path.stem: path for path in files} | {
        name: path for name, path in running.items() if path.exists()
    }


def _follow(path: Path, run_dir: Path) -> None:
    """Print a log as it grows, until the run ends or Ctrl-C."""
    with path.open("rb") as log:
        while True:
            running = run_folder.is_running(run_dir)
            sys.stdout.write(log.read().decode(errors="replace"))
            sys.stdout.flush()
            if not running:
                return
            time.sleep(LOOK_SECONDS)


def _command(options: argparse.Namespace, _program: tuple[str, ...]) -> int:
    run_dir = options.run_dir or run_folder.latest()
    run_folder.read_state(run_dir)
    print(control.ask(run_dir, options.command, options.node, RESTART_SECONDS))
    return 0


def _history(options: argparse.Namespace, program: tuple[str, ...]) -> int:
    run_dir = options.run_dir or run_folder.latest()
    state = run_folder.read_state(run_dir)
    sns = status.running_sns(state) if run_folder.is_running(run_dir) else []
    if not sns:
        raise NotFoundError(f"no SN runs in {run_folder.shown(run_dir)}: its ledger.json is kept")
    certs = Path(state["certs"])
    named = [word for sn in sns for word in ("--sn", sn)]
    command = [
        sys.executable, "-m", "services.sn.history", *named, "--contract",
        state["contract"]["name"], "--cert", str(certs / "swci-1-cert.pem"), "--key",
        str(certs / "swci-1-key.pem"), "--capath", str(certs / "ca" / "capath"), *program,
    ]  # fmt: skip
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def _down(options: argparse.Namespace, _program: tuple[str, ...]) -> int:
    run_dir = options.run_dir or run_folder.latest()
    run_folder.read_state(run_dir)
    if not run_folder.is_running(run_dir):
        print(f"nothing runs in {run_folder.shown(run_dir)}")
        return 0
    pid = run_folder.pid_of(run_dir)
    for number, patience in ((signal.SIGTERM, DOWN_SECONDS), (signal.SIGKILL, DOWN_SECONDS)):
        _signal(pid, number)
        if _ended_within(run_dir, patience):
            print(f"stopped the swarm in {run_folder.shown(run_dir)}")
            return 0
    raise SwarmError(f"the swarm in {run_dir} (pid {pid}) does not stop")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended just now
    except PermissionError as exc:
        raise ConfigError(f"process {pid} belongs to another user") from exc


def _ended_within(run_dir: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not run_folder.is_running(run_dir):
            return True
        time.sleep(LOOK_SECONDS)
    return False


COMMANDS = {
    "run": _run, "swop": _swop, "up": _up, "status": _status, "logs": _logs, "history": _history,
    "kill": _command, "restart": _command, "down": _down,
}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compose.local", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="train: SNs, SLs and your program; ends with them", epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _pair_options(run, nodes=3)
    _start_options(run)
    run.add_argument("--min-peers", type=int, help="a round needs; default: all")
    run.add_argument(
        "--wait-for-return", action="store_true",
        help="go on waiting when fewer than --min-peers, or too few SNs, are left, instead of "
        "stopping",
    )  # fmt: skip
    run.add_argument(
        "--foreign-client", action="store_true",
        help="the programs use HPE's client wheel (2.1 to 2.3), which has /tmp/hpe-swarm built in: "
        "give each one of its own (Linux; docs/foreign-clients.md)",
    )  # fmt: skip
    run.usage = "%(prog)s [options] -- PROGRAM [ARGUMENT ...]"
    up = commands.add_parser("up", help="license server and SNs (and SLs); stays until stopped")
    _pair_options(up, nodes=0)
    _start_options(up)
    swop = commands.add_parser("swop", help="SWOPs and SWCI; ends with SWCI's script")
    swop.add_argument("folder", type=Path, help="holds swci/swci-init, swop/*profile.yaml, program")
    _start_options(swop)
    for name, what in (
        ("status", "per node: pid, uid, ports, state, round, leader"),
        ("logs", "the logs' ends, or one node's log"),
        ("history", "every round, verified on every SN; options of services.sn.history after --"),
        ("kill", "kill a node at once (SIGKILL), to see what the others do"),
        ("restart", "start a node again, with what it had; an SL and its program together"),
        ("down", "stop what runs in a run folder"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--run-dir", type=Path, help="default: the one that runs, or the last")
        if name == "status":
            command.add_argument("--json", action="store_true", help="for programs")
        if name in {"kill", "restart"}:
            command.add_argument("node", help="e.g. sn-2")
        if name == "logs":
            command.add_argument("node", nargs="?", help="e.g. sl-2; default: a bit of all")
            command.add_argument("-f", "--follow", action="store_true", help="as it grows")
    return parser


def _pair_options(parser: argparse.ArgumentParser, nodes: int) -> None:
    add = parser.add_argument
    add("--nodes", type=int, default=nodes, help=f"SL nodes; default {nodes}")
    add("--quorum-seconds", type=float, help="SL_WAIT_FOR_FULL_QUORUM_SECONDS")


def _start_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sns", type=int, default=1, help=(
        "SNs; 3 survive the loss of any one, 5 of any two; default 1"
    ))  # fmt: skip
    add("--wait-for-sns", type=float, default=SN_PATIENCE, metavar="SECONDS", help=(
        "how long to wait for one to return once too few of several SNs are left; default "
        f"{SN_PATIENCE:.0f}"
    ))  # fmt: skip
    add("--run-dir", type=Path, help="new or empty folder; default runs/<time>-<program>")
    add("--json", action="store_true", help="print JSON lines (status, result) for programs")
    add("--contract", default=DEFAULT_CONTRACT, help=(
        "training contract; made if need be. The programs must name it too: "
        "trainingContract= of SwarmCallback, {contract} in their words"
    ))  # fmt: skip
    add("--certs", type=Path, help="your certificates, as compose.certs lays them out")
    add("--license-port", type=int, default=0, help="default: a free port, as for all")
    add("--sn-p2p-port", type=int, action="append", default=[], help="once per SN")
    add("--sn-api-port", type=int, action="append", default=[], help="once per SN")
    add("--sl-port", type=int, action="append", default=[], help="once per node")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
