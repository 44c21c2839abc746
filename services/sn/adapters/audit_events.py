"""Folds the events of a chain into the history of one contract and of all tasks.

And says who wrote them.
"""

from functools import lru_cache
from typing import assert_never

from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from services.sn.adapters import abi
from services.sn.adapters.audit_roots import AuditedBlock, LogEntry
from services.sn.adapters.audit_transactions import Transaction
from services.sn.core import ledger, task_events
from services.sn.core.chronicle import Chronicle
from services.sn.core.directory import Directory
from services.sn.core.nodes import Nodes
from services.sn.core.task_chronicle import RunChronicle, TaskChronicle
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.training import Training
from services.sn.core.verdict import Violation

OTHER_CODE = "{} at {} was not deployed from this version's code"

address_text = lru_cache(maxsize=4096)(to_checksum_address)


class Events:
    """The events of the swarm's contracts so far.

    Args:
        contract: name of the contract whose history to keep.
        registry: address of the SwarmRegistry.
        nodes: address of the NodeRegistry; where it is None, the first one deployed for the
            registry.
    """

    def __init__(self, contract: str, registry: str, nodes: str | None) -> None:
        self.contract = contract
        self.registry, self.node_registry = registry, nodes
        self.directory, self.nodes = Directory(), Nodes()
        self.chronicle: Chronicle | None = None
        """None until the contract is registered."""
        self.tasks = TaskChronicle()
        self.runners: dict[str, RunChronicle] = {}
        """By address."""
        self.count = 0
        self.other_code: list[str] = []
        """Contracts whose code is not what this version deploys."""
        self._deployed: dict[str, bytes] = {}
        self._named: dict[str, str] = {}
        """Kinds of the contracts that have a name, by address."""

    def apply(self, block: AuditedBlock) -> None:
        """Advance by one block.

        Raises:
            Violation: an event was not caused by a writer, or does not fit those before it.
        """
        header = block.header
        at = ledger.Block(header.number, header.hash.hex(), header.time)
        for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
            if receipt.succeeded and transaction.creates:
                self._note_deployed(transaction)
            for entry in receipt.logs:
                self.apply_log(entry, at, transaction)

    def apply_log(
        self, entry: LogEntry, at: ledger.Block, transaction: Transaction | None = None
    ) -> None:
        """Advance by one event.

        Args:
            entry: the event.
            at: its block.
            transaction: what caused it; None: that is not to be checked.

        Raises:
            Violation: a transaction of an account that may not write caused it; or it does not
                fit those before it.
        """
        kind = self._kind(address_text(entry.address))
        if kind is None:
            return
        if transaction is not None:
            self._require_writer(transaction, at.number, kind)
        try:
            event = abi.abi(kind).event(entry.topics, entry.data)
            if event is None:
                return
            self.count += 1
            self._fold(event, address_text(entry.address), at)
        except (
            DecodingError,
            ValueError,
            KeyError,
            IndexError,
            StopIteration,
            AssertionError,
        ) as exc:
            raise Violation(
                at.number, f"an event of {kind} does not fit those before: {exc}"
            ) from exc

    def _kind(self, address: str) -> str | None:
        if address == self.registry:
            return abi.REGISTRY
        if address == self.node_registry:
            return abi.NODES
        return self._named.get(address)

    def _require_writer(self, transaction: Transaction, block: int, kind: str) -> None:
        sender = address_text(transaction.sender)
        if sender in self.directory.writers:
            return
        if transaction.creates and address_text(transaction.creates) == self.registry:
            return  # its deployer is the first writer
        raise Violation(
            block, f"an event of {kind} was caused by an account that was no writer then",
            sender, f"one of {', '.join(sorted(self.directory.writers)) or 'none yet'}",
        )  # fmt: skip

    def _fold(self, event: ledger.LedgerEvent, address: str, at: ledger.Block) -> None:
        if isinstance(event, ledger.TrainingEvent):
            if self.chronicle is not None and address == self.chronicle.training.address:
                self.chronicle.apply(event, at)
        elif isinstance(event, ledger.NodeEvent):
            self.nodes.apply(event, at)
        elif isinstance(event, ledger.DirectoryEvent):
            self.directory.apply(event)
            if isinstance(event, ledger.Registered):
                self._register(event, at)
        elif isinstance(event, task_events.TaskEvent):
            self.tasks.apply(event, at)
        elif isinstance(event, task_events.RunnerEvent):
            self.runners[address].apply(event, at)
        else:
            assert_never(event)

    def _register(self, event: ledger.Registered, at: ledger.Block) -> None:
        kind = abi.contract_of(event)
        if kind is None:
            return
        self._named[event.at] = kind
        if kind == abi.TASKS:
            self.tasks.tasks.register(event)
        elif kind == abi.TASKRUNNER:
            runner = TaskRunner(event.name, event.at, event.created)
            self.runners[event.at] = RunChronicle(runner)
        elif event.name == self.contract:
            training = Training(event.name, event.at, event.created)
            self.chronicle = Chronicle(training, at.number)

    def _note_deployed(self, transaction: Transaction) -> None:
        address = address_text(transaction.creates)
        nodes = abi.abi(abi.NODES).creation(self.registry)
        if self.node_registry is None and transaction.data == nodes:
            self.node_registry = address
        self._deployed[address] = transaction.data

    def unlike_ours(self) -> list[str]:
        """Contracts that this history rests on and that other code was deployed for."""
        if self.node_registry is None or self.chronicle is None:
            return []
        system, tasks = (self.registry, self.node_registry), self.tasks.tasks.address
        wanted: list[tuple[str, str, tuple[str, ...]]] = [
            (abi.REGISTRY, self.registry, ()),
            (abi.NODES, self.node_registry, (self.registry,)),
            (abi.TRAINING, self.chronicle.training.address, system),
            *((abi.TASKRUNNER, at, (*system, tasks)) for at in self.runners),
        ]
        if tasks:
            wanted.append((abi.TASKS, tasks, (self.registry,)))
        return [
            OTHER_CODE.format(name, address)
            for name, address, args in wanted
            if self._deployed.get(address) != abi.abi(name).creation(*args)
        ]
