"""Who may leave a copy of a merge with us, and how many."""

import pytest

from services.common import sn_api as api
from services.common.ids import NO_DIGEST
from services.sl.adapters.members import Members

LEADER, OTHER = "a" * 32, "b" * 32
FIRST, SECOND = "1" * 64, "2" * 64


class Certificate:
    """What members are told apart by."""

    def __init__(self, fingerprint):
        self.fingerprint = fingerprint

    def is_or_was(self, fingerprint):
        return fingerprint == self.fingerprint


BY_LEADER, BY_OTHER = Certificate(LEADER), Certificate(OTHER)


def seen(*, term=1, round_=1, leader=LEADER, sizes=(100, 100), merged=None):
    peers = [
        api.PeerView(
            uid=uid, endpoint="h:1", fingerprint=uid, container="", live=True, may_lead=True,
            state=api.PeerState.TRAINING, participant=True, dropped="", perf=None, perf_round=0,
            rounds=0, left="",
            checkin=api.CheckInView(base=NO_DIGEST, digest=uid * 2, size=size, weightage=1),
        )
        for uid, size in zip((LEADER, OTHER, "c" * 32), sizes, strict=False)
    ]  # fmt: skip
    if merged is not None:
        merged = api.Merged(
            round=round_ - 1, digest=FIRST, size=merged, leader=LEADER, next_interval=0
        )
    return api.ContractView(
        name="c", generation=1, phase=api.Phase.MERGING, round=round_, term=term, leader=leader,
        terms=None, peers=peers, merged=merged, quorum_age_s=1.0, waiting_for="",
    )  # fmt: skip


@pytest.fixture
def members():
    made = Members()
    made.update(seen())
    return made


def test_only_the_leader_may_leave_a_copy(members):
    assert not members.may_copy(BY_OTHER, FIRST, 100)
    assert members.may_copy(BY_LEADER, FIRST, 100)
    assert members.copied == {FIRST}


def test_a_term_has_one_copy_which_may_be_brought_again(members):
    assert members.may_copy(BY_LEADER, FIRST, 100)
    assert members.may_copy(BY_LEADER, FIRST, 100)
    assert not members.may_copy(BY_LEADER, SECOND, 100)
    members.update(seen())
    assert not members.may_copy(BY_LEADER, SECOND, 100), "the same term once more"
    members.update(seen(term=2))
    assert members.may_copy(BY_LEADER, SECOND, 100)
    assert members.copied == {FIRST, SECOND}


@pytest.mark.parametrize(
    ("view", "largest"),
    [
        (seen(sizes=(10**12, 100, 100)), 100),
        (seen(sizes=(10**12, 100)), 100),
        (seen(round_=2, sizes=(10**12, 10**12), merged=100), 100),
    ],
    ids=["one says more", "one of two says more", "all say more than the last merge"],
)
def test_what_a_peer_says_of_its_models_size_does_not_make_room(members, view, largest):
    members.update(view)
    assert not members.may_copy(BY_LEADER, FIRST, largest + 1)
    assert members.may_copy(BY_LEADER, FIRST, largest)
