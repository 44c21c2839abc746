"""``swarm stop-swarm``: end a swarm on this host, in an order that it likes."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from compose.operate.engine import Engine
from compose.operate.errors import OperateError
from compose.operate.explain import explain
from compose.operate.find import STOPPING, Found
from compose.operate.listing import look
from compose.operate.plain import plain

IN_PROGRESS = "already in progress"
"""What Docker says of a container that was made with ``--rm`` and is going just now."""
PATIENCE_S, LOOK_S = 30.0, 0.2
SECONDS = 30
"""How long a container has to end by itself; a SWOP ends others first."""
CHOICES = {
    "sn": ("sn",),
    "sl": ("sl", "ml"),
    "swop": ("swop",),
    "swci": ("swci",),
    "license": ("license",),
}


def main(argv: list[str]) -> int:
    """Run the command; 1 where something did not stop."""
    options = _parser().parse_args(argv)
    chosen = {
        component
        for name, components in CHOICES.items()
        if getattr(options, name) and not options.all
        for component in components
    } or {component for group in STOPPING for component in group}
    engine = Engine(options.sudo)
    found = [each for each in look(engine, options.filter) if each.component in chosen]
    if options.keep:
        found = [each for each in found if each.is_running]
    if not found:
        print("nothing of a swarm runs here" if options.keep else "nothing of a swarm is here")
        return 0
    return _stop_all(engine, found, options.keep, options.time)


def _stop_all(engine: Engine, found: list[Found], keep: bool, seconds: int) -> int:
    failed = 0
    with ThreadPoolExecutor(max_workers=16) as pool:
        for group in STOPPING:
            these = [each for each in found if each.component in group]
            work = [pool.submit(_stop, engine, each, keep, seconds) for each in these]
            for each, done in zip(these, work):
                problem = done.result()
                failed += problem is not None
                text = problem or (
                    f"stopped{'' if keep else ', removed'}" if each.is_running else "removed"
                )
                print(plain(f"{each.component:8}{each.name:24} {text}"), flush=True)
    if failed:
        print(f"{failed} of {len(found)} did not stop", file=sys.stderr)
    return 1 if failed else 0


def _stop(engine: Engine, found: Found, keep: bool, seconds: int) -> str | None:
    """Stop one, and remove it; what went wrong, if something did."""
    if found.is_running:
        done = engine.try_run("container", "stop", f"--time={seconds}", found.id)
        if done.returncode and _is_there(engine, found):
            return f"did not stop: {explain(done.stderr.decode('utf-8', 'replace'))}"
    if keep:
        return None
    done = engine.try_run("container", "rm", "--volumes", found.id)
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode and _stays(engine, found, IN_PROGRESS in said):
        return f"was not removed: {explain(said)}"
    return None


def _stays(engine: Engine, found: Found, is_going: bool) -> bool:
    """Whether a container is there still; one that removes itself has time for it."""
    deadline = time.monotonic() + (PATIENCE_S if is_going else 0)
    while _is_there(engine, found):
        if time.monotonic() >= deadline:
            return True
        time.sleep(LOOK_S)
    return False


def _is_there(engine: Engine, found: Found) -> bool:
    """Whether it is; a container made with ``--rm`` removes itself."""
    try:
        return found.id in engine.run(
            "ps", "--all", "--quiet", "--no-trunc", f"--filter=id={found.id}"
        )
    except OperateError:
        return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swarm stop-swarm", description="Stop and remove the swarm's containers on this host, "
        "whoever started them: SWCI first, then SL and ML, SWOP, SN, and the license server. "
        "Named volumes and folders stay.",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="all of them, as without any option")
    for name, components in CHOICES.items():
        parser.add_argument(
            f"--{name}", action="store_true", help=f"only {' and '.join(components)}"
        )
    parser.add_argument("--keep", action="store_true", help="stop them, do not remove them")
    parser.add_argument(
        "--filter", action="append", default=[], metavar="KEY=VALUE",
        help="only those that `docker ps --filter` shows, e.g. network=host-1-net; ours",
    )  # fmt: skip
    parser.add_argument(
        "--time", type=int, default=SECONDS, metavar="SECONDS",
        help=f"then a container is killed (default {SECONDS}); ours",
    )  # fmt: skip
    parser.add_argument("--sudo", action="store_true", help="run Docker with sudo")
    return parser
