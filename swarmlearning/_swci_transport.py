"""HTTP to a SWCI's web mode with the standard library alone; the wheel stays light.

Connections are reused, also by several threads, but a request is never sent twice: most commands
must not be executed twice.
"""

import http.client
import secrets
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import quote

CONNECT_S = 30.0
"""Seconds to connect and shake hands."""
IDLE_S = 60.0
"""Seconds after which an idle connection is not used again; servers drop it after 75."""
LARGEST_ANSWER = 64 << 20
"""Bytes."""
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A host that vanished is noticed after a minute and a half, however long a command takes."""


class TransportError(Exception):
    """Nothing, or nothing usable, came back; the message says why."""


def tls_context(cert: str, key: str | None, ca_bundle: str | None) -> ssl.SSLContext:
    """A client's context; the server's chain is checked where there is a CA bundle.

    Host names are not checked: the certificates of a swarm name roles (``SWCI-1``), not hosts.

    Args:
        cert: PEM file of the client's certificate, and of its key where ``key`` is not given.
        key: PEM file of its key.
        ca_bundle: PEM file of trusted CAs, or a folder of ``*.pem`` files.

    Raises:
        RuntimeError: a file is missing or not usable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if ca_bundle else ssl.CERT_NONE
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # gen-cert's key usage fails it
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
        for file in _bundle(ca_bundle):
            context.load_verify_locations(cafile=file)
    except (OSError, ValueError) as exc:
        raise RuntimeError(
            f"cannot use clientCert={cert}, clientPKey={key}, clientCABundle={ca_bundle}: {exc}. "
            "Name PEM files that belong together"
        ) from exc
    return context


def _bundle(ca_bundle: str | None) -> list[Path]:
    if not ca_bundle:
        return []
    place = Path(ca_bundle)
    if not place.is_dir():
        return [place]
    files = sorted(place.glob("*.pem"))
    if not files:
        raise ValueError("the folder of CAs holds no *.pem file")
    return files


class Transport:
    """Requests to one server.

    Args:
        host: name or address.
        port: of TCP.
        context: for HTTPS; plain HTTP where it is None.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host = host.strip("[]")
        self._port = port
        self._context = context
        self._lock = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []

    def execute(self, command: str, answer_s: float | None) -> tuple[int, bytes]:
        """POST a command.

        Args:
            command: as it is to arrive.
            answer_s: seconds to wait for the answer; for ever where it is None.

        Returns:
            HTTP status and body.

        Raises:
            TransportError: no answer.
        """
        return self._post(f"/exec?cmd={quote(command, safe='')}", b"", {}, answer_s)

    def upload(self, name: str, content: bytes, answer_s: float) -> tuple[int, bytes]:
        """POST a file as the form field ``file``; see :meth:`execute`."""
        boundary = secrets.token_hex(16)
        shown = name.replace("\\", "%5C").replace('"', "%22").replace("\r", "").replace("\n", "")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self._post("/uploadTaskDef", body, kind, answer_s)

    def close(self) -> None:
        """Close the idle connections; later requests open new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _post(
        self, path: str, body: bytes, headers: dict[str, str], answer_s: float | None
    ) -> tuple[int, bytes]:
        connection = None
        try:
            connection = self._reused() or self._connected()
            connection.sock.settimeout(answer_s)
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read(LARGEST_ANSWER + 1)
        except BaseException as exc:
            if connection is not None:
                connection.close()
            if isinstance(exc, OSError | http.client.HTTPException):
                raise TransportError(self._why(exc)) from exc
            raise
        self._put_back(connection, whole=response.isclosed())
        if len(answer) > LARGEST_ANSWER:
            raise TransportError(f"the answer is larger than {LARGEST_ANSWER >> 20} MiB")
        return response.status, answer

    def _connected(self) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPConnection(self._host, self._port, CONNECT_S)
            if self._context is None
            else http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_S, context=self._context
            )
        )
        try:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                if hasattr(socket, option):  # not everywhere
                    connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reused(self) -> http.client.HTTPConnection | None:
        """An idle connection that the server has not closed, so far as one can know."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE_S and not _is_readable(connection.sock):
                return connection
            connection.close()

    def _put_back(self, connection: http.client.HTTPConnection, *, whole: bool) -> None:
        if not whole or connection.sock is None:  # the server closes it, or not all was read
            connection.close()
            return
        with self._lock:
            self._idle.append((time.monotonic(), connection))

    def _why(self, exc: Exception) -> str:
        told = str(exc) or type(exc).__name__
        where = f"{self._host}:{self._port}"
        if isinstance(exc, ssl.SSLCertVerificationError):
            return f"clientCABundle does not trust the certificate of {where}: {exc.verify_message}"
        if isinstance(exc, ssl.SSLError) and "_ALERT_" in (exc.reason or ""):
            return f"{where} refused the client certificate: {exc.reason}"
        if isinstance(exc, ssl.SSLError) and self._context is not None:
            return f"{where} does not speak HTTPS as we do: {told}"
        if isinstance(exc, http.client.RemoteDisconnected | ConnectionResetError):
            hint = "" if self._context else ". It may speak HTTPS only: give clientCert"
            return f"{where} closed the connection{hint}"
        return f"{where}: {told}"


def _is_readable(sock: socket.socket) -> bool:
    """Nothing is to come between two requests but the end of the connection."""
    try:
        return bool(select.select([sock], [], [], 0)[0])
    except ValueError:  # more descriptors than select can number
        return True
