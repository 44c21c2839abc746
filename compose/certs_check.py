"""What is right and wrong with certificate files that a user brought.

The last word is OpenSSL's: each certificate shakes hands with itself, as server and as client, in
memory, with the very contexts that a node uses. The checks before that only find better words.
"""

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.common.errors import ConfigError
from services.common.identity_files import read_material, trusting
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.tls import Identity, expiry_notice, load_identity, read_certificate

NODE_FILE = re.compile(rf"(?P<node>(?P<kind>{'|'.join(NodeKind).lower()})-\d+)-cert\.pem")
"""How gen-cert's layout names a node's certificate."""
SUFFIXES = (".pem", ".crt", ".cer", ".key")
_HANDSHAKE_STEPS = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one file."""

    path: Path
    summary: str
    problems: tuple[str, ...] = ()
    """Each makes the file unusable."""
    warnings: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a node can start with it."""
        return not self.problems

    def __str__(self) -> str:
        word = "BAD " if self.problems else "WARN" if self.warnings else "OK  "
        return f"{word} {self.path}: " + "; ".join([self.summary, *self.problems, *self.warnings])


@dataclass(slots=True)
class _Files:
    cas: dict[Path, x509.Certificate] = field(default_factory=dict)
    leaves: dict[Path, x509.Certificate] = field(default_factory=dict)
    keys: dict[Path, PrivateKeyTypes] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)


def load(folder: Path, name: str, role: NodeKind) -> Identity:
    """The identity ``{name}-{key,cert}.pem`` in gen-cert's layout.

    Raises:
        ConfigError: it cannot be used, or is of another role.
    """
    settings = NodeSettings.model_construct(
        swarm_id_key=folder / f"{name}-key.pem", swarm_id_cert=folder / f"{name}-cert.pem",
        swarm_id_capath=folder / "ca" / "capath", swarm_id_cacert=None,
    )  # fmt: skip
    return load_identity(settings, role)


def check_node(folder: Path, name: str, role: NodeKind) -> None:
    """Check that a node can start with ``{name}-{key,cert}.pem`` and is trusted by the others.

    Raises:
        ConfigError: it cannot; the message says why.
    """
    identity = load(folder, name, role)
    problems = handshake_problems(identity)
    if problems:
        raise ConfigError(f"{identity.cert}: {'; '.join(problems)}")


