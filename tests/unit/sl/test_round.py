import pytest

from services.common import sn_api as api
from services.common.errors import IllegalTransitionError, LayoutError, ProtocolError
from services.common.ids import NO_DIGEST
from services.sl.core import events as ev
from services.sl.core.ending import FOREVER
from services.sl.core.round import LAST_TRIES, SETTLE_SECONDS, Training

ME, OTHER, THIRD = "a" * 32, "b" * 32, "c" * 32
MINE, THEIRS, MERGED = "1" * 64, "2" * 64, "3" * 64
MODEL = ev.Model(MINE, 10)
PERF = api.Perf(loss=0.5, metric=0.9)


def peer(uid, *, digest=None, participant=False, dropped="", live=True, weightage=1, perf=None):
    checkin = None
    if digest:
        checkin = api.CheckInView(base=NO_DIGEST, digest=digest, size=10, weightage=weightage)
    return api.PeerView(
        uid=uid, endpoint=f"{uid[0]}:1", fingerprint="", container="", live=live, may_lead=True,
        state=api.PeerState.TRAINING, checkin=checkin, participant=participant, dropped=dropped,
        perf=perf, perf_round=1 if perf else 0, rounds=0, left="",
    )  # fmt: skip


def view(
    *peers, phase=api.Phase.CHECKIN, round_=1, term=0, leader="", merged=None, age=None,
    generation=1, adaptive=False,
):  # fmt: skip
    terms = api.Terms(min_peers=2, merge_method="mean", adaptive=adaptive, leader_timeout_s=600)
    if merged is not None:
        merged = api.Merged(round=round_ - 1, digest=merged, size=10, leader=OTHER, next_interval=0)
    return api.ContractView(
        name="c", generation=generation, phase=phase, round=round_, term=term, leader=leader,
        terms=terms, peers=list(peers), merged=merged, quorum_age_s=age, waiting_for="",
    )  # fmt: skip


@pytest.fixture
def me():
    return Training(ME, generation=1, interval=4, quorum_wait=30.0)


def look(machine, seen, now=0.0):
    return machine.handle(ev.ViewArrived(seen, now))


def ask(machine, state=api.PeerState.TRAINING, now=0.0, weightage=7):
    return machine.handle(ev.MlAsked(1, MODEL, weightage, state, now))


def test_checks_in_when_the_ml_program_asks_and_a_view_is_there(me):
    assert ask(me) == []
    assert look(me, view(peer(ME), peer(OTHER))) == [
        ev.CheckIn(1, NO_DIGEST, MODEL, 7, api.PeerState.TRAINING, None)
    ]


def test_does_not_repeat_a_command_under_way_nor_before_its_effect_shows(me):
    ask(me)
    (command,) = look(me, view(peer(ME), peer(OTHER)))
    assert look(me, view(peer(ME), peer(OTHER)), 5.0) == []
    assert me.wake_at == FOREVER
    assert me.handle(ev.Done(command, 6.0)) == []
    assert me.wake_at == 6.0 + SETTLE_SECONDS
    assert me.handle(ev.Tick(6.5)) == []
    assert me.handle(ev.Tick(7.0)) == [command]


def test_a_failed_command_is_tried_again_with_growing_pauses(me):
    ask(me)
    (command,) = look(me, view(peer(ME), peer(OTHER)))
    pauses, now = [], 0.0
    for _ in range(4):
        assert me.handle(ev.Failed(command, "no", now)) == []
        pauses.append(me.wake_at - now)
        now = me.wake_at
        assert me.handle(ev.Tick(now)) == [command]
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_leader_waits_for_all_live_peers_then_freezes(me):
    ask(me)
    waiting = view(
        peer(ME, digest=MINE), peer(OTHER, digest=THEIRS), peer(THIRD),
        phase=api.Phase.QUORUM, term=1, leader=ME, age=10.0,
    )  # fmt: skip
    assert look(me, waiting, 100.0) == []
    assert me.wake_at == 120.0
    full = waiting.model_copy(update={"peers": waiting.peers[:2]})
    assert look(me, full, 101.0) == [ev.Freeze(1, 1)]


def test_leader_freezes_when_the_quorum_window_is_over(me):
    ask(me)
    waiting = view(
        peer(ME, digest=MINE), peer(OTHER, digest=THEIRS), peer(THIRD),
        phase=api.Phase.QUORUM, term=1, leader=ME, age=10.0,
    )  # fmt: skip
    look(me, waiting, 100.0)
    assert me.handle(ev.Tick(120.0)) == [ev.Freeze(1, 1)]


def test_leader_does_not_wait_for_a_lost_peer(me):
    ask(me)
    seen = view(
        peer(ME, digest=MINE), peer(OTHER, digest=THEIRS), peer(THIRD, live=False),
        phase=api.Phase.QUORUM, term=1, leader=ME, age=0.0,
    )  # fmt: skip
    assert look(me, seen) == [ev.Freeze(1, 1)]


def merging(*peers, term=1, **kwargs):
    return view(*peers, phase=api.Phase.MERGING, term=term, leader=ME, age=1.0, **kwargs)


