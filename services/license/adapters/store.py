"""Leases, licenses, users and history in SQLite (WAL): what survives a restart."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from services.common.errors import ConfigError, SwarmError
from services.common.license_api import Client
from services.license.adapters.history_table import HistoryTable
from services.license.adapters.schema import prepare
from services.license.adapters.user_table import UserTable
from services.license.core.leases import Lease

BUSY_SECONDS = 5
DATABASE = "licenses.sqlite"
"""Name of the file in the data folder."""

_LEASE = "lease_id, feature, client, common_name, since, expires"


class StoreError(SwarmError):
    """The database cannot be read or written now, e.g. because the disk is full."""

    http_status = 503
    code = "storage"


@dataclass(frozen=True, slots=True)
class Document:
    """A license document as it is kept."""

    serial: str
    text: str
    installed_at: int
    installed_by: str
    archived: bool


class Store:
    """The database of a license server. Thread-safe; other processes may use the file, too.

    Args:
        path: the file; made where it is not there.

    Raises:
        ConfigError: it is not our database, is damaged, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._lock = RLock()
        try:
            path.touch(mode=0o600)  # SQLite gives the files beside it the same mode
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as exc:
            raise ConfigError(f"cannot open {path}: {exc}") from exc
        try:
            prepare(self._db, path)
        except sqlite3.Error as exc:
            self._db.close()
            raise ConfigError(
                f"{path} cannot be used ({exc}): restore it from a backup, or move it away to "
                "start with no leases"
            ) from exc
        except ConfigError:
            self._db.close()
            raise
        self.book = HistoryTable(self._db)
        self.users = UserTable(self._db)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what the body does is stored at its end, or undone if it raises.

        Raises:
            StoreError: the database failed.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as exc:
                raise StoreError(
                    f"the license database failed: {exc}. Nothing was changed: try again; if it "
                    "stays so, see to the disk of the server's data folder (full? read-only?)"
                ) from exc
            finally:
                if self._db.in_transaction:
                    self._db.rollback()

    # --- inside a transaction

    def leases(self, feature: str | None = None) -> list[Lease]:
        """Leases, of one feature or of all, oldest first."""
        where, values = ("", ()) if feature is None else (" WHERE feature = ?", (feature,))
        rows = self._db.execute(f"SELECT {_LEASE} FROM leases{where} ORDER BY since", values)  # noqa: S608 - constants
        return [_lease(row) for row in rows]

    def ended(self, now: float) -> list[Lease]:
        """Leases that nobody renewed in time."""
        rows = self._db.execute(f"SELECT {_LEASE} FROM leases WHERE expires <= ?", (now,))  # noqa: S608 - constants
        return [_lease(row) for row in rows]

    def lease(self, lease_id: str) -> Lease | None:
        """One lease."""
        rows = self._db.execute(f"SELECT {_LEASE} FROM leases WHERE lease_id = ?", (lease_id,))  # noqa: S608 - constants
        return next((_lease(row) for row in rows), None)

    def put(self, lease: Lease) -> None:
        """Add a lease, or replace the one of its id."""
        self._db.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                lease.lease_id, lease.feature, lease.client.uid, lease.client.model_dump_json(),
                lease.common_name, lease.since, lease.expires,
            ),
        )  # fmt: skip

    def delete(self, lease_id: str) -> None:
        """Remove a lease."""
        self._db.execute("DELETE FROM leases WHERE lease_id = ?", (lease_id,))

    def shorten(self, latest: float) -> None:
        """Let no lease end after ``latest``: the clock was set back while the server was away."""
        self._db.execute("UPDATE leases SET expires = ? WHERE expires > ?", (latest, latest))

    def documents(self) -> list[Document]:
        """The license documents."""
        rows = self._db.execute(
            "SELECT serial, document, installed_at, installed_by, archived FROM licenses"
        )
        return [
            Document(serial, text, at, by, bool(archived))
            for serial, text, at, by, archived in rows
        ]

    def put_document(self, serial: str, text: str, now: float = 0, by: str = "") -> None:
        """Add a license document, or replace the one of its serial."""
        self._db.execute(
            "INSERT OR REPLACE INTO licenses VALUES (?, ?, ?, ?, 0)", (serial, text, int(now), by)
        )

    def archive_document(self, serial: str, *, archived: bool) -> None:
        """Put a license document away, or take it out again."""
        self._db.execute("UPDATE licenses SET archived = ? WHERE serial = ?", (archived, serial))

    def delete_document(self, serial: str) -> None:
        """Remove a license document."""
        self._db.execute("DELETE FROM licenses WHERE serial = ?", (serial,))

    def remembered(self, name: str) -> str | None:
        """A single value that was kept under a name."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found is not None else None

    def remember(self, name: str, value: str) -> None:
        """Keep a single value."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def open_store(folder: Path) -> Store:
    """The database in a data folder, which is made where it is not there.

    Raises:
        ConfigError: folder or database cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise ConfigError(
            f"cannot use LICENSE_DATA_DIR={folder}: {exc.strerror}. Name a folder that this "
            "process may write"
        ) from exc
    return Store(folder / DATABASE)


def _lease(row: tuple[str, str, str, str, float, float]) -> Lease:
    lease_id, feature, client, common_name, since, expires = row
    return Lease(lease_id, feature, Client.model_validate_json(client), common_name, since, expires)
