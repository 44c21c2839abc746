"""A host for the contract's tests: images under HPE's names, a network, gen-cert's certificates."""

import os
import subprocess
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from compose.images.catalogue import PREFIX, VERSION, full_name
from tests.containers.conftest import grace
from tests.containers.hpe_scripts import COMPONENTS, Scripts, Started, docker

TAG = os.environ.get("SWARM_TAG") or VERSION
HPE_TAG = "2.3.0"
NEEDED = ("license", *COMPONENTS)
PATIENCE = 600.0
"""Seconds for anything on a loaded machine."""


def gen_cert(
    folder: Path, index: int = 1, days: float = 30, kinds: str = "sn sl swci swop"
) -> None:
    """Certificates with the layout and the properties of gen-cert's (``compat/02`` section 6)."""
    capath = folder / "ca" / "capath"
    capath.mkdir(parents=True, exist_ok=True)
    authority_key = rsa.generate_private_key(65537, 2048)
    authority = _certificate(f"CA-{index}", authority_key, authority_key, f"CA-{index}", 30, True)
    _write(folder / "ca" / f"ca-{index}-key.pem", _pem(authority_key))
    _write(capath / f"ca-{index}-cert.pem", authority.public_bytes(Encoding.PEM), 0o644)
    for kind in kinds.split():
        key = rsa.generate_private_key(65537, 2048)
        leaf = _certificate(
            f"{kind.upper()}-{index}", key, authority_key, f"CA-{index}", days, False
        )
        _write(folder / f"{kind}-{index}-key.pem", _pem(key))
        _write(folder / f"{kind}-{index}-cert.pem", leaf.public_bytes(Encoding.PEM), 0o644)


