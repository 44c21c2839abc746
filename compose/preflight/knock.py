"""Asks one address over TLS and notes all that can be seen from outside."""

import contextlib
import email.utils
import http.client
import ipaddress
import socket
import ssl
import time
from dataclasses import replace
from datetime import datetime

from cryptography import x509

from compose.preflight.identity import shown_name
from compose.preflight.seen import Seen
from services.common.tls import Identity, read_certificate, tls_refusal

SECONDS = 5.0
_MOST = 1 << 20


def knock(host: str, port: int, identity: Identity, path: str = "/is_up") -> Seen:
    """Connect, shake hands and ask for ``path``.

    Args:
        host: a name or an address.
        port: of its API.
        identity: to show, and whose CAs to trust.
        path: to get; empty for the handshake alone.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        return Seen(error=f"the name is not known here: {exc}")
    seen = Seen(addresses=tuple(sorted({str(each[4][0]) for each in found})))
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            seen = replace(seen, connected=True)
    except OSError as exc:
        return replace(seen, error=f"no connection: {exc.strerror or exc}")
    trusting = identity.client_context()
    try:
        return _talk(host, port, trusting, path, seen)
    except ssl.SSLCertVerificationError as exc:
        seen = replace(seen, distrust=exc.verify_message)
    trusting = identity.client_context()
    trusting.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError):
        return _talk(host, port, trusting, path, seen)
    return seen


def tcp(host: str, port: int) -> str:
    """Why nothing listens there; empty where something does."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return ""
    except OSError as exc:
        return str(exc.strerror or exc)


def _talk(host: str, port: int, context: ssl.SSLContext, path: str, seen: Seen) -> Seen:
    """One connection; only distrust is raised.

    Raises:
        ssl.SSLCertVerificationError: we do not trust what it showed.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=_sni(host)) as secure,
        ):
            seen = _showed(secure, seen)
            try:
                return _ask(secure, host, path, seen) if path else seen
            except (ssl.SSLEOFError, ConnectionError):  # TLS 1.3: it sees ours after the handshake
                return replace(seen, refusal="it closed the connection when it had seen it")
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as exc:
        refusal = tls_refusal(exc)
        if refusal is not None:
            return replace(seen, refusal=str(exc.reason or exc))
        return replace(seen, error=f"no TLS that we understand: {exc.reason or exc}")
    except (OSError, http.client.HTTPException) as exc:
        return replace(seen, error=f"no answer: {str(exc) or type(exc).__name__}")


def _showed(secure: ssl.SSLSocket, seen: Seen) -> Seen:
    der = secure.getpeercert(binary_form=True)
    if not der:
        return seen
    issuer = shown_name(x509.load_der_x509_certificate(der).issuer)
    return replace(seen, certificate=read_certificate(der), issuer=issuer)


def _ask(secure: ssl.SSLSocket, host: str, path: str, seen: Seen) -> Seen:
    began, asked = time.time(), time.monotonic()
    secure.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii")
    )
    answer = http.client.HTTPResponse(secure, method="GET")
    answer.begin()
    took = time.monotonic() - asked
    body = answer.read(_MOST).decode("utf-8", "replace")
    seen = replace(seen, status=answer.status, body=body)
    date = _date(answer.getheader("Date", ""))
    if date is None:
        return seen
    ahead = date.timestamp() + 0.5 - (began + took / 2)  # the header has whole seconds
    return replace(seen, ahead=ahead, sure=0.5 + took / 2)


def _date(header: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return None


def _sni(host: str) -> str | None:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return None
    return host
