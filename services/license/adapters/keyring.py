"""The server's own key (its id is that key's) and the issuers that it trusts."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from services.common.errors import ConfigError
from services.common.whole_file import write_whole
from services.license.core.license_file import License, key_id, verify

KEY_FILE = "server-key.pem"
ISSUERS = "issuers"
"""Folder of trusted issuers' Ed25519 public keys (``*.pem``), next to the server's key."""


class Keyring:
    """Keys of a license server.

    Args:
        folder: data folder; the key is made in it (mode 0600) at the first start.

    Raises:
        ConfigError: the key cannot be read or made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.key = _own_key(folder / KEY_FILE)
        self.server_id = key_id(self.key.public_key())
        (folder / ISSUERS).mkdir(exist_ok=True)

    def trusted(self) -> tuple[dict[str, Ed25519PublicKey], list[str]]:
        """Keys that may sign licenses, by key id, and what is wrong with files that hold none.

        The folder is read anew each time. A file that is no key costs only its own licenses.
        """
        keys, wrong = [self.key.public_key()], []
        for path in sorted((self._folder / ISSUERS).glob("*.pem")):
            try:
                keys.append(_public_key(path))
            except ConfigError as exc:
                wrong.append(str(exc))
        return {key_id(key): key for key in keys}, wrong

    def verify(self, text: str) -> License:
        """Check a license document, see :func:`services.license.core.license_file.verify`.

        Raises:
            ConfigError: it is not good.
        """
        keys, wrong = self.trusted()
        try:
            return verify(text, keys, self.server_id)
        except ConfigError as exc:
            if exc.code == "unknown-issuer" and wrong:
                raise ConfigError(f"{exc}. By the way: {'; '.join(wrong)}", exc.code) from exc
            raise


def _own_key(path: Path) -> Ed25519PrivateKey:
    try:
        if path.exists():
            return read_key(path)
        return make_key(path)
    except (OSError, ConfigError) as exc:
        raise ConfigError(
            f"cannot use the server key {path}: {exc}. Restore it from a backup; without it the "
            "server gets a new id and licenses locked to the old one end"
        ) from exc


def read_key(path: Path) -> Ed25519PrivateKey:
    """A private key from a file.

    Raises:
        ConfigError: it is not a readable Ed25519 key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as exc:
        raise ConfigError(f"{path} is not a readable PEM key: {exc}") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key")
    return key


def make_key(path: Path) -> Ed25519PrivateKey:
    """Make a key (mode 0600); it appears under its name only once it is whole.

    Raises:
        OSError: the file cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_whole(path, pem)
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "the one to copy is called NAME.pub.pem"
        raise ConfigError(f"{path} is not a readable PEM public key ({why})") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is not an Ed25519 public key")
    return key
