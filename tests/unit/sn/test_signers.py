"""Who is voted in and out."""

from services.sn.core.signers import Motion, motions

A, B, C, D = b"a", b"b", b"c", b"d"


def due(signers, linked, wanting, **holders):
    by_account = {name.encode(): holder for name, holder in holders.items()}
    return list(motions(signers, linked, wanting, by_account))


def test_who_wants_to_seal_is_admitted():
    assert due([A], [A, B, C], [B], a="org-1", b="org-2", c="org-3") == [Motion(B, admit=True)]


def test_a_signer_is_not_admitted_again():
    assert due([A, B], [A, B], [B], a="org-1", b="org-2") == []


def test_a_holder_with_a_live_signer_gets_no_second_one():
    assert due([A, B], [A, B, C], [B, C], a="org-1", b="org-2", c="org-2") == []


def test_this_sns_own_holder_gets_no_second_one():
    assert due([A], [A, B], [B], a="org-1", b="org-1") == []


def test_a_holder_that_lost_its_account_has_the_old_one_removed_first():
    holders = {"a": "org-1", "b": "org-2", "c": "org-3", "d": "org-3"}
    assert due([A, B, C], [A, B, D], [B, D], **holders) == [Motion(C, admit=False)]
    assert due([A, B], [A, B, D], [B, D], **holders) == [Motion(D, admit=True)]


def test_whose_holder_is_unknown_is_nobodys_twin():
    assert due([A, B], [A, C], [C], c="org-3") == [Motion(C, admit=True)]
