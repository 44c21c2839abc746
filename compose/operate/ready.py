"""Waits until a container is ready."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping

from compose.operate.engine import Engine
from compose.operate.plan import Container, Plan

READY_LINES: Mapping[str, str] = {
    "sn": "Starting SWARM-API-SERVER on port:",
    "license": "License server ready on port:",
}
"""What nodes say when they are; the others have a health check only."""
LOOK_S = 0.5
SETTLE_S = 2.0
TAIL = 40
"""Lines of the log that are looked at."""
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ : \S+ : ")


@dataclass(frozen=True)
class Verdict:
    """How a container is."""

    is_ready: bool
    has_ended: bool
    text: str
    """The last that it said."""
    has_sign: bool = True
    """Whether it can say that it is ready; others are after :data:`SETTLE_S` seconds."""


def judge(component: str, inspected: Mapping[str, Any], log: str) -> Verdict:
    """Whether it is ready; pure.

    Args:
        component: sn, sl...
        inspected: what the engine says of it; empty where it is gone.
        log: the end of its log.
    """
    state: dict[str, Any] = inspected.get("State") or {}
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    text = _STAMP.sub("", lines[-1]) if lines else ""
    if not inspected:
        return Verdict(False, True, text or "its container is gone")
    ended = state.get("Status") in ("exited", "dead", "restarting", "stopped")
    if ended or inspected.get("RestartCount"):
        return Verdict(
            False, True, f"ended with {state.get('ExitCode')}: {text or 'it said nothing'}"
        )
    health = (state.get("Health") or state.get("Healthcheck") or {}).get("Status")
    said = component in READY_LINES and READY_LINES[component] in log
    has_sign = bool(health) or component in READY_LINES
    ready = health == "healthy" or said or not has_sign
    return Verdict(bool(state.get("Running")) and ready, False, text, has_sign)


def wait_until_ready(
    engine: Engine, made: list[str], plan: Plan, say: Callable[[str], None],
    now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
) -> int:  # fmt: skip
    """Wait for all of a plan's containers.

    Args:
        engine: where they are.
        made: their ids.
        plan: which they are, and how long to wait.
        say: for a line of progress.
        now: seconds.
        sleep: waits seconds.

    Returns:
        0 when all are ready; 1 when one ended, or was not ready in time. They stay as they are.
    """
    started, seen = now(), dict.fromkeys(made, "")
    waiting = dict(zip(made, plan.containers))
    while waiting:
        for each, container in list(waiting.items()):
            verdict = _look(engine, each, container)
            name = container.name or container.role
            passed = now() - started
            if verdict.has_ended:
                say(f"{name} {verdict.text}")
                return 1
            if verdict.is_ready and (verdict.has_sign or passed >= SETTLE_S):
                say(f"{passed:4.0f} s  {name} is ready")
                del waiting[each]
            elif passed > (plan.wait_s or 0):
                say(
                    f"{name} is not ready after {passed:.0f} s; it goes on. Look: "
                    f"{' '.join(engine.words)} logs {container.name or each[:12]}"
                )
                return 1
            elif verdict.text != seen[each]:
                seen[each] = verdict.text
                say(f"{passed:4.0f} s  {name}: {verdict.text[:160]}")
        if waiting:
            sleep(LOOK_S)
    return 0


def _look(engine: Engine, each: str, container: Container) -> Verdict:
    log = engine.try_run("container", "logs", f"--tail={TAIL}", each)
    inspected = engine.inspect([each])
    text = (log.stdout + log.stderr).decode("utf-8", "replace")
    return judge(container.role, inspected[0] if inspected else {}, text)
