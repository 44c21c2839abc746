"""Verifies a chain block by block, from the genesis block on, and keeps one contract's history.

Memory does not grow with the chain: of every block only what later ones need is kept.
"""

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from services.common import sn_api as api
from services.common.errors import ConfigError
from services.common.ids import NO_DIGEST
from services.sn.adapters import abi
from services.sn.adapters.audit_certificates import check_certificate
from services.sn.adapters.audit_events import Events
from services.sn.adapters.audit_headers import Header, check_link
from services.sn.adapters.audit_roots import AuditedBlock
from services.sn.adapters.audit_seals import Seals, is_embedded
from services.sn.adapters.audit_transactions import created_by
from services.sn.core.training import Training
from services.sn.core.verdict import Verdict, Violation

SUMMARY = (
    "uint32", "uint8", "uint32", "uint32", "bytes16", "uint32", "bytes32", "bool", "uint32",
    "bytes32", "uint32", "uint64", "uint8",
)  # fmt: skip
"""What ``TrainingContract.summary()`` returns."""
NAMES = (
    "generation", "phase", "round", "term", "leader", "min peers", "merge method", "adaptive sync",
    "leader timeout", "merged digest", "merged round", "time of the election", "attestations",
)  # fmt: skip
PHASES = list(api.Phase)
"""In the order of the contract's enum."""


class Auditor:
    """Takes the blocks of a chain in order; raises at the first violation.

    Args:
        contract: name of the contract whose history to keep.
        registry: address of the SwarmRegistry; only a chain of the embedded engine says itself
            where it is.
    """

    def __init__(self, contract: str, registry: str | None = None) -> None:
        self.verdict = Verdict()
        self._contract = contract
        self._registry = registry
        self._genesis = b""
        self._previous: Header | None = None
        self._seals: Seals | None = None
        self._events: Events | None = None

    @property
    def events(self) -> Events:
        """What the blocks so far say; there must have been one."""
        assert self._events is not None, "no block yet"
        return self._events

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded engine made the chain."""
        return self._seals is not None

    def add(self, block: AuditedBlock, certificate: object = None) -> None:
        """Verify the next block and take in its events.

        Args:
            block: the next one.
            certificate: the votes that made it final, as an SN shows them.

        Raises:
            Violation: it breaks a rule.
            ConfigError: the chain is another client's and no registry is named.
        """
        header, verdict = block.header, self.verdict
        check_link(header, self._previous)
        if self._previous is None:
            self._begin(header)
        elif self._seals is not None:
            signers, sentinel = self._seals.signers, self._seals.genesis_signer
            self._seals.check(header)
            check_certificate(header, certificate, self._genesis, signers, sentinel)
            self._require_chain(block)
        self.events.apply(block)
        self._previous = header
        verdict.blocks += 1
        verdict.transactions += len(block.transactions)
        verdict.events = self.events.count
        verdict.head, verdict.head_hash = header.number, f"0x{header.hash.hex()}"

    def _require_chain(self, block: AuditedBlock) -> None:
        for place, transaction in enumerate(block.transactions):
            if transaction.chain != self.verdict.chain_id:
                raise Violation(
                    block.header.number, f"transaction {place} is for another chain",
                    transaction.chain, self.verdict.chain_id,
                )  # fmt: skip

    def _begin(self, genesis: Header) -> None:
        nodes = None
        self._genesis = genesis.hash
        if is_embedded(genesis):
            self._seals = Seals(genesis)
            signer = self._seals.genesis_signer
            if self._registry is None:
                self._registry = to_checksum_address(created_by(signer, 0))
                nodes = to_checksum_address(created_by(signer, 1))
        if self._registry is None:
            raise ConfigError(
                f"the genesis block 0x{genesis.hash.hex()} is not one of the embedded engine: "
                "where another client seals the chain, name the SwarmRegistry with --registry"
            )
        self._events = Events(self._contract, self._registry, nodes)
        self.verdict.chain_id = self._seals.chain_id if self._seals is not None else 0
        self.verdict.engine = "embedded" if self._seals is not None else "external"
        self.verdict.genesis = f"0x{genesis.hash.hex()}"
        if self._seals is None:
            self.verdict.not_checked.append("seals not checked: another client makes these blocks")

    def finish(self) -> Training:
        """The contract as its events tell it; ends the verdict.

        Raises:
            Violation: no event registered the contract.
        """
        if self._seals is not None:
            self.verdict.signers = self._seals.signers
        if self.events.chronicle is None:
            raise Violation(
                self.verdict.head, f"no event so far registers {self._contract!r}",
                "none", "one, as the registry's lookup() knows that name",
            )  # fmt: skip
        self.verdict.not_checked += self.events.unlike_ours()
        return self.events.chronicle.training


def check_summary(training: Training, answer: bytes, block: int) -> None:
    """Compare what the events say with what the contract says of itself.

    Args:
        training: folded from the events.
        answer: of ``summary()``.
        block: number of the block after which it was asked.

    Raises:
        Violation: they differ.
    """
    try:
        found = decode(SUMMARY, answer)
    except DecodingError as exc:
        raise Violation(block, f"summary() of the contract answers something else: {exc}") from exc
    for name, theirs, ours in zip(NAMES, found, _summary(training), strict=True):
        if ours is not None and theirs != ours:
            raise Violation(
                block, f"summary() of the contract gives another {name} than its events",
                _plain(theirs), _plain(ours),
            )  # fmt: skip


def _summary(training: Training) -> tuple[object, ...]:
    """As the contract would say it; None where the fold does not know."""
    terms, merged = training.terms, training.merged
    fixed: tuple[object, ...] = (0, bytes(32), False, 0)
    if terms is not None:
        method = abi.method_bytes(terms.merge_method)
        fixed = (terms.min_peers, method, terms.adaptive, terms.leader_timeout_s)
    return (
        training.generation, PHASES.index(training.phase), training.round, training.term,
        bytes.fromhex(training.leader) or bytes(16), *fixed,
        bytes.fromhex(merged.digest if merged else NO_DIGEST), merged.round if merged else 0,
        training.elected, terms.attestations if terms is not None else 0,
    )  # fmt: skip


def _plain(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
