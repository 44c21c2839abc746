"""What an audit of a chain ends with: a verdict, or the first violation."""

from dataclasses import dataclass, field

from services.common.errors import ProtocolError


class Violation(ProtocolError):  # noqa: N818 - what it is called where it is printed
    """The chain that an SN shows is not what it claims to be.

    Args:
        block: number of the block concerned.
        what: what is wrong there.
        found: what the SN gave.
        expected: what it should have been.
    """

    code = "ledger-violation"

    def __init__(self, block: int, what: str, found: object = "", expected: object = "") -> None:
        self.block, self.what = block, what
        self.found, self.expected = str(found), str(expected)
        differs = f": found {found}, expected {expected}" if self.expected else ""
        super().__init__(f"block {block}: {what}{differs}")


@dataclass(slots=True)
class Verdict:
    """What was verified, so far or in all."""

    engine: str = ""
    """``embedded``, or ``external`` for a chain that another Ethereum client seals."""
    chain_id: int = 0
    """0 where the genesis block does not say it."""
    genesis: str = ""
    """``0x`` hash."""
    head: int = -1
    head_hash: str = ""
    """``0x`` hash."""
    blocks: int = 0
    transactions: int = 0
    events: int = 0
    """Of all our contracts."""
    signers: list[str] = field(default_factory=list)
    """Who may seal the next block."""
    same_on: list[str] = field(default_factory=list)
    """SNs that hold the same history."""
    not_checked: list[str] = field(default_factory=list)
    """Checks that do not apply here, and why."""

    def line(self) -> str:
        """One line for a person."""
        signers = f", {some(len(self.signers), 'signer')}" if self.signers else ""
        same = f"the same on {some(len(self.same_on), 'SN')}"
        left_out = "".join(f"; {words}" for words in self.not_checked)
        return (
            f"verified: {some(self.blocks, 'block')}, "
            f"{some(self.transactions, 'transaction')}{signers}, "
            f"head {self.head_hash}; {same}{left_out}"
        )


def some(number: int, what: str) -> str:
    """A number of things, e.g. ``1,234 blocks``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
