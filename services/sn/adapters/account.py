"""The account key of an SN: made once, kept in a file that only its owner may read."""

import logging
import secrets
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from services.common.errors import ConfigError
from services.common.whole_file import write_whole

log = logging.getLogger("swarm.chain")

KEY_BYTES = 32


def account_of(path: Path, *, may_make: bool) -> LocalAccount:
    """The account whose key is in the data folder.

    Args:
        path: of the key file.
        may_make: whether to make a key where there is no file.

    Raises:
        ConfigError: the key is missing, or the file cannot be used.
    """
    try:
        if not path.exists():
            if not may_make:
                raise ConfigError(
                    f"{path} is missing beside the chain that it signs for: restore it, or empty "
                    "the folder to join the other SNs anew"
                )
            write_whole(path, f"0x{secrets.token_hex(KEY_BYTES)}\n".encode())
        account: LocalAccount = Account.from_key(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot use the account key {path}: {exc}") from exc
    return account


def account_from(path: Path) -> LocalAccount:
    """The account whose key an operator put into a file: 64 hex digits, with or without ``0x``.

    Raises:
        ConfigError: there is no such file, or it holds no key. The message never holds its text.
    """
    try:
        text = path.read_bytes().decode("ascii", "replace").strip()
        mode = path.stat().st_mode
    except OSError as exc:
        raise ConfigError(f"cannot read SN_ETH_KEY_FILE {path}: {exc.strerror}") from exc
    if mode & 0o077:
        log.warning("SN_ETH_KEY_FILE %s can be read by others: chmod 600 it", path)
    try:
        account: LocalAccount = Account.from_key(bytes.fromhex(text.removeprefix("0x")))
    except Exception:  # noqa: BLE001 - whatever the library raises might hold the key
        raise ConfigError(
            f"SN_ETH_KEY_FILE {path} holds no account key: it must be 64 hex digits, with or "
            "without 0x, and nothing else"
        ) from None
    return account
