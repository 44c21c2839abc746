"""Read model of the swarm registry: which SN accounts may write, which names are taken."""

from typing import assert_never

from services.sn.core import ledger


class Directory:
    """Writers and names, after the events applied so far."""

    def __init__(self) -> None:
        self.writers: set[str] = set()
        """Addresses of the SN accounts that may write."""
        self.contracts: dict[str, ledger.Registered] = {}
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