def test_leader_merges_then_publishes_what_it_merged(me):
    ask(me)
    both = [peer(ME, digest=MINE, participant=True), peer(OTHER, digest=THEIRS, participant=True)]
    (merge,) = look(me, merging(*both))
    assert isinstance(merge, ev.Merge)
    assert [(i.peer, i.endpoint, i.weightage) for i in merge.inputs] == [
        (ME, "a:1", 1),
        (OTHER, "b:1", 1),
    ]
    merged = ev.Model(MERGED, 10)
    assert me.handle(ev.MergeFinished(merge, merged, 2.0)) == [
        ev.Publish(1, 1, merged, (ME, OTHER), 0)
    ]


def test_leader_drops_a_bad_input_and_merges_the_rest(me):
    ask(me)
    three = [peer(uid, digest=MINE, participant=True) for uid in (ME, OTHER, THIRD)]
    (merge,) = look(me, merging(*three))
    assert me.handle(ev.InputFailed(merge, OTHER, "not finite", 1.0)) == [
        ev.Drop(1, 1, OTHER, "not finite")
    ]
    three[1] = peer(OTHER, digest=MINE, participant=True, dropped="not finite")
    (again,) = look(me, merging(*three), 2.0)
    assert [i.peer for i in again.inputs] == [ME, THIRD]


def test_a_leader_whose_own_model_is_the_odd_one_gives_up(me):
    ask(me)
    both = [peer(ME, digest=MINE, participant=True), peer(OTHER, digest=THEIRS, participant=True)]
    (merge,) = look(me, merging(*both))
    with pytest.raises(LayoutError, match="our own model"):
        me.handle(ev.InputFailed(merge, ME, "it has 3 bytes", 1.0))


def test_merge_of_an_older_term_is_not_published(me):
    ask(me)
    both = [peer(ME, digest=MINE, participant=True), peer(OTHER, digest=THEIRS, participant=True)]
    (old,) = look(me, merging(*both, term=1))
    (new,) = look(me, merging(*both, term=3))
    assert me.handle(ev.MergeFinished(old, ev.Model(MERGED, 10), 1.0)) == []
    assert me.handle(ev.MergeFinished(new, ev.Model(MERGED, 10), 1.0)) == [
        ev.Publish(1, 3, ev.Model(MERGED, 10), (ME, OTHER), 0)
    ]


def test_only_inactive_contributors_keep_the_last_merged_model(me):
    me.installed, me.installed_round = ev.Model(MERGED, 10), 1
    ask(me, api.PeerState.INACTIVE)
    seen = merging(
        peer(ME, digest=MINE, participant=True, weightage=0),
        peer(OTHER, digest=THEIRS, participant=True, weightage=0),
        round_=2, merged=MERGED,
    )  # fmt: skip
    assert look(me, seen) == [ev.Publish(2, 1, ev.Model(MERGED, 10), (ME, OTHER), 0)]


def test_follower_reports_the_leader_at_the_deadline(me):
    ask(me)
    seen = view(
        peer(ME, digest=MINE), peer(OTHER, digest=THEIRS),
        phase=api.Phase.QUORUM, term=2, leader=OTHER, age=100.0,
    )  # fmt: skip
    assert look(me, seen, 1000.0) == []
    assert me.wake_at == 1500.0
    assert me.handle(ev.Tick(1500.0)) == [ev.ReportLeader(1, 2)]


def test_installs_the_published_model_and_answers(me):
    ask(me)
    (install,) = look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED))
    assert install == ev.Install(1, ev.Model(MERGED, 10), ("b:1",), 1)
    (answer,) = me.handle(ev.Installed(install, PERF, 1.0))
    assert answer == ev.AnswerSync(1, 0, False)
    assert me.handle(ev.Done(answer, 1.1)) == []
    assert me.request is None
    (checkin,) = ask(me, now=2.0)
    assert checkin == ev.CheckIn(2, MERGED, MODEL, 7, api.PeerState.TRAINING, PERF)


def test_an_older_view_of_another_sn_changes_nothing(me):
    ask(me)
    (install,) = look(me, view(peer(ME), peer(OTHER), round_=5, merged=MERGED))
    me.handle(ev.Installed(install, PERF, 1.0))
    before = me.view
    look(me, view(peer(ME), peer(OTHER), round_=3, merged=THEIRS), 2.0)
    assert me.view is before


def test_closing_peer_goes_on_contributing_its_snapshot_until_completed(me):
    me.installed, me.installed_round = ev.Model(MERGED, 10), 1
    (checkin,) = [
        *ask(me, api.PeerState.SNAPSHOT),
        *look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED)),
    ]
    assert (checkin.model, checkin.state) == (MODEL, api.PeerState.SNAPSHOT)
    (install,) = look(me, view(peer(ME), peer(OTHER), round_=3, merged=THEIRS))
    (again,) = me.handle(ev.Installed(install, PERF, 1.0))
    assert again == ev.CheckIn(3, THEIRS, MODEL, 7, api.PeerState.SNAPSHOT, PERF)
    done = view(peer(ME), peer(OTHER), round_=3, merged=THEIRS, phase=api.Phase.COMPLETED)
    (report,) = look(me, done, 2.0)
    assert report == ev.ReportPerf(2, PERF)
    (close,) = me.handle(ev.Done(report, 3.0))
    assert close == ev.AnswerClose(1)
    me.handle(ev.Done(close, 3.1))
    assert me.finished