def _certificate(
    name: str, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey, issuer: str, days: float, ca: bool
) -> x509.Certificate:
    now = datetime.now(UTC)

    def subject(common_name: str) -> x509.Name:
        unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Swarm-Learning")
        return x509.Name([unit, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])

    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, content_commitment=False, crl_sign=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(usage, critical=False)
        .sign(signer, hashes.SHA256())
    )


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def _retag(image: str, name: str, mark: str) -> None:
    """Give an image another name, and an id of its own.

    The scripts find containers by their image; by the id of one with two names they would find
    those of other swarms of this machine, too.
    """
    subprocess.run(
        ["docker", "buildx", "build", "--quiet", "--load", "--tag", name, "-"], check=True,
        input=f"FROM {image}\nLABEL swarm.test={mark}\n".encode(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


class Host:
    """Everything on it has names of its own.

    Args:
        folder: for certificates and user folders.
    """

    def __init__(self, folder: Path) -> None:
        self.mark = f"swarmtest-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.hub = f"{self.mark}/hpe/swarm-learning"
        self.scripts = Scripts(self.hub, HPE_TAG)
        self.license_image = f"{self.mark}/license:{TAG}"
        for component in COMPONENTS:
            _retag(full_name(component, PREFIX, TAG), self.scripts.image(component), self.mark)
        docker("tag", full_name("license", PREFIX, TAG), self.license_image)
        docker("network", "create", self.mark)
        self.certs = folder / "cert"
        gen_cert(self.certs, kinds="sn sl swci swop lic")
        self.at_terminal = Scripts(self.hub, HPE_TAG, tty=True)

    def name(self, short: str) -> str:
        """A container's name, which is its host name, too."""
        return f"{self.mark}-{short}"

    def identity(self, kind: str, certs: Path | None = None) -> list[str]:
        """The scripts' identity options."""
        folder = certs or self.certs
        return [
            "--key", str(folder / f"{kind}-1-key.pem"),
            "--cert", str(folder / f"{kind}-1-cert.pem"),
            "--capath", str(folder / "ca" / "capath"),
        ]  # fmt: skip

    def common(self, kind: str, short: str, certs: Path | None = None) -> list[str]:
        """Name, network, identity and license server."""
        return [
            "--name", self.name(short), "--network", self.mark, *self.identity(kind, certs),
            "--apls-ip", self.name("license"),
        ]  # fmt: skip

    def start_license(self) -> None:
        """The license server, which no script of version 2 starts."""
        docker(
            "run", "--detach", "--name", self.name("license"), "--network", self.mark,
            *self.plain("lic"), self.license_image,
        )  # fmt: skip
        self.until_line(self.name("license"), "License server ready on port: 5814")

    def start_sn(self, short: str = "sn1", *words: str) -> Started:
        """A sentinel by the script, up to its ready line."""
        sn = self.scripts.run_sn(
            *self.common("sn", short), "--host-ip", self.name(short), "--sentinel", *words
        )
        self.until_line(sn.id, "swarm.blCnt : INFO : Starting SWARM-API-SERVER on port: ")
        return sn

    def swci(self, *commands: str) -> str:
        """Output of a SWCI that executes commands on sn1."""
        words: list[str] = []
        context = f"CREATE CONTEXT t WITH IP {self.name('sn1')}"
        for command in (context, "SWITCH CONTEXT t", *commands):
            words += ["-c", command]
        return docker(
            "run", "--rm", "--network", self.mark, *self.plain("swci"),
            self.scripts.image("swci"), *words,
        )  # fmt: skip

    def plain(self, kind: str) -> list[str]:
        """Identity for `docker run`, without a script."""
        files = {"KEY": f"{kind}-1-key.pem", "CERT": f"{kind}-1-cert.pem", "CAPATH": "ca/capath"}
        words = ["--volume", f"{self.certs}:{self.certs}:ro"]
        for name, file in files.items():
            words += ["--env", f"SWARM_ID_{name}={self.certs / file}"]
        return words

    # --- looking

    def logs(self, container: str) -> str:
        """Both streams, without the colours and line ends of a terminal."""
        return docker("logs", container).replace("\r", "")

    def until_line(self, container: str, words: str, patience: float = PATIENCE) -> str:
        """Wait for words in a log; the log."""
        return self.until(
            lambda: (text := self.logs(container)) and words in text and text,
            f"{words!r} in the log of {container}", patience, lambda: self.logs(container),
        )  # fmt: skip

    def until(
        self, what: Callable[[], object], why: str, patience: float = PATIENCE,
        told: Callable[[], str] = str,
    ) -> str:  # fmt: skip
        """Wait for something; what it was."""
        deadline = time.monotonic() + patience
        while not (found := what()):
            assert time.monotonic() < deadline, f"not in {patience:g} s: {why}\n{told()}"
            time.sleep(0.1)
        return str(found)

    def state(self, container: str, what: str) -> str:
        """A field of a container's state."""
        return docker("inspect", "--format", f"{{{{.State.{what}}}}}", container)

    def exit_code(self, container: str) -> int:
        """Wait for a container's end."""
        return int(docker("wait", container, timeout=PATIENCE))

    def stop(self, container: str) -> float:
        """`docker stop`, with more patience on a loaded machine; the seconds it took."""
        began = time.monotonic()
        docker("stop", "--time", "60", container)
        return time.monotonic() - began

    def stops_in_time(self, container: str) -> bool:
        """Whether it ends in the ten seconds that Docker gives it; a busy machine gets more."""
        return self.stop(container) < grace()

    def remove(self, *containers: str) -> None:
        """Remove containers with their anonymous volumes."""
        for each in containers:
            docker("rm", "--force", "--volumes", each, check=False)

    def clear(self) -> None:
        """Remove whatever is left."""
        mine = docker("ps", "-aq", "--filter", f"name={self.mark}").split()
        for component in COMPONENTS:
            ancestor = f"ancestor={self.scripts.image(component)}"
            mine += docker("ps", "-aq", "--filter", ancestor).split()
        self.remove(*dict.fromkeys(mine))
        docker("network", "rm", self.mark, check=False)
        built = f"{self.mark}-ml:latest"  # by a SWOP
        for image in (*map(self.scripts.image, COMPONENTS), self.license_image, built):
            docker("rmi", image, check=False)
        left = docker("volume", "ls", "-q", "--filter", f"name={self.mark}").split()
        for volume in left:
            docker("volume", "rm", volume, check=False)
