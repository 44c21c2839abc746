"""A SPIFFE Workload API for tests: the official service over a real socket, and its trust domains.

It is made from the official protobuf (``workload.proto``, as the package ``spiffe`` has it) and
keeps to the specification (SPIFFE Workload API, sections 3-5) where a client can see it: requests
without the security header are refused with INVALID_ARGUMENT, workloads without an entry with
PERMISSION_DENIED, ``FetchX509SVID`` is a stream that stays open and sends the whole set again at
each change, keys are PKCS #8 in DER, chains and bundles are DER one after the other.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe._proto import workload_pb2, workload_pb2_grpc

HEADER = ("workload.spiffe.io", "true")


def _der(*certificates):
    return b"".join(each.public_bytes(Encoding.DER) for each in certificates)


def _key():
    return ec.generate_private_key(ec.SECP256R1())


class TrustDomain:
    """A trust domain and its CAs; the last one signs."""

    def __init__(self, name):
        self.name = name
        self.cas = []
        self._made = 0
        self.rotate()

    def rotate(self):
        """Another CA, which signs from now on; those before stay in the bundle."""
        self.prepare()
        self.signer = self.cas[-1]

    def prepare(self):
        """Another CA in the bundle, as SPIRE does some time before it signs."""
        self.cas.append(self._ca(f"{self.name} {self._made}"))
        self._made += 1

    def forget(self):
        """Take the oldest CA out of the bundle."""
        del self.cas[0]

    @property
    def bundle(self):
        return _der(*(certificate for _, certificate in self.cas))

    def svid(self, path, *, spiffe_id=None, days=1.0, intermediate=False, ca=False):
        """Key and chain of a workload, as the API sends them.

        Args:
            path: of its ID, e.g. ``/sl-1``.
            spiffe_id: the whole ID, instead.
            days: how long it is valid.
            intermediate: signed by a CA below the domain's.
            ca: the leaf says that it is a CA, which no SVID may.
        """
        signer, above = self.signer, ()
        if intermediate:
            signer = self._ca(f"{self.name} below", *self.signer)
            above = (signer[1],)
        key = _key()
        said = spiffe_id or f"spiffe://{self.name}{path}"
        now = datetime.now(UTC)
        leaf = (
            self._builder("SPIRE", signer[1].subject, key, now, days)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(said)]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(leaf=True), critical=True)
            .sign(signer[0], hashes.SHA256())
        )
        return said, key, (leaf, *above)

    def _ca(self, name, key=None, parent=None):
        own = _key()
        subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
        issuer = parent.subject if parent is not None else subject
        certificate = (
            self._builder(name, issuer, own, datetime.now(UTC), 7)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(leaf=False), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(f"spiffe://{self.name}")]
                ),
                critical=False,
            )
            .sign(key or own, hashes.SHA256())
        )
        return own, certificate

    @staticmethod
    def _builder(name, issuer, key, now, days):
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
        )


def _usage(*, leaf):
    return x509.KeyUsage(
        digital_signature=leaf, key_cert_sign=not leaf, crl_sign=not leaf,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


class WorkloadApi(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """The API of one agent; tests change what it sends.

    Args:
        socket: path of its socket.
    """

    def __init__(self, socket):
        self.socket = socket
        self.streams = 0
        """Requests that were admitted so far."""
        self._changed = threading.Condition()
        self._message = None
        self._version = 0
        self._server = None

    def start(self):
        """Serve, from now on or again."""
        self._server = grpc.server(ThreadPoolExecutor(16))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()
        return self

    def stop(self):
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None
            self.socket.unlink(missing_ok=True)

    def send(self, *svids, domain, federated=()):
        """Send these SVIDs, with the bundle of their domain and those of others, to all."""
        message = workload_pb2.X509SVIDResponse(
            svids=[
                workload_pb2.X509SVID(
                    spiffe_id=said, x509_svid=_der(*chain), bundle=domain.bundle,
                    x509_svid_key=key.private_bytes(
                        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
                    ),
                )
                for said, key, chain in svids
            ],
            federated_bundles={f"spiffe://{each.name}": each.bundle for each in federated},
        )  # fmt: skip
        self.send_raw(message)

    def send_raw(self, message):
        """Send a message as it is; None: there is no entry for the workload."""
        with self._changed:
            self._message, self._version = message, self._version + 1
            self._changed.notify_all()

    def FetchX509SVID(self, request, context):  # noqa: N802 - as in the protobuf
        if HEADER not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        seen = None
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda s=seen: self._version != s, timeout=0.2)
                version, message = self._version, self._message
            if version == seen:
                continue
            if message is None:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
            if seen is None:
                self.streams += 1
            seen = version
            yield message
