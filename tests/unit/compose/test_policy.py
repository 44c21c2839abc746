"""Go on, finished, or stop: every way in which a pair can end."""

import pytest

from compose.policy import (
    CONNECT_GRACE,
    ENROL_GRACE,
    ML_GRACE,
    SL_GRACE,
    TOO_LATE,
    UNCONNECTED,
    Half,
    Next,
    Pair,
    judge,
)  # fmt: skip

RUNNING = Half(None)
WELL = Half(0, ended_ago=0.1)
BADLY = Half(1, ended_ago=0.1)


def pair(index=1, sl=RUNNING, ml=RUNNING, enrolled=True, unconnected=False):
    return Pair(index, sl, ml, enrolled, unconnected)


def verdict(*pairs, min_peers=2, completed=False, wait=False, **more):
    return judge(pairs, min_peers, completed=completed, wait_for_return=wait, **more)


def test_while_all_run_it_goes_on():
    assert verdict(pair(1), pair(2), pair(3)).next is Next.GO_ON


def test_finished_once_all_ended_well_or_badly():
    assert verdict(pair(1, WELL, WELL), pair(2, WELL, WELL)).next is Next.FINISHED
    assert verdict(pair(1, BADLY, BADLY), pair(2, BADLY, WELL)).next is Next.FINISHED


def test_a_job_is_waited_for():
    ended = [pair(1, WELL, WELL), pair(2, WELL, WELL)]
    assert verdict(*ended, others_running=True).next is Next.GO_ON


@pytest.mark.parametrize("lost", [pair(3, sl=BADLY), pair(3, ml=BADLY), pair(3, BADLY, BADLY)])
def test_the_swarm_survives_a_loss_while_min_peers_are_left(lost):
    assert verdict(pair(1), pair(2), lost, min_peers=2).next is Next.GO_ON
    found = verdict(pair(1), pair(2), lost, min_peers=3)
    assert found.next is Next.STOP
    assert "only 2 of 3 nodes are left (failed: 3)" in found.reason


def test_below_min_peers_it_waits_if_told_to():
    assert verdict(pair(1), pair(2, sl=BADLY), wait=True).next is Next.GO_ON


def test_after_completion_a_failure_stops_nobody():
    assert verdict(pair(1, ml=WELL), pair(2, WELL, BADLY), completed=True).next is Next.GO_ON


def test_more_min_peers_than_nodes_can_never_be_reached():
    found = verdict(pair(1), pair(2), min_peers=3, wait=True)
    assert found.next is Next.STOP
    assert "minPeers=3, but --nodes is 2" in found.reason


def test_who_connects_too_late_is_stopped():
    late = [pair(1, WELL, WELL), pair(2, WELL, WELL), pair(3, enrolled=False)]
    assert verdict(*late, completed=True, completed_ago=CONNECT_GRACE).orphans == ()
    found = verdict(*late, completed=True, completed_ago=CONNECT_GRACE + 1)
    assert [(o.name, o.why, o.culprit) for o in found.orphans] == [
        ("ml-3", TOO_LATE, "ml-3"), ("sl-3", TOO_LATE, ""),
    ]  # fmt: skip
    assert verdict(pair(1), pair(2), completed=True, completed_ago=99).orphans == ()


def test_who_only_saves_results_is_not_stopped():
    assert verdict(pair(1, WELL, RUNNING), pair(2, WELL, BADLY)).next is Next.GO_ON


def test_who_finished_counts_as_left():
    assert verdict(pair(1), pair(2, WELL, WELL)).next is Next.GO_ON


def test_a_pair_that_never_connected_counts_as_lost():
    assert verdict(pair(1), pair(2, ml=WELL, unconnected=True)).next is Next.STOP


def test_without_an_sn_there_is_no_further_round():
    found = verdict(pair(1), pair(2), core_lost="sn-1 ended")
    assert (found.next, found.reason) == (Next.STOP, "sn-1 ended")
    assert verdict(pair(1, WELL), pair(2, WELL), core_lost="sn-1 ended").next is Next.GO_ON


def orphans(one):
    return verdict(one, pair(2), pair(3)).orphans


def test_halves_get_time_to_end_by_themselves():
    assert orphans(pair(sl=Half(1, ML_GRACE))) == ()
    assert orphans(pair(ml=Half(1, SL_GRACE))) == ()
    assert orphans(pair(ml=Half(0, ENROL_GRACE), enrolled=False)) == ()


def test_an_ml_program_without_its_sl_is_stopped():
    [orphan] = orphans(pair(sl=Half(1, ML_GRACE + 1)))
    assert (orphan.name, orphan.culprit) == ("ml-1", "")  # the SL's own failure says it
    [orphan] = orphans(pair(sl=Half(0, ML_GRACE + 1)))
    assert (orphan.name, orphan.culprit) == ("ml-1", "ml-1")


def test_an_sl_without_its_ml_program_is_stopped():
    [orphan] = orphans(pair(ml=Half(1, SL_GRACE + 1)))
    assert (orphan.name, orphan.culprit) == ("sl-1", "")
    [orphan] = orphans(pair(ml=Half(0, SL_GRACE + 1)))
    assert (orphan.name, orphan.culprit) == ("sl-1", "sl-1")


def test_an_ml_program_that_never_connected_is_named():
    [orphan] = orphans(pair(ml=Half(0, ENROL_GRACE + 1), enrolled=False))
    assert (orphan.name, orphan.culprit, orphan.why) == ("sl-1", "ml-1", UNCONNECTED)
    [orphan] = orphans(pair(ml=Half(3, ENROL_GRACE + 1), enrolled=False))
    assert (orphan.name, orphan.culprit) == ("sl-1", "")  # its exit code says it
