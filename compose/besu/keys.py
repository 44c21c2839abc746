"""Secp256k1 keys of validators and SN accounts, and the names that follow from them. Pure."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from services.common.errors import ConfigError

Entropy = Callable[[int], bytes]
"""Gives that many bytes; ``secrets.token_bytes`` everywhere but in tests."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """A private key. It is never logged or printed."""

    _secret: PrivateKey

    def __repr__(self) -> str:
        return f"Key({self.address})"

    @classmethod
    def make(cls, entropy: Entropy = secrets.token_bytes) -> "Key":
        """A new key. Raises ConfigError for bytes that are no key (chance: none)."""
        try:
            key = cls(PrivateKey(entropy(KEY_BYTES)))
            key.account  # noqa: B018 - zero, and numbers beyond the curve's order, fail only here
        except (ValidationError, ValueError) as exc:
            raise ConfigError("these bytes are no secp256k1 key") from exc
        return key

    @property
    def account(self) -> bytes:
        """Its account, 20 bytes."""
        return self._secret.public_key.to_canonical_address()

    @property
    def address(self) -> str:
        """The account as lower-case hex with ``0x``."""
        return f"0x{self.account.hex()}"

    @property
    def node_id(self) -> str:
        """The public key as an enode URL names it: 128 hex digits."""
        return self._secret.public_key.to_bytes().hex()

    def text(self) -> str:
        """Content of a key file, as Besu and our SN read it: one line of hex."""
        return f"0x{self._secret.to_bytes().hex()}\n"

    def enode(self, host: str, port: int) -> str:
        """The URL under which other Besu nodes reach the node that has this key."""
        return f"enode://{self.node_id}@{host}:{port}"
