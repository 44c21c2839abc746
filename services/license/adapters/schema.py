"""The database's tables, and how one of an earlier version becomes one of today's."""

import sqlite3
from pathlib import Path

from services.common.errors import ConfigError

SCHEMA_VERSION = 2
APPLICATION_ID = 0x53574C43
"""Marks the file as ours, so that another program's database is refused."""

_VERSION_1 = (
    "CREATE TABLE leases (lease_id TEXT PRIMARY KEY, feature TEXT NOT NULL, uid TEXT NOT NULL, "
    "client TEXT NOT NULL, common_name TEXT NOT NULL, since REAL NOT NULL, expires REAL NOT NULL, "
    "UNIQUE (feature, uid))",
    "CREATE TABLE licenses (serial TEXT PRIMARY KEY, document TEXT NOT NULL)",
    "CREATE TABLE history (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, "
    "lease_id TEXT NOT NULL, feature TEXT NOT NULL, uid TEXT NOT NULL, common_name TEXT NOT NULL, "
    "hash TEXT NOT NULL)",
    "CREATE INDEX history_of_lease ON history (lease_id, seq)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
)
"""As 0.1.0 made it before it was released; some run it."""

_FROM_1_TO_2 = (
    "ALTER TABLE licenses ADD COLUMN installed_at INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE licenses ADD COLUMN installed_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE licenses ADD COLUMN archived INTEGER NOT NULL DEFAULT 0",
    "UPDATE licenses SET (installed_at, installed_by) = (SELECT time, common_name FROM history "
    "WHERE kind = 'installed' AND lease_id = licenses.serial ORDER BY seq DESC LIMIT 1) "
    "WHERE serial IN (SELECT lease_id FROM history WHERE kind = 'installed')",
    "ALTER TABLE history ADD COLUMN note TEXT",
    "CREATE INDEX history_of_time ON history (time)",
    "CREATE TABLE users (name TEXT PRIMARY KEY COLLATE NOCASE, role TEXT NOT NULL, "
    "password TEXT NOT NULL, disabled INTEGER NOT NULL, last_sign_in INTEGER)",
    "CREATE TABLE sessions (token_hash TEXT PRIMARY KEY, user TEXT NOT NULL COLLATE NOCASE, "
    "began REAL NOT NULL, seen REAL NOT NULL)",
    "CREATE TABLE setup_codes (user TEXT PRIMARY KEY COLLATE NOCASE, code_hash TEXT NOT NULL, "
    "expires REAL NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "PRAGMA user_version = 2",
)


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file, bring an earlier version's up to date, refuse any other.

    Args:
        db: outside a transaction.
        path: the file, for messages.

    Raises:
        ConfigError: it is not ours, is of a later version, or is damaged.
        sqlite3.Error: it cannot be read or written.
    """
    version = _pragma(db, "user_version")
    if next(db.execute("SELECT count(*) FROM sqlite_master"))[0] == 0:
        db.execute("PRAGMA journal_mode = WAL")
        _carry_out(db, (*_VERSION_1, *_FROM_1_TO_2))
    elif _pragma(db, "application_id") != APPLICATION_ID or not 1 <= version <= SCHEMA_VERSION:
        raise ConfigError(
            f"{path} is not a license database of version {SCHEMA_VERSION} or earlier: name "
            "another folder in LICENSE_DATA_DIR, or run the program that made it"
        )
    verdict = next(db.execute("PRAGMA quick_check(1)"))[0]
    if verdict != "ok":
        raise ConfigError(f"{path} is damaged ({verdict}): restore it from a backup")
    if version == 1:
        _keep_copy(db, path.with_name(f"{path.name}.version-1"))
        _carry_out(db, _FROM_1_TO_2)
    path.chmod(0o600)


def _keep_copy(db: sqlite3.Connection, to: Path) -> None:
    """For who must go back to the program before."""
    to.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(to),))
    to.chmod(0o600)


def _carry_out(db: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in statements:
        db.execute(statement)
    db.execute("COMMIT")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(next(db.execute(f"PRAGMA {name}"))[0])
