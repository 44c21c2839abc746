"""Leases, licenses and history in SQLite (WAL): what survives a restart.

History rows are append-only; each carries a hash over itself and the row before, so that a later
change of the file shows.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from services.common.errors import ConfigError, SwarmError
from services.common.license_api import Client, HistoryReport
from services.license.core.leases import Lease

SCHEMA_VERSION = 1
APPLICATION_ID = 0x53574C43
"""Marks the file as ours, so that another program's database is refused."""
BUSY_SECONDS = 5

_SCHEMA = (
    "CREATE TABLE leases (lease_id TEXT PRIMARY KEY, feature TEXT NOT NULL, uid TEXT NOT NULL, "
    "client TEXT NOT NULL, common_name TEXT NOT NULL, since REAL NOT NULL, expires REAL NOT NULL, "
    "UNIQUE (feature, uid))",
    "CREATE TABLE licenses (serial TEXT PRIMARY KEY, document TEXT NOT NULL)",
    "CREATE TABLE history (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, "
    "lease_id TEXT NOT NULL, feature TEXT NOT NULL, uid TEXT NOT NULL, common_name TEXT NOT NULL, "
    "hash TEXT NOT NULL)",
    "CREATE INDEX history_of_lease ON history (lease_id, seq)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_LEASE = "lease_id, feature, client, common_name, since, expires"
_HISTORY = "seq, time, kind, lease_id, feature, uid, common_name, hash"


class StoreError(SwarmError):
    """The database cannot be read or written now, e.g. because the disk is full."""

    http_status = 503
    code = "storage"


class Store:
    """The database of a license server. Thread-safe.

    Args:
        path: the file; made where it is not there.

    Raises:
        ConfigError: it is not our database, is damaged, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._lock = RLock()
        try:
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as exc:
            raise ConfigError(f"cannot open {path}: {exc}") from exc
        try:
            self._prepare(path)
        except sqlite3.Error as exc:
            self._db.close()
            raise ConfigError(
                f"{path} cannot be used ({exc}): restore it from a backup, or move it away to "
                "start with no leases"
            ) from exc
        except ConfigError:
            self._db.close()
            raise

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
                raise StoreError(f"the license database failed: {exc}") from exc
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

    def documents(self) -> list[str]:
        """The installed license documents."""
        return [str(row[0]) for row in self._db.execute("SELECT document FROM licenses")]

    def put_document(self, serial: str, document: str) -> None:
        """Add a license document."""
        self._db.execute("INSERT INTO licenses VALUES (?, ?)", (serial, document))

    def delete_document(self, serial: str) -> None:
        """Remove a license document."""
        self._db.execute("DELETE FROM licenses WHERE serial = ?", (serial,))

    def record(
        self, now: float, kind: str, lease_id: str, feature: str, uid: str, common_name: str
    ) -> None:
        """Append a row of history; see :class:`HistoryReport` for the fields."""
        rows = self._db.execute("SELECT seq, hash FROM history ORDER BY seq DESC LIMIT 1")
        last, before = next(rows, (0, ""))
        row = (last + 1, int(now), kind, lease_id, feature, uid, common_name)
        self._db.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, _chained(before, row))
        )

    def history(self, start: float, end: float, after: int, limit: int) -> list[HistoryReport]:
        """Rows of a time span (Unix seconds, both ends included) after a row, oldest first."""
        rows = self._db.execute(
            f"SELECT {_HISTORY} FROM history WHERE time BETWEEN ? AND ? AND seq > ? "  # noqa: S608 - constants
            "ORDER BY seq LIMIT ?",
            (int(start), int(end), after, limit),
        )
        return [_history(row) for row in rows]

    def last_of(self, lease_id: str) -> HistoryReport | None:
        """The last that happened to a lease."""
        rows = self._db.execute(
            f"SELECT {_HISTORY} FROM history WHERE lease_id = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608 - constants
            (lease_id,),
        )
        return next((_history(row) for row in rows), None)

    def first_broken_row(self) -> int | None:
        """Number of the first history row that does not match its hash; None when all do."""
        before, expected = "", 1
        for row in self._db.execute(f"SELECT {_HISTORY} FROM history ORDER BY seq"):  # noqa: S608 - constants
            if row[0] != expected or row[-1] != _chained(before, row[:-1]):
                return expected
            before, expected = row[-1], expected + 1
        return None

    # --- start

    def _prepare(self, path: Path) -> None:
        version = self._pragma("user_version")
        tables = next(self._db.execute("SELECT count(*) FROM sqlite_master"))[0]
        if tables == 0:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute("COMMIT")
        elif self._pragma("application_id") != APPLICATION_ID or version != SCHEMA_VERSION:
            raise ConfigError(
                f"{path} is not a license database of version {SCHEMA_VERSION}: name another "
                "folder in LICENSE_DATA_DIR"
            )
        verdict = next(self._db.execute("PRAGMA quick_check(1)"))[0]
        if verdict != "ok":
            raise ConfigError(f"{path} is damaged ({verdict}): restore it from a backup")
        path.chmod(0o600)

    def _pragma(self, name: str) -> int:
        return int(next(self._db.execute(f"PRAGMA {name}"))[0])


def _chained(before: str, row: tuple[object, ...]) -> str:
    return hashlib.sha256((before + json.dumps(row)).encode()).hexdigest()


def _lease(row: tuple[str, str, str, str, float, float]) -> Lease:
    lease_id, feature, client, common_name, since, expires = row
    return Lease(lease_id, feature, Client.model_validate_json(client), common_name, since, expires)


def _history(row: tuple[int, int, str, str, str, str, str, str]) -> HistoryReport:
    seq, time, kind, lease_id, feature, uid, common_name, chained = row
    return HistoryReport(
        seq=seq, time=time, kind=kind, lease_id=lease_id, feature=feature, uid=uid,
        common_name=common_name, hash=chained,
    )  # fmt: skip
