"""Who is to become a signer, and who ceases to be one: what an SN votes for.

Any SN that wants to seal blocks is admitted, but the holder of a certificate has one signer: else
one organisation could start as many SNs as it takes to be the majority. An SN that lost its data
folder comes back with a new account under its old certificate: then its old account, which nobody
can use any more, is voted out before the new one is voted in, so that the dead do not count when
a majority is needed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Motion:
    """Something to vote for."""

    account: bytes
    admit: bool
    """False: remove it from the signers."""


def motions(
    signers: Collection[bytes], linked: Collection[bytes], wanting: Collection[bytes],
    holders: Mapping[bytes, str],
) -> Iterator[Motion]:  # fmt: skip
    """What to vote for, in order.

    Args:
        signers: the present ones.
        linked: accounts of this SN and of those that it has a live link to.
        wanting: those of them that want to seal blocks.
        holders: of the certificate that each account was last seen with.
    """
    for account in sorted(set(wanting) - set(signers)):
        twins = _twins(account, signers, holders)
        if not twins:
            yield Motion(account, admit=True)
        for twin in twins:
            if twin not in linked:
                yield Motion(twin, admit=False)


def doubles(
    signers: Collection[bytes], linked: Collection[bytes], wanting: Collection[bytes],
    holders: Mapping[bytes, str],
) -> Iterator[tuple[bytes, bytes]]:  # fmt: skip
    """Pairs of a linked account that stays out and the live signer of the same holder."""
    for account in sorted(set(wanting) - set(signers)):
        for twin in _twins(account, signers, holders):
            if twin in linked:
                yield account, twin


def _twins(account: bytes, signers: Collection[bytes], holders: Mapping[bytes, str]) -> list[bytes]:
    holder = holders.get(account)
    return sorted(s for s in signers if s != account and holder and holders.get(s) == holder)
