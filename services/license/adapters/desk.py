"""All parts of a license server on one database."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.license.adapters.accounts import Accounts
from services.license.adapters.clock_watch import ClockWatch
from services.license.adapters.journal import Journal
from services.license.adapters.keyring import Keyring
from services.license.adapters.office import Office
from services.license.adapters.passwords import Passwords
from services.license.adapters.setup_code import SetupCode
from services.license.adapters.shelf import Shelf
from services.license.adapters.store import Store


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts; each carries out what its routes are asked for."""

    watch: ClockWatch
    shelf: Shelf
    office: Office
    journal: Journal
    accounts: Accounts

    @staticmethod
    def make(
        store: Store,
        folder: Path,
        clock: Callable[[], float],
        lease_s: float,
        *,
        wall: Callable[[], float] = time.time,
        certificate_ends: Callable[[], datetime | None] = lambda: None,
        passwords: Passwords | None = None,
    ) -> "Desk":
        """The parts, not opened yet.

        Args:
            store: the database.
            folder: data folder, for keys and the setup code.
            clock: Unix seconds, steady.
            lease_s: length of a lease in seconds.
            wall: Unix seconds as this machine's clock shows them.
            certificate_ends: when this server's certificate ends.
            passwords: hashes.

        Raises:
            ConfigError: the server's key cannot be used.
        """
        watch = ClockWatch(store, clock, wall)
        shelf = Shelf(store, Keyring(folder), clock, watch)
        return Desk(
            watch, shelf, Office(store, shelf, clock, lease_s),
            Journal(store, shelf, watch, clock, certificate_ends),
            Accounts(store, SetupCode(folder), clock, passwords),
        )  # fmt: skip

    def open(self) -> None:
        """Check what the database holds, and make what a new one needs."""
        self.journal.open()
        self.watch.open()
        self.shelf.open()
        self.office.open()
        self.accounts.open()

    def sweep(self) -> None:
        """What is to be done from time to time."""
        self.watch.tick()
        self.office.sweep()
        self.accounts.sweep()
        self.journal.sweep()
