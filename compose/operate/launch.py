"""Has Docker do what a plan says."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
from types import FrameType
from typing import Callable

from compose.operate.engine import Engine
from compose.operate.errors import OperateError
from compose.operate.explain import explain, missing_image
from compose.operate.first_sign_in import hints
from compose.operate.plain import plain
from compose.operate.plan import Container, Plan
from compose.operate.ready import wait_until_ready
from compose.operate.script import INFO_FILE, INFO_FORMAT, order

NEVER_STARTED = "0001-01-01"


def say(text: str) -> None:
    """A line for people, beside the output that programs read."""
    print(plain(text), file=sys.stderr, flush=True)


def launch(plan: Plan, engine: Engine) -> int:
    """Make and start the containers; nothing of them is left where one cannot start.

    Returns:
        0, or what the node ended with where one watches it; 1 where it did not become ready.

    Raises:
        OperateError: Docker refused.
    """
    made: list[str] = []
    try:
        for container in plan.containers:
            _have_image(container, engine)
            made.append(_create(container, made[0] if made else "", engine))
            _leave_info(made[-1], engine)
        for container in order(plan):
            engine.run("container", "start", made[plan.containers.index(container)])
            say(f"{container.name or container.role} started")
    except BaseException:
        _remove(made, engine)
        raise
    if not plan.is_detached:
        return _watch(made, engine)
    for each in made:
        print(each, flush=True)
    code = 0 if plan.wait_s is None else wait_until_ready(engine, made, plan, say)
    for line in hints(plan.containers[0], engine.words) if code == 0 else ():
        say(line)
    return code


def _have_image(container: Container, engine: Engine) -> None:
    """See that the image is here, and show when it is fetched."""
    if engine.has_image(container.image):
        return
    if not container.may_pull:
        engine.run("version", "--format={{.Server.Version}}")  # is it the engine that is missing?
        raise OperateError(missing_image(container.image))
    say(f"image {container.image} is not here: fetching it")
    if engine.follow("pull", "--quiet", container.image).wait():
        raise OperateError(missing_image(container.image))


def _create(container: Container, first: str, engine: Engine) -> str:
    return engine.run(*container.create(first)).splitlines()[-1]


def _leave_info(made: str, engine: Engine) -> None:
    """The three lines that nodes read to know their container."""
    text = engine.run("container", "inspect", f"--format={INFO_FORMAT}", made) + "\n"
    folder, _, name = INFO_FILE.rpartition("/")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(text), 0o644
        archive.addfile(member, io.BytesIO(text.encode()))
    done = engine.try_run("container", "cp", "-", f"{made}:{folder}", given=packed.getvalue())
    if done.returncode:  # an image without /tmp, or one that is read-only: nodes do without
        why = explain(done.stderr.decode("utf-8", "replace"))
        say(f"note: {INFO_FILE} could not be left: {why}")


def _remove(made: list[str], engine: Engine) -> None:
    if made:
        engine.try_run("container", "rm", "--force", "--volumes", *made)


def _watch(made: list[str], engine: Engine) -> int:
    """Start the node and show what it says until it ends; its exit code.

    Signals are Docker's to pass on: Ctrl-C ends the node, and we go with it.
    """
    shown = engine.follow("container", "start", "--attach", "--interactive", made[0])
    handlers = [
        (each, signal.signal(each, _pass_on(shown))) for each in (signal.SIGTERM, signal.SIGHUP)
    ]
    handlers.append((signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN)))
    try:
        code = shown.wait()
    finally:
        for each, handler in handlers:
            signal.signal(each, handler)
    if code:
        _explain_start(made, engine)
    return code


def _pass_on(shown: subprocess.Popen[bytes]) -> Callable[[int, FrameType | None], None]:
    return lambda number, _: shown.send_signal(number)


def _explain_start(made: list[str], engine: Engine) -> None:
    """Where the node did not even start: remove all, say why.

    Raises:
        OperateError: that was so.
    """
    states = [each.get("State") or {} for each in engine.inspect(made[:1])]
    if states and str(states[0].get("StartedAt", "")).startswith(NEVER_STARTED):
        _remove(made, engine)
        raise OperateError(explain(str(states[0].get("Error", "")), engine.who_has))