def check_folder(folder: Path, now: datetime) -> list[Finding]:
    """Judge every certificate and key below ``folder``.

    Raises:
        ConfigError: there is no such folder, or no certificate in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    files = _read(path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES)
    if not files.leaves and not files.unreadable:
        raise ConfigError(f"no node certificate in {folder} (looked at *{', *'.join(SUFFIXES)})")
    found = [Finding(path, "unreadable", (why,)) for path, why in files.unreadable.items()]
    found += [_check_ca(path, ca, now) for path, ca in files.cas.items()]
    found += [_check_leaf(path, leaf, files, now) for path, leaf in files.leaves.items()]
    found += [_check_key(path) for path in files.keys]
    return sorted(found, key=lambda finding: finding.path)


def _read(paths: Iterable[Path]) -> _Files:
    files = _Files()
    for path in paths:
        try:
            content = path.read_bytes()
            if b"PRIVATE KEY-----" in content:
                files.keys[path] = load_pem_private_key(content, password=None)
            if b"BEGIN CERTIFICATE-----" in content:
                first = x509.load_pem_x509_certificate(content)
                (files.cas if _is_ca(first) else files.leaves)[path] = first
            elif path not in files.keys:
                files.unreadable[path] = "neither a PEM certificate nor a PEM private key"
        except TypeError:
            files.unreadable[path] = "the key is encrypted; a node needs it without a passphrase"
        except (ValueError, OSError) as exc:
            files.unreadable[path] = str(exc)
    return files


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _validity(certificate: x509.Certificate, now: datetime) -> list[str]:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return [f"expired on {end:%Y-%m-%d %H:%M} UTC: renew it"]
    if now < start:
        return [f"not valid before {start:%Y-%m-%d %H:%M} UTC: is this clock right?"]
    return []


def _check_ca(path: Path, ca: x509.Certificate, now: datetime) -> Finding:
    summary = f"CA {ca.subject.rfc4514_string()}, until {ca.not_valid_after_utc:%Y-%m-%d}"
    return Finding(path, summary, tuple(_validity(ca, now)))


def _check_key(path: Path) -> Finding:
    mode = path.stat().st_mode & 0o777
    open_to_others = [f"mode {mode:o} lets others read the key: chmod 600"] if mode & 0o077 else []
    return Finding(path, "private key", (), tuple(open_to_others))


def _check_leaf(path: Path, leaf: x509.Certificate, files: _Files, now: datetime) -> Finding:
    peer = read_certificate(leaf.public_bytes(Encoding.DER))
    problems = _validity(leaf, now)
    if peer.role is None:
        problems.append(
            f"no role: the CN ({peer.common_name!r}) must start with SN-, SL-, SWCI-, SWOP- or "
            "LIC-, or the OU be one of these words"
        )
    problems.extend(_usage_problems(leaf))
    problems.extend(_name_problems(path, peer.role, leaf, files))
    public = leaf.public_key()
    key = next((p for p, private in files.keys.items() if private.public_key() == public), None)
    warnings: list[str] = []
    if key is None:
        problems.append("its private key is not in this folder")
    elif not files.cas:
        problems.append("no CA certificate in this folder, so that nobody can check it")
    else:
        identity = Identity(read_material(key, path, trusting(files.cas)))
        if not problems:
            problems.extend(handshake_problems(identity))
        warnings.extend(filter(None, [expiry_notice(identity, now)]) if not problems else [])
    summary = f"role {peer.role or 'none'}, CN {peer.common_name}, until {peer.not_after:%Y-%m-%d}"
    return Finding(path, summary, tuple(problems), tuple(warnings))


def _name_problems(
    path: Path, role: NodeKind | None, leaf: x509.Certificate, files: _Files
) -> list[str]:
    """What is wrong with ``{kind}-{n}-cert.pem``, whose name says its role and names its key."""
    named = NODE_FILE.fullmatch(path.name)
    if named is None:
        return []
    problems: list[str] = []
    kind, key = named["kind"].upper(), path.with_name(f"{named['node']}-key.pem")
    if role is not None and role != kind:
        problems.append(f"its role is {role}, but its file name says {kind}")
    private = files.keys.get(key)
    if private is None:
        problems.append(f"its key must be {key.name}, next to it")
    elif private.public_key() != leaf.public_key():
        problems.append(f"{key.name} is not its key")
    return problems


def _usage_problems(leaf: x509.Certificate) -> list[str]:
    problems: list[str] = []
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.digital_signature:
            problems.append("keyUsage lacks digitalSignature, which TLS needs")
    except x509.ExtensionNotFound:
        pass
    try:
        purposes = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return problems
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    if not both <= purposes:
        problems.append("extendedKeyUsage must hold serverAuth and clientAuth: a node is both")
    return problems


def handshake_problems(identity: Identity) -> list[str]:
    """What TLS says when the certificate is both ends of a connection, in memory."""
    try:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = identity.server_context().wrap_bio(to_server, to_client, server_side=True)
        client = identity.client_context().wrap_bio(to_client, to_server, server_side=False)
        for _ in range(_HANDSHAKE_STEPS):
            done = [_step(side) for side in (client, server)]
            if all(done):
                return []
    except ConfigError as exc:
        return [str(exc)]
    except ssl.SSLCertVerificationError as exc:
        return [f"not trusted: {exc.verify_message}. Put its CA's certificate into this folder"]
    except ssl.SSLError as exc:
        return [f"TLS refuses it: {exc.reason or exc}"]
    return ["TLS handshake does not end"]


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
