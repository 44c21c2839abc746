"""The account key of an SN: made once, kept in a file that only its owner may read; what it signs.

Not ``eth_account``: importing it is a seventh of what a start costs, for key files not used here.
"""

import logging
import secrets
from pathlib import Path

import rlp
from eth_keys.datatypes import PrivateKey
from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from services.common.errors import ConfigError
from services.common.whole_file import write_whole

log = logging.getLogger("swarm.chain")

KEY_BYTES = 32


class SwarmAccount:
    """An Ethereum account whose key is here.

    Args:
        key: 32 bytes.

    Raises:
        ValueError: that is no key.
    """

    def __init__(self, key: bytes) -> None:
        try:
            self.key = PrivateKey(key)
            self.address: ChecksumAddress = self.key.public_key.to_checksum_address()
        except ValidationError as exc:
            raise ValueError(str(exc)) from exc

    def signed(self, *, chain_id: int, nonce: int, gas: int, to: str | None, data: bytes) -> bytes:
        """A signed transaction that moves nothing and pays nothing (EIP-155).

        Args:
            chain_id: for which alone it counts.
            nonce: its number.
            gas: allowed to it.
            to: contract to call, ``0x`` hex; None: ``data`` deploys one.
            data: call or creation.
        """
        target = b"" if to is None else bytes.fromhex(to.removeprefix("0x"))
        fields = [nonce, 0, gas, target, 0, data]
        signature = self.key.sign_msg_hash(keccak(rlp.encode([*fields, chain_id, 0, 0])))
        v = 2 * chain_id + 35 + signature.v
        raw: bytes = rlp.encode([*fields, v, signature.r, signature.s])
        return raw


def account_of(path: Path, *, may_make: bool) -> SwarmAccount:
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
        return SwarmAccount(_from_hex(path.read_text(encoding="ascii")))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot use the account key {path}: {exc}") from exc


def account_from(path: Path) -> SwarmAccount:
    """The account whose key an operator put into a file: 64 hex digits, with or without ``0x``.

    Raises:
        ConfigError: there is no such file, or it holds no key. The message never holds its text.
    """
    try:
        text = path.read_bytes().decode("ascii", "replace")
        mode = path.stat().st_mode
    except OSError as exc:
        raise ConfigError(f"cannot read SN_ETH_KEY_FILE {path}: {exc.strerror}") from exc
    if mode & 0o077:
        log.warning("SN_ETH_KEY_FILE %s can be read by others: chmod 600 it", path)
    try:
        return SwarmAccount(_from_hex(text))
    except Exception:  # noqa: BLE001 - whatever the library raises might hold the key
        raise ConfigError(
            f"SN_ETH_KEY_FILE {path} holds no account key: it must be 64 hex digits, with or "
            "without 0x, and nothing else"
        ) from None


def _from_hex(text: str) -> bytes:
    return bytes.fromhex(text.strip().removeprefix("0x"))
