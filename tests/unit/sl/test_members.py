"""Who may leave copies with an SL, and how many."""

from types import SimpleNamespace

from services.common.ids import Digest
from services.sl.adapters.members import COPIES, Members

LEADER = SimpleNamespace(fingerprint="f-leader")
OTHER = SimpleNamespace(fingerprint="f-other")


def digest(number):
    return Digest(f"{number:064x}")


def view(term=1, round_=3, leader="1"):
    peers = [
        SimpleNamespace(uid=uid, fingerprint=print_, checkin=SimpleNamespace(size=100))
        for uid, print_ in (("1", "f-leader"), ("2", "f-other"))
    ]
    return SimpleNamespace(generation=1, round=round_, term=term, leader=leader, peers=peers)


def test_only_the_leader_and_nothing_larger_than_what_was_checked_in():
    members = Members()
    assert not members.may_copy(LEADER, digest(1), 100)
    members.update(view())
    assert members.may_read(OTHER)
    assert not members.may_copy(OTHER, digest(1), 100)
    assert not members.may_copy(LEADER, digest(1), 101)
    assert members.may_copy(LEADER, digest(1), 100)
    assert members.copied == {digest(1)}


def test_the_same_copy_again_does_not_push_the_one_before_out():
    members = Members()
    members.update(view())
    for number in (1, 2, 2):
        assert members.may_copy(LEADER, digest(number), 100)
    assert members.copied == {digest(1), digest(2)}


def test_a_leader_cannot_fill_the_disk():
    members = Members()
    members.update(view())
    taken = [members.may_copy(LEADER, digest(number), 100) for number in range(COPIES + 3)]
    assert taken == [True] * COPIES + [False] * 3
    assert members.may_copy(LEADER, digest(0), 100)
    members.update(view())
    assert not members.may_copy(LEADER, digest(99), 100)
    members.update(view(term=2))
    assert members.may_copy(LEADER, digest(99), 100)
