"""``collect-logs``: gather logs, versions, ledger and settings of this host into one archive.

    swarm collect-logs                                   the swarms in Docker on this host
    swarm collect-logs --run-dir runs/20261126-digits    a run of the embedded swarm
    swarm collect-logs "<hub>" workspace=/opt/hpe/swarm-learning/workspace/mnist     HPE's form

Secrets are taken out (:mod:`compose.operate.collect_redact`), keys never leave the host, and a part
that fails is named in the summary and costs no other part.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from compose.operate import collect_docker, collect_host, collect_run, collect_summary
from compose.operate.collect_bundle import Bundle
from compose.operate.collect_engine import EngineError
from compose.operate.collect_redact import Redactor
from compose.operate.collect_summary import Node

_TAIL = re.compile(r"all|\d+")
_ALIAS = re.compile(r"(?P<what>workspace|mlimage)=(?P<value>.+)", re.DOTALL)


def main(argv: list[str]) -> int:
    """Run the command.

    Args:
        argv: its arguments, without its name.

    Returns:
        0 when there is an archive, 1 when it could not be written, 2 for bad arguments.
    """
    options = _parse(argv)
    now = datetime.now(timezone.utc)
    name = f"swarm_logs_{_host()}_{now:%Y%m%d%H%M%S}.tar.gz"
    try:
        bundle = Bundle(Path(options.output) / name, Redactor())
    except OSError as exc:
        print(f"cannot write {options.output}/{name}: {exc.strerror}: name a folder with --output",
              file=sys.stderr)  # fmt: skip
        return 1
    try:
        summary = _collect(bundle, options, now)
        bundle.close(summary)
    except (OSError, KeyboardInterrupt) as exc:
        bundle.give_up()
        print(f"no archive was written: {str(exc) or 'interrupted'}", file=sys.stderr)
        return 1
    print(summary)
    print(
        f"written: {bundle.path}\nRead its summary.txt first. Look through it before you send it."
    )
    return 0


def _collect(bundle: Bundle, options: argparse.Namespace, now: datetime) -> str:
    """Put everything in; what is said of it."""
    host: dict[str, object] = {"host": socket.gethostname()}
    bundle.part("facts of this host", lambda: host.update(collect_host.facts()))
    variables = collect_host.variables()
    bundle.redactor.learn_environment(variables)
    bundle.part("host.json", lambda: bundle.json("host.json", {**host, "Env": variables}))
    nodes: list[Node] = []
    log_bytes = int(options.max_mb * (1 << 20))
    if options.run_dir:
        bundle.part("run folder", lambda: nodes.extend(
            collect_run.gather(bundle, Path(options.run_dir), log_bytes)))  # fmt: skip
    for folder in options.workspace:
        bundle.part("workspace", partial(collect_run.workspace, bundle, Path(folder)))
    if not options.run_dir:
        limits = collect_docker.Limits(
            options.since, options.tail, log_bytes, tuple(options.name), tuple(options.ml_image),
            not options.no_ledger,
        )  # fmt: skip
        try:
            nodes.extend(collect_docker.gather(bundle, limits))
        except EngineError as exc:
            bundle.problem(f"Docker: {exc}. do: start Docker, or run this as a user who may use it")
    return collect_summary.write(
        nodes, host, bundle.problems, bundle.redactor.removed, now, _notes(host)
    )


def _notes(host: dict[str, object]) -> list[str]:
    notes = []
    if host.get("clock_synchronised") is False:
        notes.append("the kernel says that nothing keeps this clock right: set up NTP (chrony)")
    disks = host.get("disk")
    for place, usage in (disks if isinstance(disks, dict) else {}).items():
        if usage and usage["free"] < (2 << 30):
            notes.append(f"only {usage['free'] >> 20} MB free on the file system of {place}")
    return notes


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip(".-") or "host"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="swarm collect-logs", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(__doc__ or "").split(":mod:", maxsplit=1)[0].rstrip(" ("),
    )  # fmt: skip
    add = parser.add_argument
    add("--output", default=".", metavar="FOLDER", help="where the archive goes (default: here)")
    add("--since", default="", help="logs from then on, e.g. 2h or 2026-11-26T01:00:00")
    add("--tail", default="all", metavar="N", help="the last N lines of each log")
    add("--max-mb", type=_size, default=16.0, help="of each log, the newest kept (default: 16)")
    add("--name", action="append", default=[], metavar="BEGINNING",
        help="only containers whose names begin so (repeat it); default: all of ours")  # fmt: skip
    add("--ml-image", action="append", default=[], metavar="IMAGE",
        help="containers of this image belong to it, too")  # fmt: skip
    add("--workspace", action="append", default=[], metavar="FOLDER",
        help="its task definitions, profiles and SWCI scripts, too")  # fmt: skip
    add("--run-dir", default="", metavar="FOLDER", help="a run of compose.local instead of Docker")
    add("--no-ledger", action="store_true", help="do not ask an SN for the ledger")
    add("hpe", nargs="*", metavar="HUB | workspace=FOLDER | mlimage=IMAGE", help="as HPE's command")
    options = parser.parse_args(argv)
    if not _TAIL.fullmatch(options.tail):
        parser.error("--tail must be a number of lines or 'all'")
    for word in options.hpe:
        alias = _ALIAS.fullmatch(word)
        if alias is None:
            continue  # the hub: our images are found by their labels, whatever their names
        target = options.workspace if alias["what"] == "workspace" else options.ml_image
        target.append(alias["value"])
    return options


def _size(text: str) -> float:
    size = float(text)
    if not 0 < size <= 1024:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 1024")
    return size


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
