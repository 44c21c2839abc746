"""F14 in containers: SWOPs and pairs that are killed or restarted in the middle of a task."""

import time

import pytest

from tests.containers.conftest import PATIENCE, Composition, grace

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]


def train(composition: Composition) -> None:
    """Start the flow, with a shorter training; return when all four programs run."""
    composition.edit("swci/taskdefs/swarm*.yaml", '"MAX_EPOCHS": 20', '"MAX_EPOCHS": 6')
    composition.start()
    composition.until(lambda: len(composition.pairs("ML")) == 4, "four programs run")
    assert len(composition.pairs("SL")) == 4


def ids(composition: Composition) -> set[str]:
    return {each.id for each in (*composition.pairs("SL"), *composition.pairs("ML"))}


def assert_complete(composition: Composition) -> None:
    code = composition.end_of_script()
    transcript = composition.transcript()
    assert code == 0, transcript
    assert "COMPLETED_PEERS : 4" in transcript
    assert "FAILED_PEERS : 0" in transcript


def assert_no_orphans(composition: Composition) -> None:
    """A reset removes what it finds; SWOPs have some seconds for it."""
    deadline = time.monotonic() + PATIENCE
    while composition.pairs("SL", "all") or composition.pairs("ML", "all"):
        assert time.monotonic() < deadline, "containers of pairs are left"
        time.sleep(0.2)


def test_swops_that_are_killed_and_restarted_go_on(composition: Composition):
    """One is killed, and started by hand; then `docker restart`, as for an update, of another."""
    composition.variables(SWOP_ON_STOP="keep")
    train(composition)
    before = ids(composition)
    killed, other = composition.service("swop-1"), composition.service("swop-2")
    killed.kill()
    assert ids(composition) == before  # the pairs do not notice
    killed.start()
    other.restart(timeout=max(30, grace()))
    composition.until(
        lambda: killed.logs().decode().count("was there already: going on with it") == 2,
        "the SWOP found its pairs again",
    )
    assert ids(composition) <= before  # nothing was started a second time
    assert_complete(composition)
    assert_no_orphans(composition)


def test_a_program_that_is_killed_fails_the_task_with_the_reason(composition: Composition):
    """As the kernel does it where memory runs out."""
    train(composition)
    victim = composition.pairs("ML")[0]
    victim.kill()
    code = composition.end_of_script()
    transcript = composition.transcript()
    assert code != 0
    assert "TASK_STATE : ERROR" in transcript, transcript
    assert "ML was killed by SIGKILL" in transcript, transcript
    assert composition.make("down-swop").returncode == 0
    assert composition.left() == []
