"""Who sealed a block of the embedded engine, and whether that account might (Clique, EIP-225)."""

import rlp
from eth.abc import BlockHeaderAPI
from eth.consensus.clique.datatypes import Snapshot
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from services.sn.adapters.audit_headers import Header
from services.sn.adapters.evm_rules import Clique, Context, HeadDB, read_genesis, signer_of
from services.sn.core.verdict import Violation

FIELDS = 21
"""Of a header of the embedded engine."""


class Seals:
    """Follows the signer set from the genesis block on.

    The rules are those that the SNs themselves follow (:mod:`evm_rules`), on nothing but the
    headers given: who was a signer before a block follows from the votes in the headers before it.

    Raises:
        Violation: on making one: the genesis block is not one of the embedded engine.
    """

    def __init__(self, genesis: Header) -> None:
        self._previous = _header(genesis)
        try:
            self.genesis_signer, self.chain_id = read_genesis(self._previous)
        except ValidationError as exc:
            raise Violation(0, str(exc)) from exc
        headers = HeadDB(AtomicDB())
        headers.persist_header(self._previous)
        self._context = Context(headers.db)
        self._clique = Clique(self._context)
        self._signers = self._after(self._previous)

    @property
    def signers(self) -> list[str]:
        """Accounts that may seal the next block."""
        return [to_checksum_address(each) for each in self._signers.get_sorted_signers()]

    def check(self, header: Header) -> None:
        """Check the seal of the next header.

        Raises:
            Violation: nobody, or nobody who might, sealed it; or it breaks another rule of Clique.
        """
        block = _header(header)
        try:
            signer = signer_of(block)
        except ValidationError as exc:
            raise Violation(header.number, "its seal is no signature") from exc
        if signer not in self._signers.signers:
            raise Violation(
                header.number, "an account that was no signer then sealed it",
                to_checksum_address(signer), f"one of {', '.join(self.signers)}",
            )  # fmt: skip
        try:
            self._clique.validate_seal_extension(block, [self._previous])
            self._signers = self._after(block)
        except ValidationError as exc:
            raise Violation(header.number, f"it breaks a rule of Clique: {exc}") from exc
        self._previous = block

    def _after(self, block: BlockHeaderAPI) -> Snapshot:
        return self._context.snapshot_manager.get_or_create_snapshot(
            block.block_number, block.hash, [block]
        )


def is_embedded(genesis: Header) -> bool:
    """Whether a chain with this genesis block is one of the embedded engine."""
    try:
        read_genesis(_header(genesis))
    except (Violation, ValidationError):
        return False
    return True


def _header(header: Header) -> BlockHeaderAPI:
    if len(header.fields) != FIELDS:
        raise Violation(
            header.number,
            "it is no header of this software",
            f"{len(header.fields)} fields",
            FIELDS,
        )
    try:
        decoded: BlockHeaderAPI = rlp.decode(header.raw, PragueBlockHeader)
    except (rlp.exceptions.RLPException, ValueError, TypeError) as exc:
        raise Violation(header.number, f"it is no header of this software: {exc}") from exc
    return decoded
