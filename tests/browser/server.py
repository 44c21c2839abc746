"""A license server's process, people who sign in to it, and nodes that hold its leases."""

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from threading import Thread

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.license.core.license_file import License, LicensedFeature, key_id, sign
from tests.component.license.conftest import ISSUER, trust
from tests.pki import Pki

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"
"""Of every user here."""
USERS = {"anna": "administrator", "petra": "product-admin", "victor": "view-only"}


class LicenseServer:
    """A running license server as tests see it.

    Args:
        port: where it listens.
        folder: its data folder.
        pki: of the swarm.
    """

    def __init__(self, port: int, folder: Path, pki: Pki) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.folder, self.pki, self.port = folder, pki, port
        self._cookies: dict[str, tuple[str, str]] = {}

    def people(self) -> httpx.Client:
        """Calls without a certificate, as browsers make."""
        context = ssl.create_default_context(cafile=str(self.pki.ca_cert))
        context.check_hostname = False
        return httpx.Client(
            verify=context, base_url=f"{self.url}/api/v1", trust_env=False, timeout=60
        )

    def node(self, role=NodeKind.SL, name="1", identity=None) -> httpx.Client:
        """Calls by a node's certificate."""
        identity = identity or self.pki.identity(role, name)
        return httpx.Client(
            verify=identity.client_context(), base_url=f"{self.url}/api/v1", trust_env=False,
            timeout=60,
        )  # fmt: skip

    @property
    def setup_code(self) -> str:
        return (self.folder / "setup-code").read_text().strip()

    def set_up(self) -> None:
        """Make the first administrator and a user of each other role."""
        with self.people() as http:
            body = {"code": self.setup_code, "user": "anna", "password": PASSWORD}
            session = _good(http.post("/setup", json=body)).json()
            http.headers["X-CSRF-Token"] = session["csrf"]
            self._cookies["anna"] = next((c.name, c.value) for c in http.cookies.jar)
            for name, role in USERS.items():
                if name != "anna":
                    body = {"name": name, "role": role, "password": PASSWORD}
                    _good(http.post("/users", json=body))

    def add_user(self, name: str, role: str = "view-only") -> None:
        """A user of one test's own."""
        body = {"name": name, "role": role, "password": PASSWORD}
        with self.people() as http:
            http.auth = ("anna", PASSWORD)
            _good(http.post("/users", json=body))

    def cookie(self, user: str) -> tuple[str, str]:
        """Name and value of a session's cookie; one session for all tests that do not end it."""
        if user not in self._cookies:
            with self.people() as http:
                _good(http.post("/session", json={"user": user, "password": PASSWORD}))
                self._cookies[user] = next((c.name, c.value) for c in http.cookies.jar)
        return self._cookies[user]

    def install(self, text: str) -> None:
        """Install a license, as SWCI does."""
        with self.node(NodeKind.SWCI) as http:
            _good(http.post("/licenses", content=text))

    def acquire(self, uid: int, feature=Feature.SL, identity=None, role=NodeKind.SL, **client):
        """A lease that a node's certificate holds; its id."""
        told = {"uid": f"{uid:032x}", "host": f"host{uid}", "container": f"box{uid}",
                "component": str(role), **client}  # fmt: skip
        with self.node(role, identity=identity) as http:
            answer = http.post("/leases", json={"feature": feature, "client": told})
        return _good(answer).json()["lease_id"]

    def release(self, lease_id: str, role=NodeKind.SL) -> None:
        with self.node(role) as http:
            _good(http.delete(f"/leases/{lease_id}"))

    def server_id(self) -> str:
        with self.node() as http:
            return _good(http.get("/server")).json()["server_id"]

    def leases(self) -> list[dict]:
        with self.node() as http:
            return _good(http.get("/leases")).json()

    def features(self) -> dict[str, dict]:
        with self.node() as http:
            return {row["feature"]: row for row in _good(http.get("/features")).json()}


def _good(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.status_code} {answer.text}"
    return answer


@contextmanager
def running(folder: Path, pki: Pki, lease_s: float = 1800) -> Iterator[LicenseServer]:
    """A license server's process that trusts the tests' issuer."""
    folder.mkdir()
    trust(folder)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {
        **kept, "SWARM_BIND_IP": "127.0.0.1", "LICENSE_PORT": "0", "LICENSE_DATA_DIR": str(folder),
        "LICENSE_LEASE_S": str(lease_s), **pki.files(NodeKind.LICENSE),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "services.license"], env=environment, cwd=ROOT,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = _Log(process)
    try:
        yield LicenseServer(log.port(), folder, pki)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        log.close()
    assert code == 0, log.lines


class _Log(Thread):
    """Reads what a process writes, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen) -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self._ready: Queue[int] = Queue()
        self._stdout = process.stdout
        self.start()

    def run(self) -> None:
        for line in self._stdout:
            self.lines.append(line)
            if "License server ready on port: " in line:
                self._ready.put(int(line.rpartition(":")[2]))
        self._ready.put(0)

    def port(self) -> int:
        port = self._ready.get(timeout=60)
        assert port, self.lines
        return port

    def close(self) -> None:
        self.join(30)
        self._stdout.close()


def a_license(serial: str, units: dict[str, int], lock: str = "any", days: float = 365, **more):
    """A signed license text that began yesterday and ends in ``days``."""
    now = datetime.now(UTC).replace(microsecond=0)
    key: Ed25519PrivateKey = more.pop("key", ISSUER)
    names = more.pop("names", {})
    fields = {
        "issuer": "Swarm consortium", "licensee": "University hospital A", "product": "SWARM",
        "not_before": now - timedelta(days=1), "not_after": now + timedelta(days=days), **more,
    }  # fmt: skip
    features = [
        LicensedFeature(
            feature_id=feature, name=names.get(feature, f"Feature {feature}"), capacity=capacity
        )
        for feature, capacity in units.items()
    ]
    return sign(
        License(
            serial=serial, key_id=key_id(key.public_key()), lock=lock, features=features, **fields
        ),
        key,
    )
