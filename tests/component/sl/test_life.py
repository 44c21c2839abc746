"""The life of SLs and their ML programs in whole trainings: who comes back, and how it ends."""

import asyncio

import pytest

from services.common import sn_api as api
from services.common.errors import MlError, ProtocolError, RemoteError
from services.common.ids import NodeKind
from services.sl import story
from tests.component.sl.pairs import DiedError, Pairs, Program, all_well, words_of
from tests.component.sn.conftest import swarm, under  # noqa: F401 - fixtures

CLOSED = {api.PeerState.SNAPSHOT, api.PeerState.ACTIVE, api.PeerState.INACTIVE}


@pytest.fixture
def anvil():
    """Not for these tests."""


@pytest.fixture
async def pairs(swarm):  # noqa: F811
    made = Pairs(swarm, await swarm.sn())
    yield made
    await made.close()


async def contributors(pairs):
    return [
        [c.peer for c in r.contributors]
        for r in await pairs.client.rounds((await pairs.view()).name)
    ]


async def lefts(pairs, uid):
    return [event["reason"] for event in await pairs.events("Left") if event["peer"] == uid]


# --- an ML program that ends early


async def test_without_restarts_an_sl_ends_with_its_ml_program_and_says_why(pairs):
    first, second, third = pairs.start([
        Program(30, min_peers=2, die_at=3), Program(6, min_peers=2), Program(6, min_peers=2),
    ])  # fmt: skip
    error = await first.failed()
    assert isinstance(error, MlError)
    assert "closed its pipe" in str(error)
    await all_well([second, third])
    (reason,) = await lefts(pairs, first.uid)
    assert "the ML program closed its pipe" in reason


async def test_an_ml_program_that_is_started_again_goes_on_from_the_merged_model(pairs):
    start = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(batch):
        if batch == 8:
            asyncio.run_coroutine_threadsafe(start.wait(), loop).result(60)

    died = Program(30, min_peers=2, die_at=3)
    all_ = pairs.start(
        [died, *[Program(16, min_peers=2, target=5.0, before_batch=wait) for _ in range(2)]],
        sl_ml_restarts=1,
    )
    first = all_[0]
    with pytest.raises(DiedError):
        await first.programs[0]
    await pairs.until(lambda v: any(p.uid == first.uid and not p.live for p in v.peers))
    (reason,) = await lefts(pairs, first.uid)
    assert reason.startswith("waits for its ML program: the ML program closed its pipe")
    again = Program(5, min_peers=2)
    first.start(again)
    await pairs.until(lambda v: any(p.uid == first.uid and p.live for p in v.peers))
    start.set()
    await all_well(all_)
    assert first.result["outcome"] == "completed"
    members = await contributors(pairs)
    back = [number for number, peers in enumerate(members, 1) if first.uid in peers]
    assert back[-1] - back[0] + 1 > len(back)  # there were rounds without it in between
    assert len(again.intervals) == 5  # train begin, and four of five batch ends


async def test_restarts_are_counted(pairs):
    all_ = pairs.start([Program(30, 2, die_at=1), Program(9, 2), Program(9, 2)], sl_ml_restarts=1)
    first = all_[0]
    with pytest.raises(DiedError):
        await first.programs[0]
    await pairs.until(lambda v: any(p.uid == first.uid and not p.live for p in v.peers))
    first.start(Program(30, 2, die_at=1))
    assert isinstance(await first.failed(), MlError)
    await all_well(all_[1:])


async def test_an_ml_program_with_other_terms_is_told_so(pairs):
    all_ = pairs.start([Program(30, 2, die_at=1), Program(9, 2), Program(9, 2)], sl_ml_restarts=1)
    first = all_[0]
    with pytest.raises(DiedError):
        await first.programs[0]
    await pairs.until(lambda v: any(p.uid == first.uid and not p.live for p in v.peers))
    second = first.start(Program(3, 2, arguments={"mergeMethod": "coordmedian"}))
    error = await first.failed()
    assert isinstance(error, ProtocolError)
    words = "another merge_method: it had 'mean', now it has 'coordmedian'"
    assert words in str(error)
    await asyncio.wait([second])
    assert words in words_of(second)
    await all_well(all_[1:])


async def test_a_program_that_does_not_come_back_ends_the_sl_in_time(pairs):
    all_ = pairs.start(
        [Program(30, 2, die_at=1), Program(9, 2), Program(9, 2)],
        sl_ml_restarts=3, sl_ml_connect_timeout=1.0,
    )  # fmt: skip
    error = await all_[0].failed()
    assert (error.code, type(error)) == ("ml-absent", MlError)
    await all_well(all_[1:])


