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
    Sns,
    judge,
)  # fmt: skip

RUNNING = Half(None)
WELL = Half(0, ended_ago=0.1)
BADLY = Half(1, ended_ago=0.1)


def pair(index=1, sl=RUNNING, ml=RUNNING, enrolled=True, unconnected=False):
    return Pair(index, sl, ml, enrolled, unconnected)


def sns(total, *gone, short_for=0.0, patience=120.0):
    names = tuple(f"sn-{index}" for index in range(1, total + 1))
    lost = tuple(f"sn-{index}" for index in gone)
    ends = "; ".join(f"{name} ended (killed)" for name in lost)
    return Sns(names, lost, ends, short_for, patience)


ONE_SN = sns(1)


def verdict(*pairs, min_peers=2, completed=False, wait=False, net=ONE_SN, **more):
    return judge(pairs, min_peers, completed=completed, wait_for_return=wait, sns=net, **more)


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
    found = verdict(pair(1), pair(2), net=sns(1, 1))
    assert (found.next, found.reason) == (Next.STOP, "sn-1 ended (killed)")
    assert verdict(pair(1, WELL), pair(2, WELL), net=sns(1, 1)).next is Next.GO_ON


@pytest.mark.parametrize(
    ("total", "gone", "waits"),
    [
        (2, (2,), ""),  # the sentinel decides
        (2, (1,), "the chain waits for sn-1, without which two SNs decide nothing"),
        (2, (1, 2), "the chain waits for sn-1, without which two SNs decide nothing"),
        (3, (), ""),
        (3, (1,), ""),
        (3, (1, 3), "the chain waits: 1 of 3 SNs run and it needs 2"),
        (4, (2,), ""),
        (4, (1, 2), "the chain waits: 2 of 4 SNs run and it needs 3"),
        (5, (1, 2), ""),
        (5, (1, 2, 3), "the chain waits: 2 of 5 SNs run and it needs 3"),
        (1, (1,), ""),  # it never goes on
    ],
)
def test_the_chain_needs_a_majority_of_the_sns(total, gone, waits):
    assert sns(total, *gone).waiting == waits


def test_without_a_majority_it_waits_for_a_while():
    lost = {"short_for": 120.0, "patience": 120.5}
    assert verdict(pair(1), pair(2), net=sns(3, 1, 2, **lost)).next is Next.GO_ON
    lost["short_for"] = 120.5
    found = verdict(pair(1), pair(2), net=sns(3, 1, 2, **lost))
    assert found.next is Next.STOP
    assert found.reason == (
        "the chain waits: 1 of 3 SNs run and it needs 2, and none returned in 120 s; "
        "sn-1 ended (killed); sn-2 ended (killed)"
    )
    lost["patience"] = float("inf")
    assert verdict(pair(1), pair(2), net=sns(3, 1, 2, **lost)).next is Next.GO_ON
    assert verdict(pair(1), pair(2), net=sns(3, 3, short_for=999.0)).next is Next.GO_ON


def test_a_single_sn_is_not_waited_for():
    assert verdict(pair(1), net=sns(1, 1, patience=float("inf"))).next is Next.STOP


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