def test_active_peer_contributes_the_latest_merged_model(me):
    me.installed, me.installed_round = ev.Model(MERGED, 10), 1
    ask(me, api.PeerState.ACTIVE)
    (checkin,) = look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED))
    assert checkin.model == ev.Model(MERGED, 10)


def test_training_over_is_told_with_the_final_model(me):
    ask(me)
    done = view(peer(ME), peer(OTHER), round_=4, merged=MERGED, phase=api.Phase.COMPLETED)
    (install,) = look(me, done)
    (report,) = me.handle(ev.Installed(install, PERF, 1.0))
    (answer,) = me.handle(ev.Done(report, 2.0))
    assert answer == ev.AnswerSync(1, 0, True)
    me.handle(ev.Done(answer, 2.1))
    assert me.over


def test_a_request_is_answered_once_even_if_the_training_ends_meanwhile(me):
    ask(me)
    (install,) = look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED))
    (answer,) = me.handle(ev.Installed(install, PERF, 1.0))
    assert answer == ev.AnswerSync(1, 0, False)
    me._perf = None
    done = view(peer(ME), peer(OTHER), round_=2, merged=MERGED, phase=api.Phase.COMPLETED)
    assert look(me, done, 1.1) == []


def test_an_answer_under_way_is_not_given_again_when_the_next_round_opens(me):
    ask(me)
    (install,) = look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED))
    (answer,) = me.handle(ev.Installed(install, PERF, 1.0))
    assert look(me, view(peer(ME), peer(OTHER), round_=3, merged=THEIRS), 1.1) == []
    me.handle(ev.Done(answer, 1.3))
    assert me.request is None
    (install,) = ask(me, now=2.0)
    assert install.round == 2


def test_a_check_in_of_an_earlier_process_is_replaced(me):
    ask(me)
    (command,) = look(me, view(peer(ME, digest=THEIRS), peer(OTHER)))
    assert command.model == MODEL
    me.handle(ev.Done(command, 1.0))
    assert look(me, view(peer(ME, digest=MINE), peer(OTHER)), 9.0) == []


def test_a_perf_that_cannot_be_reported_does_not_keep_the_ml_program_waiting(me):
    ask(me, api.PeerState.SNAPSHOT)
    done = view(peer(ME), peer(OTHER), round_=4, merged=MERGED, phase=api.Phase.COMPLETED)
    (install,) = look(me, done)
    (report,) = me.handle(ev.Installed(install, PERF, 1.0))
    assert me.handle(ev.Failed(report, "no SN", 2.0)) == [ev.AnswerClose(1)]


def test_one_install_at_a_time(me):
    ask(me)
    (first,) = look(me, view(peer(ME), peer(OTHER), round_=2, merged=MERGED))
    assert look(me, view(peer(ME), peer(OTHER), round_=3, merged=THEIRS)) == []
    (second,) = me.handle(ev.Installed(first, PERF, 1.0))
    assert second.round == 2


def test_adaptive_leader_chooses_the_interval(me):
    seen = [
        peer(uid, digest=MINE, participant=True, perf=api.Perf(loss=loss, metric=0))
        for uid, loss in ((ME, 1.0), (OTHER, 3.0))
    ]
    me.installed, me.installed_round = ev.Model(MERGED, 10), 1
    me._losses = {0: {ME: 4.0, OTHER: 4.0}}
    ask(me)
    (merge,) = look(me, merging(*seen, round_=2, merged=MERGED, adaptive=True))
    (publish,) = me.handle(ev.MergeFinished(merge, ev.Model(THEIRS, 10), 1.0))
    assert publish.next_interval == 8


def test_reset_ends_the_training(me):
    look(me, view(peer(ME)))
    with pytest.raises(IllegalTransitionError, match="reset"):
        look(me, view(generation=2))


def test_asking_twice_is_refused(me):
    ask(me)
    with pytest.raises(IllegalTransitionError, match="again"):
        ask(me)


def test_a_final_model_that_nobody_serves_ends_the_wait(me):
    ask(me)
    done = view(peer(ME), peer(OTHER), round_=4, merged=MERGED, phase=api.Phase.COMPLETED)
    (install,) = look(me, done)
    now = 0.0
    for _ in range(LAST_TRIES - 1):
        assert me.handle(ev.Failed(install, "unreachable", now)) == []
        now = me.wake_at
        assert me.handle(ev.Tick(now)) == [install]
    assert now > 180
    with pytest.raises(ProtocolError, match="nobody serves"):
        me.handle(ev.Failed(install, "unreachable", now))
