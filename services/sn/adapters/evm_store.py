"""The chain's data on disk: one SQLite file in a locked folder, one durable transaction per block.

py-evm sees a key-value store (:class:`Store` is its ``AtomicDatabaseAPI``). Beside it are tables
of ours, written in the same transaction as the block that they belong to: ``meta`` (what this
folder is, and what this SN promised), ``logs`` (the events of the canonical chain, so that reading
the events of any range of blocks is one query) and ``certificates`` (the votes that made a block
final). A killed process therefore loses no block that it acknowledged and never leaves half of one.

A store belongs to the thread that opened it (SQLite checks that).
"""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from eth.db.backends.base import BaseAtomicDB

from services.common.errors import ChainUnavailableError, ConfigError

DATABASE = "chain.sqlite3"
LOCK = "chain.lock"
KEY = "account.key"
APPLICATION = 0x53574C43
"""``application_id`` of our SQLite files ("SWLC")."""
SCHEMA = 2
OURS = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", LOCK, KEY}
CHECKED_BYTES = 1 << 30
"""A larger file is not read whole at every start: that takes 5 s or more for each GB."""
TOLERATED = {"lost+found"}
"""What else a folder may hold: the root of an ext4 volume has it."""

_TABLES = (
    "create table kv (k blob primary key, v blob not null) without rowid",
    "create table meta (k text primary key, v blob not null) without rowid",
    "create table logs (number integer, position integer, block blob not null, tx blob not null,"
    " tx_position integer not null, address blob not null, topics blob not null,"
    " data blob not null, primary key (number, position)) without rowid",
    "create table certificates (number integer primary key, votes blob not null)",
)


@dataclass(frozen=True, slots=True)
class LogRow:
    """One event of a canonical block."""

    number: int
    """Block number."""
    position: int
    """Index of the event in its block."""
    block: bytes
    """Block hash."""
    tx: bytes
    """Transaction hash."""
    tx_position: int
    """Index of the transaction in its block."""
    address: bytes
    """Contract that emitted it, 20 bytes."""
    topics: bytes
    """Up to four topics of 32 bytes each, one after the other."""
    data: bytes


