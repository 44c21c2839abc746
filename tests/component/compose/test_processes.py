"""Processes of a swarm are stopped in order, and who ends because of that did not fail."""

import os

from compose.plan import Kind, NodePlan
from compose.processes import Processes

BUSY = "echo up; while :; do sleep 0.02; done"
SLOW = f'trap "while ! test -e {{gone}}; do sleep 0.02; done; exit 0" TERM; {BUSY}'
"""A program that, told to stop, first sees the SL end."""
SL = "echo up; while ! test -e {stopping}; do sleep 0.02; done; touch {gone}; exit 1"
FIRST = f'trap "touch {{stopping}}; exit 0" TERM; {BUSY}'


async def test_an_sl_that_ends_while_another_program_is_stopped_did_not_fail(tmp_path):
    files = {name: tmp_path / name for name in ("gone", "stopping")}
    processes = Processes(lambda: None)
    try:
        nodes = [
            await processes.start(
                NodePlan(
                    kind, name, ("/bin/sh", "-c", script.format(**files)), dict(os.environ),
                    tmp_path / f"{name}.log", tmp_path, index=index, ready="up\n",
                )
            )
            for kind, name, script, index in (
                (Kind.ML, "ml-1", FIRST, 1), (Kind.SL, "sl-1", SL, 1), (Kind.ML, "ml-2", SLOW, 2),
            )
        ]  # fmt: skip
        for node in nodes:
            await processes.ready(node, 30)
        await processes.stop_all("told")
        assert [(node.exit_code, node.failed) for node in nodes] == [
            (0, False), (1, False), (0, False),
        ]  # fmt: skip
    finally:
        await processes.close()
