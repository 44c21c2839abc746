"""The round machine where a leader lies, a process was started again, or nobody may lead."""

import pytest

from services.common import sn_api as api
from services.common.errors import LayoutError
from services.sl.core import adaptive
from services.sl.core import events as ev
from services.sl.core.request import Request
from services.sl.core.round import Training
from tests.unit.sl.test_round import (
    ME,
    MERGED,
    MINE,
    MODEL,
    OTHER,
    PERF,
    THEIRS,
    THIRD,
    ask,
    look,
    peer,
    view,
)

FORMER = "9" * 64


@pytest.fixture
def me():
    return Training(ME, generation=1, interval=4, quorum_wait=30.0, straggler_timeout=50.0)


def merging(digest, age=0.0, term=1):
    both = [peer(ME, digest=digest, participant=True), peer(OTHER, digest=THEIRS, participant=True)]
    return view(*both, phase=api.Phase.MERGING, term=term, leader=ME, age=age)


def test_a_leader_without_its_former_process_model_waits_to_be_replaced(me):
    """It cannot merge and cannot drop itself; that its store was lost need not end its training."""
    ask(me)
    (merge,) = look(me, merging(FORMER))
    assert isinstance(merge, ev.Merge)
    assert me.handle(ev.InputFailed(merge, ME, "the leader's own file is gone", 1.0)) == []
    assert me.wake_at == 600.0
    assert me.handle(ev.Tick(600.0)) == [ev.ReportLeader(1, 1)]


def test_a_leader_whose_present_model_cannot_be_merged_says_so(me):
    ask(me)
    (merge,) = look(me, merging(MINE))
    with pytest.raises(LayoutError, match="our own model"):
        me.handle(ev.InputFailed(merge, ME, "it has 3 bytes", 1.0))


@pytest.mark.parametrize(
    ("is_adaptive", "asked", "told"),
    [(False, 2**32 - 1, 0), (True, 2**32 - 1, 4 * adaptive.LIMIT), (True, 16, 16)],
)
def test_no_leader_can_keep_the_others_from_syncing(me, is_adaptive, asked, told):
    ask(me)
    seen = view(peer(ME), peer(OTHER), round_=2, merged=MERGED, adaptive=is_adaptive)
    merged = seen.merged.model_copy(update={"next_interval": asked})
    (install,) = look(me, seen.model_copy(update={"merged": merged}))
    assert me.handle(ev.Installed(install, PERF, 1.0)) == [ev.AnswerSync(1, told, False)]


def test_a_failed_install_pauses_though_others_serve_the_model_now(me):
    ask(me)
    three = [peer(ME), peer(OTHER), peer(THIRD)]
    (install,) = look(me, view(*three, round_=2, merged=MERGED))
    assert me.handle(ev.Failed(install, "nobody serves it", 1.0)) == []
    three[1] = peer(OTHER, live=False)
    assert look(me, view(*three, round_=2, merged=MERGED), 1.1) == []
    assert me.wake_at == 1.5
    (again,) = me.handle(ev.Tick(1.5))
    assert (again.model, again.sources) == (install.model, install.sources[::-1])


def test_what_was_given_up_with_its_round_is_not_remembered(me):
    ask(me)
    look(me, merging(MINE))
    assert any(isinstance(command, ev.Merge) for command in me._hold)
    look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED))
    assert not any(isinstance(command, ev.Merge) for command in me._hold)


def test_a_straggler_whose_round_has_no_leader_leaves_in_time(me):
    """All have checked in and nobody may lead, so no further view would wake it."""
    ask(me)
    closed = [
        peer(uid, digest=THEIRS).model_copy(update={"state": api.PeerState.SNAPSHOT})
        for uid in (OTHER, THIRD)
    ]
    me.installed, me.installed_round = ev.Model(MERGED, 10), 1
    me.request = Request(1, MODEL, 7, api.PeerState.TRAINING, 1)
    mine = peer(ME, digest=MINE).model_copy(update={"may_lead": False})
    assert look(me, view(mine, *closed, round_=2, merged=MERGED)) == []
    assert me.wake_at == 50.0
    (leave,) = me.handle(ev.Tick(50.0))
    assert isinstance(leave, ev.Leave)
