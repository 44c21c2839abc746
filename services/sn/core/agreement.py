"""Which block has a number: single-decree Paxos over the signers, one instance per block number.

Clique lets forks of equal right grow and a heavier one win later, so that what was written could
still disappear. Here a block counts once a *quorum* of the signers accepted it in one *ballot*
(Lamport, "Paxos Made Simple", 2001), and only then is the next one built on it. So there is one
history, whatever SNs die, stop for a while or are cut off.

- Ballot ``b`` of block number ``n`` belongs to the signer ``(n + b) mod signers``. The signer in
  turn, owner of ballot 0, proposes at once: nobody can have proposed before it.
- Any other ballot begins with PREPARE: each signer that promises to take part in no lower ballot
  says what it accepted so far. With a quorum of promises the owner proposes the block accepted in
  the highest ballot, and a new block only where none of them accepted any.
- Whether an SN may propose must be asked in the same breath as it does: a PREPARE in between takes
  the right away.
- A signer accepts what the owner of a ballot proposes unless it promised a higher ballot. Promises
  and acceptances are on disk before they are told. An acceptance is told to all as a signed vote.

Tolerates any number of crashes as long as a quorum comes back with its disk; does not tolerate a
quorum that lies. Pure: no clock, no signatures; accounts and block hashes are bytes.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

MOST_BALLOTS = 256
"""Votes of one signer for one block number that are kept, those of the highest ballots."""
LONGEST_JUMP = 1 << 32
"""How far one PREPARE may raise what was promised; honest SNs go on by one ballot each."""


def is_quorum(members: Collection[bytes], signers: Sequence[bytes], sentinel: bytes) -> bool:
    """Whether ``members`` decide for all: any two quorums of the same signers share a member.

    More than half of the signers. Two signers would both be needed; so that one of them may fail,
    there the sentinel (the signer of the genesis block) decides.
    """
    if len(signers) == 2 and sentinel in signers:
        return sentinel in members
    return 2 * sum(signer in members for signer in signers) > len(signers)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A block and the ballot in which it was accepted."""

    ballot: int
    block: bytes
    """Hash."""


