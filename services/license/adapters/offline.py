"""What the offline commands do to the database of a license server, which may be running."""

from pathlib import Path

from services.common.errors import ConfigError, NotFoundError, ProtocolError
from services.common.license_api import Role
from services.license.adapters.clock_watch import HIGHEST
from services.license.adapters.setup_code import code_hash, random_code
from services.license.adapters.store import DATABASE, Store
from services.license.core import users as law
from services.license.core.users import User

BY = "offline command"
CODE_S = 24 * 3600.0
"""How long a code for a new password is good."""


def existing_store(folder: Path) -> Store:
    """The database in a data folder.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    if not (folder / DATABASE).is_file():
        raise ConfigError(
            f"there is no {DATABASE} in {folder}: name the license server's data folder with "
            "--data or LICENSE_DATA_DIR (in its container: run this command there)"
        )
    return Store(folder / DATABASE)


def add_user(store: Store, name: str, role: Role, now: float) -> str:
    """Add a user who chooses the password by a code.

    Returns:
        The code.

    Raises:
        ConfigError: the name is not good.
        ProtocolError: ``user-exists``.
    """
    law.require_name(name)
    with store.transaction():
        if store.users.get(name) is not None:
            raise ProtocolError(f"there is a user {name} already: reset-password", "user-exists")
        store.users.put(User(name, role, ""))
        store.book.record(now, "user-added", common_name=BY, note=f"{name}, {role}")
        return _code(store, name, now)


def reset_password(store: Store, name: str, now: float) -> str:
    """End a user's password and sessions, and give a code to choose the next one.

    Returns:
        The code.

    Raises:
        NotFoundError: no such user.
    """
    with store.transaction():
        user = store.users.get(name)
        if user is None:
            raise NotFoundError(f"there is no user {name}: `list` names them, `add` makes one")
        store.users.put(User(user.name, user.role, "", user.disabled, user.last_sign_in))
        store.users.end_sessions(name)
        store.book.record(now, "password-reset", common_name=BY, note=user.name)
        return _code(store, user.name, now)


def highest_time(store: Store) -> float:
    """The highest time that the server saw (Unix seconds); 0 where it saw none."""
    with store.transaction():
        return float(store.remembered(HIGHEST) or store.book.latest_time())


def forget_highest(store: Store, now: float) -> None:
    """Judge licenses by the clock as it is now."""
    with store.transaction():
        before = float(store.remembered(HIGHEST) or 0)
        store.remember(HIGHEST, repr(now))
        store.book.record(now, "clock-repaired", common_name=BY, note=f"was {before:.0f}")


def _code(store: Store, name: str, now: float) -> str:
    code = random_code()
    store.users.put_code(name, code_hash(code), now + CODE_S)
    return code
