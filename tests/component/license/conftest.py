"""A license server in this process, over real mutual TLS, on a clock that the test turns."""

import asyncio
import hashlib
import logging
import re
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.common.rest import listen, serving
from services.license.adapters.desk import Desk
from services.license.adapters.passwords import Passwords
from services.license.adapters.store import Store
from services.license.api import license_app
from services.license.core.license_file import License, LicensedFeature, key_id, sign
from tests.pki import Pki

ISSUER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)


def quick_hash(password, salt):
    """Stands for scrypt where a test is about something else."""
    return f"{salt.hex()}${hashlib.sha256(salt + password.encode()).hexdigest()}"


def is_quick_hash(password, kept):
    return quick_hash(password, bytes.fromhex(kept.partition("$")[0])) == kept


class Clock:
    """Unix seconds, turned by hand."""

    now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Server:
    """A license server; ``port`` stays the same over stops and starts."""

    def __init__(self, folder: Path, pki: Pki, lease_s: float = 1800.0, name: str = "1"):
        self.folder, self.pki, self.lease_s = folder, pki, lease_s
        folder.mkdir()
        self.clock = Clock()
        self.identity = pki.identity(NodeKind.LICENSE, name)
        self.port = 0
        self.office = None

    @asynccontextmanager
    async def running(self):
        sock = listen("127.0.0.1", self.port, "test")
        self.port = sock.getsockname()[1]
        store = Store(self.folder / "licenses.sqlite")
        try:
            desk = Desk.make(
                store, self.folder, self.clock, self.lease_s, wall=self.clock,
                passwords=Passwords(quick_hash, is_quick_hash, "00$nobody"),
            )  # fmt: skip
            desk.open()
            self.office, self.shelf, self.desk = desk.office, desk.shelf, desk
            app = license_app(desk)
            async with serving(app, sock, self.identity, client_certificate_optional=True):
                yield self
        finally:
            store.close()

    def http(self, role=NodeKind.SL, name="1", identity=None):
        identity = identity or self.pki.identity(role, name)
        return httpx.AsyncClient(
            verify=identity.client_context(),
            base_url=f"https://127.0.0.1:{self.port}/api/v1",
            trust_env=False,
        )

    async def send(self, method, path, role=NodeKind.SL, name="1", **more):
        async with self.http(role, name) as http:
            return await http.request(method, path, **more)

    async def acquire(self, uid=1, feature=Feature.SL, role=NodeKind.SL, name="1"):
        return await self.send("POST", "/leases", role, name, json=a_request(uid, feature))

    def trust(self):
        trust(self.folder)


def trust(folder, key=ISSUER):
    """Put an issuer's public key where a license server looks for it."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "issuers").mkdir(exist_ok=True)
    (folder / "issuers" / "test.pem").write_bytes(pem)


def a_request(uid, feature=Feature.SL):
    client = {"uid": f"{uid:032x}", "host": "h", "container": f"sl{uid}", "component": "SL"}
    return {"feature": feature, "client": client}


def a_document(capacity, not_before, not_after=None, serial="s1", feature=Feature.SL):
    """A signed license text."""
    return sign(
        License(
            issuer="test", key_id=key_id(ISSUER.public_key()), licensee="us", product="SWARM",
            serial=serial, not_before=not_before, not_after=not_after,
            features=[LicensedFeature(feature_id=feature, name="SL", capacity=capacity)],
        ),
        ISSUER,
    )  # fmt: skip


class LogWatch(logging.Handler):
    """Waits for log lines."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self._changed = asyncio.Event()

    def emit(self, record):
        self.lines.append(f"{record.levelname} {record.getMessage()}")
        self._changed.set()

    async def line(self, pattern, count=1, deadline=15.0):
        async with asyncio.timeout(deadline):
            while len(found := [x for x in self.lines if re.search(pattern, x)]) < count:
                self._changed.clear()
                await self._changed.wait()
        return found[count - 1]


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def server(tmp_path, pki):
    async with Server(tmp_path / "license", pki).running() as made:
        yield made


@pytest.fixture
async def watch():
    handler = LogWatch()
    logger = logging.getLogger("swarm.license")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)