async def test_the_last_one_that_trains_keeps_its_seat_while_its_program_is_away(pairs):
    first, *others = pairs.start(
        [Program(30, 2, die_at=6), Program(1, 2), Program(1, 2)], sl_ml_restarts=1
    )
    with pytest.raises(DiedError):
        await first.programs[0]
    await pairs.until(lambda v: all(p.state in CLOSED for p in v.peers if p.uid != first.uid))
    first.start(Program(4, 2))
    await all_well([first, *others])
    assert await lefts(pairs, first.uid) == []


# --- an SL that is started again


async def test_a_new_process_gives_up_the_seat_of_the_one_before_it(pairs):
    """Which led a round: nobody would lead it until the ML program comes."""
    uid = f"{1:032x}"
    ghost = pairs.swarm.client(pairs.sn, "1")
    await ghost.register(uid, api.NodeRegistration(kind=NodeKind.SL, endpoint="127.0.0.1:1"))
    others = [pairs.sl(index, sl_make_me_admin=False) for index in (2, 3)]
    programs = [other.start(Program(2, 2)) for other in others]
    await pairs.until(lambda v: sum(p.checkin is not None for p in v.peers) == 2)
    await ghost.peer((await pairs.view()).name, uid, "enrol", api.Enrol(min_peers=2))
    checkin = api.CheckIn(
        generation=1, round=1, base="0" * 64, digest="a" * 64, size=9, weightage=1,
        state=api.PeerState.TRAINING,
    )  # fmt: skip
    view = (await ghost.peer((await pairs.view()).name, uid, "checkin", checkin)).view
    assert (view.phase, view.leader) == (api.Phase.QUORUM, uid)
    again = pairs.sl(1)
    await pairs.until(lambda v: v.phase is api.Phase.CHECKIN)
    assert await lefts(pairs, uid) == ["its SL was started again"]
    again.start(Program(2, 2))
    await all_well([again, *others])
    assert all(p.exception() is None for p in programs)


# --- too few


async def test_fewer_than_minpeers_end_with_words_where_a_limit_is_set(pairs, caplog, monkeypatch):
    monkeypatch.setattr(story, "WAIT_SAID", 0.5)
    caplog.set_level("INFO", "swarm.startSL")
    all_ = pairs.start([Program(3, min_peers=4) for _ in range(3)], sl_min_peers_timeout=2.0)
    for pair in all_:
        error = await pair.failed()
        assert (type(error), error.code, error.exit_code) == (RemoteError, "min-peers", 3)
        assert "of 4 peers (minPeers) were there for 2 s (SL_MIN_PEERS_TIMEOUT)" in str(error)
        await asyncio.wait(pair.programs)
        assert "of 4 peers (minPeers)" in words_of(pair.programs[0])
        assert pair.result["outcome"] == "left"
    said = [r.getMessage() for r in caplog.records if "WAITING" in r.getMessage()]
    assert any("WAITING 3/4: waiting for 1 more peer" in words for words in said)
    assert any("never enrolled: 1 more" in words for words in said)


# --- the end


async def test_all_wait_for_the_last_one_without_a_limit(pairs):
    slow = Program(6, min_peers=2)
    await all_well(pairs.start([Program(2, 2), Program(2, 2), slow]))
    assert not slow.over
    assert len(await pairs.client.rounds((await pairs.view()).name)) == 7


async def test_hpes_rule_ends_the_training_and_hands_the_final_model_over(pairs):
    wait = asyncio.Event()
    loop = asyncio.get_running_loop()

    def until_the_others_ended(batch):
        if batch == 3:
            asyncio.run_coroutine_threadsafe(wait.wait(), loop).result(60)

    slow = Program(12, min_peers=2, target=9.0, before_batch=until_the_others_ended)
    first, second, third = pairs.start(
        [Program(4, 2), Program(5, 2), slow], sl_straggler_timeout=0.0,
        sl_wait_for_full_quorum_seconds=0.3,
    )  # fmt: skip
    view = await pairs.until(lambda v: v.phase is api.Phase.COMPLETED)
    (mine,) = [p for p in view.peers if p.uid == third.uid]
    assert not mine.live
    assert "2 peers (minPeers) have finished" in mine.left
    await first.ended()
    await second.ended()  # nobody is left who could serve the final model
    wait.set()
    digest = await all_well([first, second, third])
    assert slow.over
    assert third.result["final_digest"] == digest == view.merged.digest