class Store(BaseAtomicDB):
    """The key-value store under py-evm, with ``meta`` and ``logs``.

    Use :meth:`open`; then call everything, :meth:`close` included, from that thread.
    """

    def __init__(self, folder: Path, lock: IO[str], connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._lock = lock
        self._sql = connection
        self._depth = 0

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open the folder's store, or make an empty one in an empty folder.

        Raises:
            ConfigError: the folder cannot be used, belongs to another running process, holds
                something that is not ours, is damaged, or was written by a newer version.
        """
        lock = lock_folder(folder)
        try:
            _refuse_foreign(folder)
            return cls(folder, lock, _connect(folder / DATABASE))
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Close the file and let others have the folder."""
        self._sql.close()
        self._lock.close()

    # --- transactions ---------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together, durably, or none of them; may be nested.

        Raises:
            ChainUnavailableError: the disk took no more (nothing of the transaction is kept).
        """
        name = f"s{self._depth}"
        outer = self._depth == 0
        self._run("begin immediate" if outer else f"savepoint {name}")
        self._depth += 1
        try:
            yield
            self._run("commit" if outer else f"release {name}")
        except BaseException:
            self._undo(name, outer=outer)
            raise
        finally:
            self._depth -= 1

    def _undo(self, name: str, *, outer: bool) -> None:
        if not self._sql.in_transaction:  # SQLite rolled back by itself (disk full)
            return
        if outer:
            self._run("rollback")
        else:
            self._run(f"rollback to {name}")
            self._run(f"release {name}")

    @contextmanager
    def atomic_batch(self) -> Iterator[Any]:
        """py-evm's name for :meth:`transaction`."""
        with self.transaction():
            yield self

    def _run(self, sql: str, *values: bytes | str | int) -> sqlite3.Cursor:
        try:
            return self._sql.execute(sql, values)
        except sqlite3.Error as exc:
            raise ChainUnavailableError(
                f"cannot use {self.folder / DATABASE}: {exc}. Is the disk full or read-only? "
                "The SN goes on by itself once it can write again"
            ) from exc

    # --- key-value store of py-evm --------------------------------------------------------

    def __getitem__(self, key: bytes) -> bytes:
        row = self._run("select v from kv where k = ?", key).fetchone()
        if row is None:
            raise KeyError(key)
        value: bytes = row[0]
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._run("insert or replace into kv values (?, ?)", key, value)

    def __delitem__(self, key: bytes) -> None:
        if self._run("delete from kv where k = ?", key).rowcount == 0:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._run("select 1 from kv where k = ?", key).fetchone() is not None

    # --- what this folder is --------------------------------------------------------------

    def meta(self, name: str) -> bytes | None:
        """A fact about this folder, or None."""
        row = self._run("select v from meta where k = ?", name).fetchone()
        return None if row is None else bytes(row[0])

    def set_meta(self, name: str, value: bytes) -> None:
        """Record a fact about this folder."""
        self._run("insert or replace into meta values (?, ?)", name, value)

    # --- events of the canonical chain ----------------------------------------------------

    def add_logs(self, rows: Iterable[LogRow]) -> None:
        """Record the events of a block that became canonical."""
        for row in rows:
            self._run(
                "insert or replace into logs values (?, ?, ?, ?, ?, ?, ?, ?)",
                row.number,
                row.position,
                row.block,
                row.tx,
                row.tx_position,
                row.address,
                row.topics,
                row.data,
            )

    def drop_logs(self, number: int) -> None:
        """Forget the events of a block that is canonical no more."""
        self._run("delete from logs where number = ?", number)

    def logs(self, first: int, last: int) -> Iterator[LogRow]:
        """Events of the canonical blocks ``first`` to ``last``, both included, in order."""
        rows = self._run(
            "select * from logs where number between ? and ? order by number, position",
            first,
            last,
        )
        return (LogRow(*row) for row in rows)

    # --- certificates ---------------------------------------------------------------------

    def certificate(self, number: int) -> bytes:
        """The votes that made the canonical block ``number`` final; empty where none are kept."""
        row = self._run("select votes from certificates where number = ?", number).fetchone()
        return b"" if row is None else bytes(row[0])

    def set_certificate(self, number: int, votes: bytes) -> None:
        """Keep a block's certificate."""
        self._run("insert or replace into certificates values (?, ?)", number, votes)


def lock_folder(folder: Path) -> IO[str]:
    """Make the folder if need be, and keep it for this process until the file is closed.

    Raises:
        ConfigError: it cannot be used, or another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / LOCK).open("a+", encoding="ascii")
    except OSError as exc:
        raise ConfigError(
            f"cannot use {folder} for the chain's data: {exc.strerror}. Name a folder that this "
            "user may write (SN_DATA_DIR)"
        ) from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        if exc.errno not in (errno.EAGAIN, errno.EACCES):
            raise ConfigError(f"cannot lock {folder / LOCK}: {exc.strerror}") from exc
        raise ConfigError(
            f"{folder} is in use by another SN (process {owner}): two SNs cannot share a data "
            "folder; stop that one or name another folder (SN_DATA_DIR)"
        ) from exc
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def _refuse_foreign(folder: Path) -> None:
    if (folder / DATABASE).exists():
        return
    others = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in OURS | TOLERATED and not entry.name.startswith(".")
    )
    if others:
        raise ConfigError(
            f"{folder} holds files that are not ours ({', '.join(others[:4])}): it may belong to "
            "another Ethereum client; name an empty folder (SN_DATA_DIR)"
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        _prepare(connection, path)
    except sqlite3.Error as exc:
        if connection is not None:
            connection.close()
        raise ConfigError(
            f"{path} is damaged or not a chain of ours ({exc}). Restore it from a copy, or, if "
            "other SNs hold the chain, empty the folder: this SN fetches it from them again"
        ) from exc
    except ConfigError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("select count(*) from sqlite_master").fetchone()[0]
    if tables == 0:
        connection.execute("pragma journal_mode = wal")
        connection.execute("begin immediate")
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"pragma application_id = {APPLICATION}")
        connection.execute(f"pragma user_version = {SCHEMA}")
        connection.execute("commit")
    if connection.execute("pragma application_id").fetchone()[0] != APPLICATION:
        raise ConfigError(f"{path} is another program's database; name an empty folder")
    version = connection.execute("pragma user_version").fetchone()[0]
    if version != SCHEMA:
        raise ConfigError(
            f"{path} has schema {version}, this version reads {SCHEMA}: use the version that "
            "wrote it"
        )
    if path.stat().st_size <= CHECKED_BYTES:
        complaint = connection.execute("pragma quick_check(1)").fetchone()[0]
        if complaint != "ok":
            raise sqlite3.DatabaseError(" ".join(complaint.split()))
    connection.execute("pragma synchronous = full")
    connection.execute("pragma cache_size = -4096")
