"""Read model of the swarm registry: which SN accounts may write, which names are taken."""

from dataclasses import dataclass, field
from typing import assert_never

from services.sn.core import ledger


@dataclass(slots=True)
class Directory:
    """Writers and names, after the events applied so far."""

    writers: set[str] = field(default_factory=set)
    """Addresses of the SN accounts that may write."""
    contracts: dict[str, ledger.Registered] = field(default_factory=dict)
    """By name."""

    def apply(self, event: ledger.DirectoryEvent) -> None:
        """Advance by one event of the registry, in chain order."""
        match event:
            case ledger.WriterAdded():
                self.writers.add(event.writer)
            case ledger.WriterRemoved():
                self.writers.discard(event.writer)
            case ledger.Registered():
                self.contracts[event.name] = event
            case _:
                assert_never(event)
