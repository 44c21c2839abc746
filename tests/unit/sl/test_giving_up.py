"""A leader whose merges fail makes room for another, where there is one."""

import json

import pytest

from services.common import sn_api as api
from services.sl.core import events as ev
from services.sl.core.giving_up import MERGE_TRIES
from services.sl.core.record import from_json, to_json
from services.sl.core.round import Training
from tests.unit.sl.test_round import ME, MINE, OTHER, THEIRS, THIRD, ask, look, peer, view

FULL = "the disk is full"


def led(*others, term=1):
    peers = [peer(ME, digest=MINE, participant=True), *others]
    return view(*peers, phase=api.Phase.MERGING, term=term, leader=ME, age=0.0)


def failing(machine, seen, *, at_most=20):
    """Let each merge fail; how many were tried, and the command after them."""
    commands, now = look(machine, seen), 0.0
    for tried in range(at_most):
        if not (commands and isinstance(commands[0], ev.Merge)):
            return tried, commands
        commands = machine.handle(ev.Failed(commands[0], FULL, now))
        if not commands:
            now = machine.wake_at
            commands = machine.handle(ev.Tick(now))
    return at_most, commands


@pytest.fixture
def me():
    made = Training(ME, generation=1, interval=4, quorum_wait=30.0)
    ask(made)
    return made


@pytest.fixture
def other():
    return peer(OTHER, digest=THEIRS, participant=True)


def test_a_leader_leaves_after_some_failed_merges_of_its_term(me, other):
    tried, commands = failing(me, led(other))
    assert tried == MERGE_TRIES + 1
    assert commands == [ev.Leave(1, f"could not merge as leader: {FULL}")]


def test_it_is_back_by_its_check_in_for_the_same_round(me, other):
    _, (leave,) = failing(me, led(other))
    me.handle(ev.Done(leave, 20.0))
    gone = view(
        peer(ME, live=False), other, peer(THIRD, digest=THEIRS),
        phase=api.Phase.QUORUM, term=2, leader=OTHER, age=0.0,
    )  # fmt: skip
    (command,) = look(me, gone, 20.0)
    assert isinstance(command, ev.CheckIn)


def test_each_further_term_allows_one_more_and_counts_anew(me, other):
    tried, (leave,) = failing(me, led(other))
    assert tried == MERGE_TRIES + 1
    me.handle(ev.Done(leave, 0.0))
    assert failing(me, led(other, term=2))[0] == MERGE_TRIES + 2


@pytest.mark.parametrize(
    "alone",
    [
        {"live": False},
        {"participant": False},
        {"may_lead": False},
        {"state": api.PeerState.ACTIVE},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_it_stays_where_no_other_can_take_its_place(me, other, alone):
    assert failing(me, led(other.model_copy(update=alone)))[0] == 20


def test_a_merge_that_succeeds_at_last_is_published(me, other):
    tried, (merge,) = failing(me, led(other), at_most=MERGE_TRIES)
    assert tried == MERGE_TRIES
    (command,) = me.handle(ev.MergeFinished(merge, ev.Model(THEIRS, 10), 20.0))
    assert isinstance(command, ev.Publish)


def test_a_journal_that_goes_on_from_a_state_has_it(me, other):
    tried, _ = failing(me, led(other), at_most=2)
    copy = from_json(json.loads(json.dumps(to_json(me))))
    assert (tried, copy._trouble) == (2, me._trouble)
    assert copy._trouble.times == 2
