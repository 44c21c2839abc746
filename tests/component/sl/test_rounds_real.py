"""What a peer's arguments do, in whole trainings on real SLs and a real SN."""

import asyncio

import numpy as np
import pytest

from services.common import sn_api as api
from services.common.errors import IllegalTransitionError
from services.common.ids import DEFAULT_CONTRACT
from tests.component.sl.pairs import Pairs, Program, all_well, words_of
from tests.component.sn.conftest import swarm, under  # noqa: F401 - fixtures

ADAPTIVE = {"useAdaptiveSync": True, "adsValData": [1]}


@pytest.fixture
def anvil():
    """Not for these tests."""


@pytest.fixture
async def pairs(swarm):  # noqa: F811
    made = Pairs(swarm, await swarm.sn())
    yield made
    await made.close()


async def rounds(pairs, contract=DEFAULT_CONTRACT, generation=0):
    return await pairs.client.rounds(contract, generation)


# --- adaptive sync


async def test_intervals_double_and_halve_for_all_peers_alike(pairs):
    """Losses fall until the fifth merged model, then they rise."""
    losses = [1.0, 0.5, 0.25, 0.125, 0.0625, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    programs = [
        Program(52, 3, sync_frequency=2, arguments=ADAPTIVE, loss=losses.__getitem__),
        Program(52, 3, sync_frequency=2, arguments=ADAPTIVE, loss=losses.__getitem__),
        Program(52, 3, sync_frequency=2, arguments=ADAPTIVE, loss=lambda _round: 0.0),
    ]
    await all_well(pairs.start(programs))
    # A round's interval is chosen by the losses of the two merged models before it
    assert programs[0].intervals == [2, 2, 4, 8, 16, 16, 8]  # at most 8 times the first
    assert programs[0].intervals == programs[1].intervals == programs[2].intervals


async def test_a_loss_of_nan_halves_the_interval_and_goes_on(pairs):
    losses = [1.0, float("nan"), 0.5, 0.25, 0.125]
    programs = [
        Program(9, 2, sync_frequency=4, arguments=ADAPTIVE, loss=losses.__getitem__),
        Program(9, 2, sync_frequency=4, arguments=ADAPTIVE, loss=lambda number: 0.5**number),
    ]
    await all_well(pairs.start(programs))
    assert programs[0].intervals == programs[1].intervals
    assert programs[0].intervals[:3] == [4, 4, 2]


# --- weightage


async def test_the_weightage_of_each_sync_counts(pairs):
    """Of two peers that pull to 0 and to 1, the second one's weightage grows."""
    programs = [
        Program(2, 2, target=0.0),
        Program(2, 2, target=1.0, weightage=lambda sync: 1 + 2 * sync),
    ]
    all_ = pairs.start(programs)
    await all_well(all_)
    second = all_[1].uid
    told = [{c.peer: c.weightage for c in r.contributors} for r in await rounds(pairs)]
    assert [each[second] for each in told] == [1, 3, 3]  # the close's is the last sync's
    assert all(each[all_[0].uid] == 1 for each in told)
    model = np.float32(0.0)
    for batches, weight in ((0, 1), (2, 3), (0, 3)):
        pulled = [model, model]
        for _ in range(batches):
            pulled = [pulled[0] * np.float32(0.9), pulled[1] + np.float32(0.1) * (1 - pulled[1])]
        model = (pulled[0] + weight * pulled[1]) / (1 + weight)
    assert programs[0].end == programs[1].end
    assert programs[0].end == pytest.approx(float(model), rel=1e-5)


# --- unequal data, as in HPE's fraud-detection example: minPeers is all, batches are not


@pytest.mark.parametrize("state", ["snapshot", "active", "inactive"])
async def test_nodes_with_very_different_data_all_end_with_the_same_model(pairs, state):
    sizes, target = (2, 10, 7, 4), 1.0
    programs = [
        Program(n, 4, target * i, arguments={"checkinModelOnTrainEnd": state})
        for i, n in enumerate(sizes)
    ]
    all_ = pairs.start(programs)
    await all_well(all_)
    published = await rounds(pairs)
    assert len({p.end for p in programs}) == 1
    assert all(len(r.contributors) == 4 for r in published)
    assert len(published) == max(sizes) + 1
    first = [next(c for c in r.contributors if c.peer == all_[0].uid) for r in published]
    closed = first[3:]  # it asked for the last time in round 3
    merged = [r.digest for r in published]
    if state == "snapshot":
        assert {c.digest for c in closed} == {first[2].digest}
    elif state == "active":
        assert [c.digest for c in closed] == merged[2:-1]
    else:
        assert {c.weightage for c in first[2:]} == {0}
    assert {c.weightage for c in first[:2]} == {1}


# --- several trainings


async def test_reset_and_run_again(pairs):
    digests = [await all_well(pairs.start([Program(2, 2, target=t) for t in (1.0, 2.0)]))]
    with_swci = pairs.client
    assert (await pairs.view()).phase is api.Phase.COMPLETED
    await with_swci.reset(DEFAULT_CONTRACT, "once more")
    again = [Program(3, 2, target=t) for t in (1.0, 2.0)]
    digests.append(await all_well(pairs.start(again)))
    view = await pairs.view()
    assert (view.generation, view.phase, view.merged.round) == (2, api.Phase.COMPLETED, 4)
    assert [len(await rounds(pairs, generation=g)) for g in (1, 2)] == [3, 4]
    assert digests[0] != digests[1]


async def test_a_reset_in_the_middle_ends_both_sides_with_words(pairs):
    all_ = pairs.start([Program(200, 2), Program(200, 2)])
    await pairs.until(lambda v: v.round >= 3)
    await pairs.client.reset(DEFAULT_CONTRACT, "enough")
    for pair in all_:
        error = await pair.failed()
        assert (type(error), error.code) == (IllegalTransitionError, "reset")
        await asyncio.wait(pair.programs)
        assert "was reset while this peer was training" in words_of(pair.programs[0])
    assert (await pairs.view()).phase is api.Phase.UNINITIALIZED


async def test_two_contracts_of_one_sn_do_not_disturb_each_other(pairs):
    await pairs.client.create_contract("other")
    programs = [
        *(Program(4, 2, target=t) for t in (1.0, 2.0)),
        *(Program(3, 2, target=t, contract="other") for t in (5.0, 6.0)),
    ]
    all_ = pairs.start(programs)
    one, two = await all_well(all_[:2]), await all_well(all_[2:])
    assert one != two
    for contract, members, count in ((DEFAULT_CONTRACT, all_[:2], 5), ("other", all_[2:], 4)):
        published = await rounds(pairs, contract)
        assert len(published) == count
        uids = {pair.uid for pair in members}
        assert all({c.peer for c in r.contributors} == uids for r in published)


async def test_nobody_leads_who_may_not(pairs):
    """None of the first two may; the one that comes later leads all rounds."""
    first, second = (pairs.sl(index, sl_make_me_admin=False) for index in (1, 2))
    for pair in (first, second):
        pair.start(Program(3, 2))
    view = await pairs.until(lambda v: sum(p.checkin is not None for p in v.peers) == 2)
    assert "waiting for a peer that may lead" in view.waiting_for
    third = pairs.sl(3)
    third.start(Program(3, 2))
    await all_well([first, second, third])
    assert {r.leader for r in await rounds(pairs)} == {third.uid}
