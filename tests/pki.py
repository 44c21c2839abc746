"""Certificates for tests, made at run time; nothing with a key in it is ever committed.

``Pki(tmp_path).identity(NodeKind.SL, "2")`` is a checked identity; ``.files(...)`` are the
``SWARM_ID_*`` variables for a process. Two ``Pki`` in two folders are two CAs that do not trust
each other. Bad certificates of every kind come from the options.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from compose.authority import BACKDATED, Authority
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.tls import Identity, load_identity


def _authority(name: str) -> Authority:
    now = datetime.now(UTC)
    return Authority.make(name, now - timedelta(days=7), now + timedelta(days=7), use_rsa=False)


class Pki:
    """One CA and the certificates that it signed.

    Args:
        folder: where the files go (``folder/certs``).
        ca: name of the CA.
    """

    def __init__(self, folder: Path, ca: str = "CA-1") -> None:
        self.folder = folder / "certs"
        self.capath = self.folder / "ca" / "capath"
        self.capath.mkdir(parents=True, exist_ok=True)
        self.ca_cert = self.capath / f"{ca.lower()}-cert.pem"
        self._authority = _authority(ca)
        self.ca_cert.write_bytes(self._authority.issued.cert_pem())
        self._made: dict[tuple[str, str], tuple[Path, Path]] = {}

    def identity(self, role: NodeKind, name: str = "1") -> Identity:
        """A good identity, checked as a node checks it; the same files for the same arguments."""
        key, cert = self._pair(role, name)
        return load_identity(
            NodeSettings(
                swarm_id_key=key, swarm_id_cert=cert, swarm_id_capath=self.capath,
                swarm_id_cacert=None,
            ),
            role,
        )  # fmt: skip

    def files(self, role: NodeKind, name: str = "1") -> dict[str, str]:
        """Environment of a process of ``role``; the same files as :meth:`identity`."""
        key, cert = self._pair(role, name)
        return self._environment(key, cert)

    def bad_identity(
        self,
        role: NodeKind,
        *,
        expired: bool = False,
        not_yet_valid: bool = False,
        common_name: str = "",
        wrong_ca: bool = False,
    ) -> Identity:
        """An identity that others must refuse, made without any check of our own.

        Args:
            role: what the certificate says it is.
            expired: it ended an hour ago.
            not_yet_valid: it begins in an hour.
            common_name: its whole CN, where the role is to be missing or odd.
            wrong_ca: signed by a CA that nobody trusts (it trusts ours, as an attacker would).
        """
        files = self.bad_files(
            role, expired=expired, not_yet_valid=not_yet_valid, common_name=common_name,
            wrong_ca=wrong_ca,
        )  # fmt: skip
        key, cert = Path(files["SWARM_ID_KEY"]), Path(files["SWARM_ID_CERT"])
        good = self.identity(NodeKind.SL, "pki")
        leaf = load_pem_x509_certificate(cert.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
        return Identity(replace(good.material, where=str(cert), key=private, chain=(leaf,)))

    def bad_files(
        self,
        role: NodeKind,
        *,
        expired: bool = False,
        not_yet_valid: bool = False,
        common_name: str = "",
        wrong_ca: bool = False,
    ) -> dict[str, str]:
        """As :meth:`bad_identity`, as environment of a process."""
        now = datetime.now(UTC)
        start, end = now - timedelta(days=2), now + timedelta(days=2)
        if expired:
            end = now - timedelta(hours=1)
        if not_yet_valid:
            start = now + timedelta(hours=1)
        authority = _authority("CA-1") if wrong_ca else self._authority
        words = [w for w, on in (("expired", expired), ("early", not_yet_valid)) if on]
        name = "-".join([role.lower(), "bad", *words, *(["wrongca"] if wrong_ca else [])])
        if common_name:
            name += f"-{common_name.lower()}"
        key, cert = self.folder / f"{name}-key.pem", self.folder / f"{name}-cert.pem"
        authority.issue(common_name or f"{role}-1", start, end).write(key, cert)
        return self._environment(key, cert)

    def _pair(self, role: NodeKind, name: str) -> tuple[Path, Path]:
        found = self._made.get((role, name))
        if found is None:
            stem = f"{role.lower()}-{name}"
            found = self.folder / f"{stem}-key.pem", self.folder / f"{stem}-cert.pem"
            now = datetime.now(UTC)
            issued = self._authority.issue(
                f"{role}-{name}", now - BACKDATED, now + timedelta(days=2)
            )
            issued.write(*found)
            self._made[(role, name)] = found
        return found

    def _environment(self, key: Path, cert: Path) -> dict[str, str]:
        return {
            "SWARM_ID_KEY": str(key),
            "SWARM_ID_CERT": str(cert),
            "SWARM_ID_CAPATH": str(self.capath),
        }
