"""The rules that make two decisions on one block number impossible, one by one."""

from services.sn.core.agreement import MOST_BALLOTS, Accepted, Agreement

A, B, C = b"a" * 20, b"b" * 20, b"c" * 20
X, Y = b"x" * 32, b"y" * 32


def agreement(me=A, number=3, **stored):
    """On block 3, whose ballots 0, 1 and 2 belong to A, B and C."""
    return Agreement(number, [A, B, C], me, A, **stored)


def test_only_the_signer_in_turn_proposes_without_asking():
    assert agreement(A).may_propose_at_once()
    assert not agreement(B).may_propose_at_once()
    assert agreement(B, number=4).may_propose_at_once()


def test_whoever_promised_a_higher_ballot_proposes_and_accepts_nothing_below():
    opened = agreement(A)
    assert opened.promise(B, 1)
    assert not opened.may_propose_at_once()
    assert not opened.accepts(Accepted(0, X))
    assert opened.accepts(Accepted(1, X))


def test_a_promise_is_never_taken_back():
    opened = agreement(A)
    assert opened.promise(C, 2)
    assert not opened.promise(B, 1)
    assert opened.promise(C, 2)  # repeated
    assert opened.promised == 2


def test_a_ballot_belongs_to_its_owner():
    opened = agreement(A)
    assert not opened.promise(C, 1)
    assert not opened.promise(A, 0)
    assert not opened.promise(b"stranger", 1)


def test_a_prepared_ballot_needs_promises_of_a_quorum():
    opened = agreement(B)
    assert opened.prepare() == 1
    assert not opened.is_prepared()
    opened.promised_by(b"stranger", 1, None)
    opened.promised_by(C, 4, None)  # another ballot
    assert not opened.is_prepared()
    opened.promised_by(C, 1, None)
    assert opened.is_prepared()
    assert opened.choice() is None


def test_the_block_accepted_in_the_highest_ballot_must_be_proposed_again():
    opened = agreement(B, promised=0, accepted=Accepted(0, X))
    assert opened.prepare() == 1
    opened.promised_by(A, 1, Accepted(0, X))
    assert opened.choice() == X
    later = agreement(A, promised=2, accepted=Accepted(0, X))
    assert later.prepare() == 3
    later.promised_by(C, 3, Accepted(2, Y))
    assert later.choice() == Y


def test_a_promise_to_another_ends_a_ballot_of_ones_own():
    opened = agreement(B)
    opened.prepare()
    opened.promised_by(C, 1, None)
    assert opened.promise(C, 2)
    assert not opened.is_prepared()


def test_a_ballot_is_not_proposed_in_again_after_a_restart():
    opened = agreement(B)
    opened.prepare()
    again = agreement(B, promised=opened.promised)
    again.promised_by(C, 1, None)
    assert not again.is_prepared()
    assert again.prepare() == 4


def test_in_one_ballot_one_block_is_accepted():
    opened = agreement(C)
    opened.accept(Accepted(0, X))
    assert opened.accepts(Accepted(0, X))
    assert not opened.accepts(Accepted(0, Y))
    assert opened.accepts(Accepted(1, Y))


def test_votes_of_different_ballots_do_not_add_up():
    opened = agreement(C)
    assert opened.vote(A, Accepted(0, X))
    assert not opened.vote(A, Accepted(0, X))
    assert opened.vote(B, Accepted(1, X))
    assert not opened.vote(b"stranger", Accepted(0, X))
    assert opened.decided() is None
    opened.vote(B, Accepted(0, X))
    assert opened.decided() == Accepted(0, X)


def test_a_proposal_is_what_the_owner_of_the_ballot_voted_for():
    opened = agreement(C)
    opened.vote(B, Accepted(0, X))
    assert opened.proposals(X) == []
    opened.vote(A, Accepted(0, X))
    assert opened.proposals(X) == [Accepted(0, X)]


def test_two_votes_in_one_ballot_contradict_each_other():
    opened = agreement(C)
    opened.vote(A, Accepted(0, X))
    assert not opened.contradicts(A, Accepted(0, X))
    assert opened.contradicts(A, Accepted(0, Y))
    assert not opened.contradicts(A, Accepted(1, Y))


def test_a_signer_cannot_fill_the_memory_with_votes():
    opened = agreement(C)
    for ballot in range(10_000):
        assert opened.vote(A, Accepted(ballot, X))
    assert not opened.vote(A, Accepted(0, X)), "older than those that are kept"
    kept = [ballot for ballot in range(10_000) if opened.voters(Accepted(ballot, X))]
    assert kept == list(range(10_000 - MOST_BALLOTS, 10_000))
    opened.vote(B, Accepted(9_999, X))
    assert opened.decided() == Accepted(9_999, X)


def test_a_signer_cannot_use_up_all_ballots():
    opened = agreement(C)
    assert not opened.promise(B, 1 + 3 * (1 << 40))
    assert opened.promise(B, 1)


def test_the_first_word_of_a_ballots_owner_holds():
    opened = agreement(C)
    opened.vote(A, Accepted(0, X))
    opened.vote(A, Accepted(0, Y))
    assert opened.proposals(X) == [Accepted(0, X)]
    assert opened.proposals(Y) == []
