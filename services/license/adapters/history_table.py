"""The history: rows that are only appended, each with a hash over itself and the row before.

A later change of the file shows. Old rows may be purged from the start only; the last purged row's
hash is then the *anchor* from which the chain goes on, and the row that tells of the purge, itself
part of the chain, names it.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from services.common.license_api import HistoryReport

ANCHOR = "history-anchor"
PURGED = "history-purged"
FOREVER = 2**62
USER = "user:"
"""Before the name of a local user who did something."""
_COLUMNS = "seq, time, kind, lease_id, feature, uid, common_name, hash, note"
_Row = tuple[int, int, str, str, str, str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows; all by default."""

    start: float = 0
    end: float = FOREVER
    """Unix seconds, both included."""
    after: int = 0
    """Only rows that follow this ``seq`` in the order asked for; 0 begins."""
    limit: int = 1000
    descending: bool = False
    feature: str = ""
    kind: str = ""
    text: str = ""
    """Part of any word of a row, in any case."""
    hidden: Collection[str] = ()
    """Kinds that are not for who asks."""
    without_users: bool = False
    """Nothing that a local user did."""


class HistoryTable:
    """Use inside a transaction of :class:`Store`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def record(
        self,
        now: float,
        kind: str,
        lease_id: str = "",
        feature: str = "",
        uid: str = "",
        common_name: str = "",
        note: str = "",
    ) -> None:
        """Append a row; see :class:`HistoryReport` for the fields."""
        rows = self._db.execute("SELECT seq, hash FROM history ORDER BY seq DESC LIMIT 1")
        last, before = next(rows, None) or self._anchor()
        row = (last + 1, int(now), kind, lease_id, feature, uid, common_name)
        chained = _chained(before, row, note or None)
        self._db.execute(
            f"INSERT INTO history ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
            (*row, chained, note or None),
        )

    def rows(self, asked: Asked) -> list[HistoryReport]:
        """The rows asked for."""
        where, values = ["time BETWEEN ? AND ?"], [int(asked.start), int(asked.end)]
        more: list[str | int] = [*values]
        if asked.after:
            where.append("seq < ?" if asked.descending else "seq > ?")
            more.append(asked.after)
        for column, value in (("feature", asked.feature), ("kind", asked.kind)):
            if value:
                where.append(f"{column} = ?")
                more.append(value)
        if asked.text:
            where.append(
                "instr(lower(kind || ' ' || lease_id || ' ' || feature || ' ' || uid || ' ' || "
                "common_name || ' ' || coalesce(note, '')), ?)"
            )
            more.append(asked.text.lower())
        if asked.hidden:
            where.append(f"kind NOT IN ({', '.join('?' * len(asked.hidden))})")
            more.extend(asked.hidden)
        if asked.without_users:
            where.append(f"substr(common_name, 1, {len(USER)}) <> '{USER}'")
        order = "DESC" if asked.descending else "ASC"
        found = self._db.execute(
            f"SELECT {_COLUMNS} FROM history WHERE {' AND '.join(where)} "  # noqa: S608 - constants
            f"ORDER BY seq {order} LIMIT ?",
            (*more, asked.limit),
        )
        return [_report(row) for row in found]

    def is_empty(self) -> bool:
        """Whether nothing has ever happened."""
        return next(self._db.execute("SELECT 1 FROM history LIMIT 1"), None) is None

    def latest_time(self) -> int:
        """The latest time of any row; 0 where there is none."""
        return int(next(self._db.execute("SELECT coalesce(max(time), 0) FROM history"))[0])

    def last_of(self, lease_id: str) -> HistoryReport | None:
        """The last that happened to a lease."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM history WHERE lease_id = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608 - constants
            (lease_id,),
        )
        return next((_report(row) for row in rows), None)

    def first_broken_row(self) -> int | None:
        """Number of the first row that does not match its hash; None when all do."""
        last, before = self._anchor()
        if last and f"anchor {before}" not in self._last_purge():
            return last
        expected = last + 1
        for row in self._all():
            if row[0] != expected or row[7] != _chained(before, row[:7], row[8]):
                return expected
            before, expected = row[7], expected + 1
        return None

    def purge(self, older_than: float, now: float) -> int:
        """Remove the first rows, as far as all of them are older than a time.

        Returns:
            How many are gone.
        """
        kept = self._db.execute(
            "SELECT min(seq) FROM history WHERE time >= ?", (int(older_than),)
        ).fetchone()[0]
        last = self._db.execute(
            "SELECT seq, hash FROM history WHERE ? IS NULL OR seq < ? ORDER BY seq DESC LIMIT 1",
            (kept, kept),
        ).fetchone()
        if last is None:
            return 0
        gone = self._db.execute("DELETE FROM history WHERE seq <= ?", (last[0],)).rowcount
        self._db.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (ANCHOR, json.dumps([last[0], last[1]]))
        )
        note = f"{gone} rows up to {last[0]}, anchor {last[1]}"
        self.record(now, PURGED, note=note)
        return gone

    def _anchor(self) -> tuple[int, str]:
        """Number and hash of the last row that was purged."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (ANCHOR,)).fetchone()
        if found is None:
            return 0, ""
        number, chained = json.loads(found[0])
        return int(number), str(chained)

    def _last_purge(self) -> str:
        found = self._db.execute(
            "SELECT note FROM history WHERE kind = ? ORDER BY seq DESC LIMIT 1", (PURGED,)
        ).fetchone()
        return str(found[0]) if found is not None else ""

    def _all(self) -> Iterator[_Row]:
        yield from self._db.execute(f"SELECT {_COLUMNS} FROM history ORDER BY seq")  # noqa: S608 - constants


def _chained(before: str, row: tuple[object, ...], note: str | None) -> str:
    """Rows without a note are hashed as version 1 of the database did it."""
    whole = row if note is None else (*row, note)
    return hashlib.sha256((before + json.dumps(whole)).encode()).hexdigest()


def _report(row: _Row) -> HistoryReport:
    seq, time, kind, lease_id, feature, uid, common_name, chained, note = row
    return HistoryReport(
        seq=seq, time=time, kind=kind, lease_id=lease_id, feature=feature, uid=uid,
        common_name=common_name, note=note or "", hash=chained,
    )  # fmt: skip
