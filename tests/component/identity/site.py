"""Identity files of one node, which a test renews, breaks and revokes; and a TLS server for it."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from compose.authority import Authority
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.tls import LOOK_S, FileSource, Identity

DAY = timedelta(days=1)


def authority(name="CA-1"):
    now = datetime.now(UTC)
    return Authority.make(name, now - DAY, now + 9 * DAY, use_rsa=False)


def issue(ca, name="SL-1", start=-DAY, end=2 * DAY):
    now = datetime.now(UTC)
    return ca.issue(name, now + start, now + end)


def crl(ca, *revoked, end=DAY):
    """A revocation list that holds these certificates."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.issued.certificate.subject)
        .last_update(now - DAY)
        .next_update(now + end)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
    return builder.sign(ca.issued.key, hashes.SHA256())


def pem(*items):
    return b"".join(each.public_bytes(Encoding.PEM) for each in items)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Site:
    """A folder with key, certificate and CA folder.

    Args:
        folder: where.
        ca: who signs.
        name: CN of the certificate.
    """

    def __init__(self, folder, ca, name="SL-1"):
        self.folder, self.ca, self.name = folder, ca, name
        self.cas = folder / "capath"
        self.cas.mkdir(parents=True)
        self.key, self.cert = folder / "key.pem", folder / "cert.pem"
        self.issued = issue(ca, name)
        self.issued.write(self.key, self.cert)
        self.trust(ca, "ca-1.pem")
        self.clock = Clock()

    def trust(self, ca, file):
        (self.cas / file).write_bytes(ca.issued.cert_pem())

    def settings(self, **changes):
        named = {
            "swarm_id_key": self.key, "swarm_id_cert": self.cert, "swarm_id_capath": self.cas,
            "swarm_id_cacert": None, **changes,
        }  # fmt: skip
        return NodeSettings(**named)

    def source(self, role=NodeKind.SL, **changes):
        return FileSource(self.settings(**changes), role)

    def identity(self, role=NodeKind.SL, **changes):
        source = self.source(role, **changes)
        return Identity(source.load(), source, self.clock)

    def later(self, seconds=LOOK_S):
        """Time passes: the identity looks at its files when it is used next."""
        self.clock.now += seconds

    def renew(self, ca=None, **how):
        """Replace both files, as an operator does: each written beside and renamed."""
        self.issued = issue(ca or self.ca, self.name, **how)
        for path, content in (
            (self.key, self.issued.key_pem()),
            (self.cert, self.issued.cert_pem()),
        ):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        return self.issued


def shake_hands(client_context, server_context):
    """Let two contexts meet in memory; both ends."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        done = [step(side) for side in (client, server)]
        if all(done):
            return client, server
    raise AssertionError("the handshake does not end")


def step(side):
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@asynccontextmanager
async def echoing(context):
    """A server that sends back one line; gives its port."""

    async def answer(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
