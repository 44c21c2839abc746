"""A database as version 1 made it: brought up to date, nothing lost, a copy kept."""

import hashlib
import json
import sqlite3

import pytest

from services.common.errors import ConfigError
from services.common.license_api import Feature
from services.license.adapters import schema
from services.license.adapters.history_table import Asked
from services.license.adapters.keyring import Keyring
from services.license.adapters.store import Store
from services.license.core.license_file import community, sign
from tests.component.license.conftest import Clock, Server

VERSION_1 = """
CREATE TABLE leases (lease_id TEXT PRIMARY KEY, feature TEXT NOT NULL, uid TEXT NOT NULL,
  client TEXT NOT NULL, common_name TEXT NOT NULL, since REAL NOT NULL, expires REAL NOT NULL,
  UNIQUE (feature, uid));
CREATE TABLE licenses (serial TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE history (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL,
  lease_id TEXT NOT NULL, feature TEXT NOT NULL, uid TEXT NOT NULL, common_name TEXT NOT NULL,
  hash TEXT NOT NULL);
CREATE INDEX history_of_lease ON history (lease_id, seq);
PRAGMA application_id = 1398230083;
PRAGMA user_version = 1;
"""


def make_version_1(folder):
    """Written by hand, not by today's code: a community license, and one lease."""
    folder.mkdir(exist_ok=True)
    keyring = Keyring(folder)
    own = community(keyring.key.public_key(), Clock.now)
    db = sqlite3.connect(folder / "licenses.sqlite")
    db.executescript("PRAGMA journal_mode = WAL;" + VERSION_1)
    client = {
        "uid": f"{1:032x}", "host": "h", "container": "sl1", "component": "SL",
        "product_version": "",
    }  # fmt: skip
    with db:
        db.execute(
            "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?)",
            ("old", Feature.SL, client["uid"], json.dumps(client), "SL-1", Clock.now,
             Clock.now + 1800),
        )  # fmt: skip
        db.execute("INSERT INTO licenses VALUES (?, ?)", (own.serial, sign(own, keyring.key)))
        before = ""
        for row in (
            (1, int(Clock.now), "installed", own.serial, "", "", "SWCI-7"),
            (2, int(Clock.now), "granted", "old", Feature.SL, client["uid"], "SL-1"),
        ):
            before = hashlib.sha256((before + json.dumps(row)).encode()).hexdigest()
            db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, before))
    db.close()


@pytest.fixture
def old(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    make_version_1(server.folder)
    return server


@pytest.mark.parametrize("step", range(len(schema._FROM_1_TO_2) + 1))
async def test_a_change_that_is_cut_short_is_made_again(old, monkeypatch, step):
    with monkeypatch.context() as patch:
        cut = (*schema._FROM_1_TO_2[:step], "the power fails")
        patch.setattr(schema, "_FROM_1_TO_2", cut)
        with pytest.raises(ConfigError, match="syntax error"):
            Store(old.folder / "licenses.sqlite")
    async with old.running():
        assert (await old.send("PUT", "/leases/old")).status_code == 200
        assert (await old.send("GET", "/server")).json()["warnings"] == []


async def test_goes_on_with_its_leases_licenses_and_history(old):
    async with old.running():
        assert (await old.send("PUT", "/leases/old")).status_code == 200
        rows = (await old.send("GET", "/licenses")).json()
        assert [(row["state"], row["installed_at"], row["installed_by"]) for row in rows] == [
            ("active", int(Clock.now), "SWCI-7")
        ]
        assert (await old.send("GET", "/server")).json()["warnings"] == []
        await old.acquire(2)
    async with old.running():
        assert (await old.send("GET", "/server")).json()["warnings"] == [], "the chain goes on"
        rows = (await old.send("GET", "/history")).json()
        assert [row["kind"] for row in rows] == ["installed", "granted", "granted"]
        assert [row["note"] for row in rows] == ["", "", "SL sl2 on h"]
    assert (old.folder / "setup-code").exists()


def test_keeps_a_copy_that_version_1_can_read(old):
    Store(old.folder / "licenses.sqlite").close()
    copy = old.folder / "licenses.sqlite.version-1"
    assert copy.stat().st_mode & 0o777 == 0o600
    db = sqlite3.connect(copy)
    assert next(db.execute("PRAGMA user_version"))[0] == 1
    assert next(db.execute("PRAGMA application_id"))[0] == 1398230083
    assert next(db.execute("SELECT count(*) FROM leases"))[0] == 1
    db.close()


def test_a_change_by_hand_before_still_shows(old):
    db = sqlite3.connect(old.folder / "licenses.sqlite")
    with db:
        db.execute("UPDATE history SET common_name = 'SL-9' WHERE seq = 2")
    db.close()
    store = Store(old.folder / "licenses.sqlite")
    assert store.book.first_broken_row() == 2
    store.close()


def test_a_note_cannot_be_removed_or_added_unseen(old):
    store = Store(old.folder / "licenses.sqlite")
    with store.transaction():
        store.book.record(1, "user-added", note="x")
    assert len(store.book.rows(Asked())) == 3
    for number, note in ((3, None), (3, "y"), (2, "z")):
        store._db.execute("SAVEPOINT a")
        store._db.execute("UPDATE history SET note = ? WHERE seq = ?", (note, number))
        assert store.book.first_broken_row() == number
        store._db.execute("ROLLBACK TO a")
        store._db.execute("RELEASE a")
    store.close()


@pytest.mark.parametrize("version", [0, 3])
def test_other_versions_are_refused(old, version):
    db = sqlite3.connect(old.folder / "licenses.sqlite")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with pytest.raises(ConfigError, match="not a license database of version 2 or earlier"):
        Store(old.folder / "licenses.sqlite")
