"""``python -m services.license.users``: users of a license server, for who locked himself out.

Works on the data folder, whether the server runs or not. Passwords are never typed here: a new one
is chosen on the server's page with the code that this prints.
"""

import argparse
import sys
import time
from pathlib import Path

from services.common.errors import SwarmError
from services.common.license_api import Role
from services.common.settings import load
from services.license.adapters.offline import add_user, existing_store, reset_password
from services.license.adapters.store import Store
from services.license.settings import LicenseSettings


def main(argv: list[str]) -> int:
    """Carry out one command; the exit code."""
    parser = argparse.ArgumentParser(prog="services.license.users", description=__doc__)
    parser.add_argument("--data", type=Path, help="data folder (default: LICENSE_DATA_DIR)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, roles, last sign-in")
    add = commands.add_parser("add", help="add a user, print a code to choose the password")
    add.add_argument("name")
    add.add_argument("--role", choices=list(Role), type=Role, default=Role.ADMINISTRATOR)
    reset = commands.add_parser("reset-password", help="print a code to choose a new password")
    reset.add_argument("name")
    given = parser.parse_args(argv)
    try:
        store = existing_store(given.data or load(LicenseSettings).license_data_dir)
        try:
            _carry_out(store, given)
        finally:
            store.close()
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _carry_out(store: Store, given: argparse.Namespace) -> None:
    now = time.time()
    if given.command == "list":
        _list(store)
        return
    if given.command == "add":
        code = add_user(store, given.name, given.role, now)
    else:
        code = reset_password(store, given.name, now)
    print(f"setup code for {given.name}: {code}")
    print("good for 24 hours, once: enter it with name and new password on the server's page")


def _list(store: Store) -> None:
    with store.transaction():
        users = store.users.all()
    for user in users:
        seen = "never"
        if user.last_sign_in is not None:
            seen = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(user.last_sign_in))
        state = ", disabled" if user.disabled else ""
        print(f"{user.name:24} {user.role:14} last sign-in {seen}{state}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