class Agreement:
    """One SN's part in the decision on one block number.

    Args:
        number: of the block.
        signers: who decides, sorted; those after the parent block.
        me: this SN's account; it takes no part where it is no signer.
        sentinel: signer of the genesis block.
        promised: from disk; the highest ballot that this SN promised to or accepted in.
        accepted: from disk; what this SN accepted last.
    """

    def __init__(
        self, number: int, signers: Sequence[bytes], me: bytes, sentinel: bytes,
        promised: int = 0, accepted: Accepted | None = None,
    ) -> None:  # fmt: skip
        self.number = number
        self.signers = tuple(signers)
        self.me = me
        self.sentinel = sentinel
        self.promised = promised
        self.accepted = accepted
        self._prepared: int | None = None
        """The ballot that this process began with PREPARE, while it gathers promises."""
        self._promises: dict[bytes, Accepted | None] = {}
        self._votes: dict[Accepted, set[bytes]] = {}
        self._heard: Counter[bytes] = Counter()
        self._ballots: dict[tuple[bytes, int], bytes] = {}
        """What each signer voted for in each ballot."""

    # --- proposing ------------------------------------------------------------------------

    def owner(self, ballot: int) -> bytes:
        """The signer that may propose in ``ballot``."""
        return self.signers[(self.number + ballot) % len(self.signers)]

    @property
    def untouched(self) -> bool:
        """Whether this SN knows of no proposal and no PREPARE."""
        return self.promised == 0 and self.accepted is None

    def may_propose_at_once(self) -> bool:
        """Whether this SN may propose a block of its own in ballot 0."""
        return self.untouched and self.owner(0) == self.me

    def prepare(self) -> int:
        """Begin the next ballot of this SN's own; to be stored, then told to all signers."""
        assert self.me in self.signers, "who is no signer owns no ballot"
        ballot = self.promised + 1
        while self.owner(ballot) != self.me:
            ballot += 1
        self.promised = self._prepared = ballot
        self._promises = {self.me: self.accepted}
        return ballot

    def promised_by(self, signer: bytes, ballot: int, accepted: Accepted | None) -> None:
        """Another signer promised to take part in no ballot below this SN's ``ballot``."""
        if ballot == self._prepared and signer in self.signers:
            self._promises[signer] = accepted

    def is_prepared(self) -> bool:
        """Whether this SN may propose :meth:`choice` in the ballot that it prepared."""
        return (
            self._prepared is not None
            and self._prepared == self.promised
            and is_quorum(self._promises, self.signers, self.sentinel)
        )

    def choice(self) -> bytes | None:
        """The block that must be proposed in the prepared ballot; None: any new one."""
        accepted = [each for each in self._promises.values() if each is not None]
        return max(accepted, key=lambda each: each.ballot).block if accepted else None

    # --- promising and accepting ----------------------------------------------------------

    def promise(self, by: bytes, ballot: int) -> bool:
        """Another signer sent PREPARE; whether to promise (to be stored before it is told).

        Repeating it is harmless.
        """
        if self.owner(ballot) != by or ballot < self.promised or ballot == 0:
            return False
        if ballot - self.promised > LONGEST_JUMP:
            return False
        self.promised = ballot
        return True

    def accepts(self, proposed: Accepted) -> bool:
        """Whether to accept what the owner of its ballot proposed."""
        if self.accepted is not None and self.accepted.ballot == proposed.ballot:
            return self.accepted == proposed
        return proposed.ballot >= self.promised

    def accept(self, proposed: Accepted) -> None:
        """Accept; to be stored, with the block, before the vote is told."""
        assert self.accepts(proposed), "a proposal of a ballot that this SN renounced"
        self.promised, self.accepted = proposed.ballot, proposed
        self._prepared = None

    # --- votes ----------------------------------------------------------------------------

    def vote(self, signer: bytes, accepted: Accepted) -> bool:
        """A signer accepted; whether that was new. Votes of others than signers do not count."""
        if signer not in self.signers or signer in self._votes.get(accepted, ()):
            return False
        if not self._has_room(signer, accepted):
            return False
        self._votes.setdefault(accepted, set()).add(signer)
        self._heard[signer] += 1
        self._ballots.setdefault((signer, accepted.ballot), accepted.block)
        return True

    def _has_room(self, signer: bytes, accepted: Accepted) -> bool:
        """Whether to keep one more vote of a signer; makes room by forgetting its oldest."""
        if self._heard[signer] < MOST_BALLOTS:
            return True
        mine = [each for each, voters in self._votes.items() if signer in voters]
        oldest = min(mine, key=lambda each: each.ballot)
        if oldest.ballot >= accepted.ballot:
            return False
        self._votes[oldest].discard(signer)
        if not self._votes[oldest]:
            del self._votes[oldest]
        self._ballots.pop((signer, oldest.ballot), None)
        self._heard[signer] -= 1
        return True

    def contradicts(self, signer: bytes, accepted: Accepted) -> bool:
        """Whether the signer voted for another block in the same ballot: it must never do that."""
        return self._ballots.get((signer, accepted.ballot), accepted.block) != accepted.block

    def proposals(self, block: bytes) -> list[Accepted]:
        """The ballots, rising, in which their owners proposed ``block``; their first word holds."""
        found = [a for a in self._votes if a.block == block]
        return sorted(
            (a for a in found if self._ballots.get((self.owner(a.ballot), a.ballot)) == block),
            key=lambda a: a.ballot,
        )

    def voters(self, accepted: Accepted) -> list[bytes]:
        """Who is known to have accepted a block in a ballot, sorted."""
        return sorted(self._votes.get(accepted, ()))

    def decided(self) -> Accepted | None:
        """What a quorum accepted in one ballot. Later ballots can only say the same again."""
        for accepted, voters in self._votes.items():
            if is_quorum(voters, self.signers, self.sentinel):
                return accepted
        return None
