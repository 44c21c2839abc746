"""Users, their sessions and the codes that let somebody choose a password."""

import sqlite3
from dataclasses import astuple, replace

from services.common.license_api import Role
from services.license.core.sessions import Session
from services.license.core.users import User

_USER = "name, role, password, disabled, last_sign_in"


class UserTable:
    """Use inside a transaction of :class:`Store`. Names count in any case."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def all(self) -> list[User]:
        """Users by name."""
        return [_user(row) for row in self._db.execute(f"SELECT {_USER} FROM users ORDER BY name")]  # noqa: S608 - constants

    def get(self, name: str) -> User | None:
        """One user."""
        rows = self._db.execute(f"SELECT {_USER} FROM users WHERE name = ?", (name,))  # noqa: S608 - constants
        return next((_user(row) for row in rows), None)

    def put(self, user: User) -> None:
        """Add a user, or replace the one of that name."""
        self._db.execute(
            "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?)",
            (user.name, user.role, user.password, user.disabled, user.last_sign_in),
        )

    def delete(self, name: str) -> None:
        """Remove a user with sessions and codes."""
        self._db.execute("DELETE FROM users WHERE name = ?", (name,))
        self.end_sessions(name)
        self.delete_code(name)

    # --- sessions

    def session(self, token_hash: str) -> Session | None:
        """One session."""
        rows = self._db.execute("SELECT * FROM sessions WHERE token_hash = ?", (token_hash,))
        return next((Session(*row) for row in rows), None)

    def sessions(self, user: str) -> list[Session]:
        """A user's sessions, the oldest first."""
        rows = self._db.execute("SELECT * FROM sessions WHERE user = ? ORDER BY began", (user,))
        return [Session(*row) for row in rows]

    def put_session(self, session: Session) -> None:
        """Add a session."""
        self._db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", astuple(session))

    def see(self, session: Session, now: float) -> Session:
        """Note that a session was used now."""
        self._db.execute(
            "UPDATE sessions SET seen = ? WHERE token_hash = ?", (now, session.token_hash)
        )
        return replace(session, seen=now)

    def end_session(self, token_hash: str) -> None:
        """Remove a session."""
        self._db.execute("DELETE FROM sessions WHERE token_hash = ?", (token_hash,))

    def end_sessions(self, user: str) -> None:
        """Remove a user's sessions."""
        self._db.execute("DELETE FROM sessions WHERE user = ?", (user,))

    def end_old_sessions(self, seen_before: float, began_before: float, now: float) -> None:
        """Remove sessions last used or begun before a time, or "used" after now."""
        self._db.execute(
            "DELETE FROM sessions WHERE seen < ? OR began < ? OR seen > ?",
            (seen_before, began_before, now),
        )

    # --- codes

    def put_code(self, user: str, code_hash: str, expires: float) -> None:
        """Keep the code with which a user may choose a new password."""
        self._db.execute(
            "INSERT OR REPLACE INTO setup_codes VALUES (?, ?, ?)", (user, code_hash, expires)
        )

    def code(self, user: str, now: float) -> str | None:
        """Hash of a user's code that has not ended."""
        rows = self._db.execute(
            "SELECT code_hash FROM setup_codes WHERE user = ? AND expires > ?", (user, now)
        )
        return next((str(row[0]) for row in rows), None)

    def has_code(self, now: float) -> bool:
        """Whether any user has a code that has not ended."""
        rows = self._db.execute("SELECT 1 FROM setup_codes WHERE expires > ? LIMIT 1", (now,))
        return next(rows, None) is not None

    def delete_code(self, user: str) -> None:
        """Remove a user's code."""
        self._db.execute("DELETE FROM setup_codes WHERE user = ?", (user,))


def _user(row: tuple[str, str, str, int, int | None]) -> User:
    name, role, password, disabled, last_sign_in = row
    return User(name, Role(role), password, bool(disabled), last_sign_in)
