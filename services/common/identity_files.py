"""An identity in files (``SWARM_ID_*``): read whole, and read again once they change.

Files may be replaced one after the other, written in place, or switched by a symbolic link as
Kubernetes does; whoever asks gets what fits together, or is told what does not.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.common.certificate import ODD
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.material import Material, signed
from services.common.settings import NodeSettings

log = logging.getLogger("swarm.tls")

MOST_FILES = 256
"""Files of a CA folder that are read."""
LARGEST = 1 << 20
"""Bytes of one of them."""

Stamp = tuple[tuple[str, int, int, int], ...]
"""What tells files from their successors: name, inode, size and time of the last change."""


@dataclass(slots=True)
class Trusted:
    """CA certificates and their revocation lists."""

    cas: list[x509.Certificate] = field(default_factory=list)
    crls: list[x509.CertificateRevocationList] = field(default_factory=list)

    def add(self, content: bytes) -> bool:
        """Take what is in a file, PEM (several, in any order) or DER; whether there was something.

        Raises:
            ValueError: a part of it is damaged.
        """
        if b"-----BEGIN" not in content:
            return self._add_der(content)
        before = len(self.cas) + len(self.crls)
        if b"-----BEGIN CERTIFICATE-----" in content:
            self.cas += x509.load_pem_x509_certificates(content)
        for part in content.split(b"-----BEGIN X509 CRL-----")[1:]:
            body = part.split(b"-----END X509 CRL-----")[0]
            pem = b"-----BEGIN X509 CRL-----" + body + b"-----END X509 CRL-----\n"
            self.crls.append(x509.load_pem_x509_crl(pem))
        return len(self.cas) + len(self.crls) > before

    def _add_der(self, content: bytes) -> bool:
        try:
            self.cas.append(x509.load_der_x509_certificate(content))
        except ValueError:
            self.crls.append(x509.load_der_x509_crl(content))
        return True


class FileSource:
    """The identity files of a node.

    Args:
        settings: names the files.
        role: what the node is; the certificate must say the same.
    """

    def __init__(self, settings: NodeSettings, role: NodeKind) -> None:
        self._settings, self._role = settings, role
        self._loaded: Stamp = ()
        self._said: set[str] = set()

    def load(self, now: datetime | None = None) -> Material:
        """Read and check all of it.

        Raises:
            ConfigError: a file is missing or unreadable, or what :meth:`Material.check` says.
        """
        self._loaded = self._stamp()
        settings = self._settings
        key = _file("SWARM_ID_KEY", settings.swarm_id_key)
        cert = _file("SWARM_ID_CERT", settings.swarm_id_cert)
        trusted = self._trusted()
        material = read_material(key, cert, trusted)
        material.check(self._role, now)
        self._look_at(trusted)
        return material

    def changed(self) -> Material | None:
        """The new identity, if the files changed since they were loaded; raises as :meth:`load`."""
        if self._stamp() == self._loaded:
            return None
        before = self._loaded
        try:
            fresh = self.load()
        except BaseException:
            self._loaded = before
            raise
        if self._stamp() != self._loaded:  # being replaced just now: perhaps half of it
            self._loaded = before
            return None
        return fresh

    def close(self) -> None:
        """Nothing is open."""

    def _stamp(self) -> Stamp:
        settings = self._settings
        paths = [settings.swarm_id_key, settings.swarm_id_cert, settings.swarm_id_cacert]
        folder = settings.swarm_id_capath
        found = [path for path in paths if path is not None]
        if folder is not None:
            found += [folder, *_entries(folder)]
        return tuple(_stat(path) for path in found)

    def _trusted(self) -> Trusted:
        file, folder = self._settings.swarm_id_cacert, self._settings.swarm_id_capath
        trusted = Trusted()
        if file is not None:
            _add_file(trusted, _file("SWARM_ID_CACERT", file))
        if folder is not None:
            if not folder.is_dir():
                raise ConfigError(f"SWARM_ID_CAPATH={folder}: no such folder")
            self._add_folder(trusted, folder)
        if not trusted.cas:
            raise ConfigError(
                "no CA to trust: set SWARM_ID_CACERT (a file) or SWARM_ID_CAPATH (a folder with "
                "certificate files), or both"
            )
        return trusted

    def _add_folder(self, trusted: Trusted, folder: Path) -> None:
        """Every file of a folder; what is none of ours is passed over with a word."""
        entries = _entries(folder)
        if len(entries) > MOST_FILES:
            self._say(f"{folder} has more than {MOST_FILES} files: the others are not read")
        for path in entries[:MOST_FILES]:
            one = Trusted()
            try:
                if path.stat().st_size > LARGEST:
                    self._say(f"{path} is larger than {LARGEST} bytes: not read as a CA")
                    continue
                if not one.add(path.read_bytes()):
                    self._say(f"{path} holds no certificate and no CRL: not used")
            except (ValueError, OSError) as exc:
                self._say(f"{path} is no readable certificate or CRL: not used ({exc})")
                continue
            self._take(trusted, one, path)

    def _take(self, trusted: Trusted, one: Trusted, path: Path) -> None:
        trusted.crls += one.crls
        for each in one.cas:
            if _may_sign(each):
                trusted.cas.append(each)
            else:
                self._say(f"{path} holds a certificate that is no CA's: not trusted")

    def _look_at(self, trusted: Trusted) -> None:
        """Say what is odd about CAs and CRLs, though it can be used."""
        now = datetime.now(UTC)
        for ca in trusted.cas:
            if now > ca.not_valid_after_utc:
                name = ca.subject.rfc4514_string()
                self._say(f"the CA {name} expired on {ca.not_valid_after_utc:%Y-%m-%d}: remove it")
        for crl in trusted.crls:
            name = crl.issuer.rfc4514_string()
            if not any(signed(crl, ca) for ca in trusted.cas):
                self._say(f"the CRL of {name} is signed by no CA that we trust: not used")
            elif crl.next_update_utc is not None and now > crl.next_update_utc:
                self._say(f"the CRL of {name} should have been replaced by {crl.next_update_utc}")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)


def read_material(key: Path, cert: Path, trusted: Trusted) -> Material:
    """What is in the files of a key and of a certificate (and its intermediate CAs), unchecked.

    Raises:
        ConfigError: one of them is unreadable, or they do not match.
    """
    chain = _chain(cert)
    private = _key(key)
    if private.public_key() != chain[0].public_key():
        raise ConfigError(f"{key} is not the key of {cert}")
    return Material(str(cert), private, chain, tuple(trusted.cas), tuple(trusted.crls))


def trusting(paths: Iterable[Path]) -> Trusted:
    """What these files hold.

    Raises:
        ConfigError: one of them is unreadable.
    """
    trusted = Trusted()
    for path in paths:
        _add_file(trusted, path)
    return trusted


def _add_file(trusted: Trusted, path: Path) -> None:
    try:
        if path.stat().st_size <= LARGEST and trusted.add(path.read_bytes()):
            return
    except (ValueError, OSError) as exc:
        raise ConfigError(f"cannot use {path} as a file of CA certificates: {exc}") from exc
    raise ConfigError(f"cannot use {path} as a file of CA certificates: there are none in it")


def _file(variable: str, path: Path | None) -> Path:
    if path is None:
        raise ConfigError(
            f"{variable} is not set: name a PEM file (compose.certs makes them), or set "
            "SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH instead of all SWARM_ID_* variables"
        )
    if not path.is_file():
        raise ConfigError(f"{variable}={path}: no such file")
    return path


def _chain(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (ValueError, OSError) as exc:
        raise ConfigError(f"{path} is not a readable PEM certificate: {exc}") from exc


def _key(path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except TypeError as exc:
        raise ConfigError(
            f"{path} is not a readable unencrypted PEM key: it is encrypted, and a node starts "
            "without a person who could type the password. Decrypt it: openssl pkey -in ... -out"
        ) from exc
    except (ValueError, OSError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"{path} is not a readable unencrypted PEM key: {exc}") from exc


def _entries(folder: Path) -> list[Path]:
    """The files of a folder; not hidden ones, e.g. the folder behind Kubernetes' ``..data``."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())
    except OSError:
        return []


def _stat(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    if path.is_dir():
        return str(path), found.st_ino, 0, 0
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether it is a CA's; one of version 1 does not say."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.issuer == certificate.subject
    except (ValueError, *ODD):
        return False
