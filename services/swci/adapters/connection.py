"""How SWCI reaches SNs, and finds out why it cannot."""

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Protocol

from services.common import task_api as api
from services.common.errors import SnUnavailableError, SwarmError
from services.common.sn_client import SnClient
from services.common.task_client import TaskClient
from services.common.tls import Identity, tls_refusal
from services.swci.core.commands import Address

PATIENCE = 5.0
"""Seconds that a command goes on trying while no SN answers."""
PROBE_SECONDS = 5.0
"""Longest time for each step of a probe: resolve, connect, shake hands."""
_EXPIRED, _NOT_YET_VALID = 10, 9
"""Verify codes of OpenSSL (X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID)."""


class Tasks(Protocol):
    """What SWCI asks about tasks and taskrunners; ``TaskClient`` is that over the SN's API."""

    async def create_task(self, header: api.TaskHeader) -> api.TaskSummary:
        """CREATE TASK."""

    async def append(self, name: str, body: api.BodyLines) -> api.TaskSummary:
        """APPEND TASK BODY."""

    async def finalize(self, name: str) -> api.TaskSummary:
        """FINALIZE TASK."""

    async def delete(self, name: str) -> object:
        """DELETE TASK."""

    async def tasks(self) -> list[api.TaskSummary]:
        """LIST TASKS."""

    async def task(self, name: str) -> api.TaskInfo:
        """A task with its body."""

    async def create_runner(self, name: str) -> api.TaskRunnerState:
        """CREATE TASKRUNNER."""

    async def runners(self) -> list[api.TaskRunnerSummary]:
        """LIST TASKRUNNERS."""

    async def runner(self, name: str) -> api.TaskRunnerState:
        """A taskrunner as it is now."""

    async def watch(self, name: str, after: str, wait: float) -> api.TaskRunnerState:
        """Wait until it differs from cursor ``after``, at most ``wait`` seconds."""

    async def assign(self, name: str, body: api.Assign) -> api.TaskRunnerState:
        """ASSIGN TASK."""

    async def reset(self, name: str, reason: str, run: int | None = None) -> api.TaskRunnerState:
        """RESET TASKRUNNER."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """Both clients of the same SNs."""

    sn: SnClient
    tasks: Tasks


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an API server cannot be reached."""

    why: str
    waiting_helps: bool = True
    """False where TLS refused a certificate: only a person can mend that."""


class Connect(Protocol):
    """Makes clients of SNs, and finds out why one cannot be reached."""

    def __call__(self, sns: list[str]) -> Swarm:
        """Clients of the SNs at these ``host:port``."""

    async def probe(self, address: Address) -> Trouble | None:
        """None where an API server answers there; else why not."""


class Connector:
    """The real one.

    Args:
        identity: our certificate.
        patience: seconds that a command goes on trying while no SN answers.
    """

    def __init__(self, identity: Identity, patience: float = PATIENCE) -> None:
        self._identity = identity
        self._patience = patience

    def __call__(self, sns: list[str]) -> Swarm:
        """Clients of the SNs at these ``host:port``."""
        sn = SnClient(self._identity, sns, self._patience)
        return Swarm(sn, TaskClient(sn))

    async def probe(self, address: Address) -> Trouble | None:
        """Resolve, connect, shake hands, ask; the first that fails is the reason."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(
                    address.host, address.port, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            return Trouble(f"DNS: no answer for the name {address.host} in {PROBE_SECONDS:g} s")
        except (OSError, UnicodeError) as exc:
            return Trouble(
                f"DNS: the name {address.host} does not resolve ({_words(exc)}): check its spelling"
            )
        return await self._connect(address, str(found[0][4][0])) or await self._ask(address)

    async def _connect(self, address: Address, ip: str) -> Trouble | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(address.host, address.port)
        except TimeoutError:
            return Trouble(
                f"TCP: {address} ({ip}) does not answer in {PROBE_SECONDS:g} s: check that the "
                "host is up and no firewall drops the port"
            )
        except OSError as exc:
            return Trouble(
                f"TCP: {address} ({ip}) refuses the connection ({_words(exc)}): check that the SN "
                "is up and that the port is its API's"
            )
        try:
            return await self._shake_hands(address, writer)
        finally:
            writer.transport.abort()

    async def _shake_hands(self, address: Address, writer: asyncio.StreamWriter) -> Trouble | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await writer.start_tls(
                    self._identity.client_context(), server_hostname=address.host
                )
        except ssl.SSLCertVerificationError as exc:
            return Trouble(_verification(address, exc), waiting_helps=False)
        except TimeoutError:
            return Trouble(
                f"TLS: {address} does not shake hands in {PROBE_SECONDS:g} s: is the port right?"
            )
        except ssl.SSLError as exc:
            return _refused_text(tls_refusal(exc) or "") or Trouble(
                f"TLS: {address} does not speak TLS ({exc.reason or exc}): is the port right?"
            )
        except OSError as exc:
            return Trouble(f"TLS: {address} broke off the handshake ({_words(exc)})")
        return None

    async def _ask(self, address: Address) -> Trouble | None:
        """An SN refuses our certificate behind the handshake (TLS 1.3), or is no SN."""
        sn = SnClient(self._identity, [str(address)], patience=0.0)
        try:
            await sn.contracts()
        except SnUnavailableError as exc:
            return _refused_text(str(exc)) or Trouble(f"API: {exc}")
        except SwarmError as exc:
            return Trouble(f"API: {address} does not answer as an SN does ({exc})")
        finally:
            await sn.close()
        return None


def _verification(address: Address, exc: ssl.SSLCertVerificationError) -> str:
    if exc.verify_code == _EXPIRED:
        return (
            f"TLS: the certificate of {address} has expired: renew it there, and check this "
            "machine's clock"
        )
    if exc.verify_code == _NOT_YET_VALID:
        return f"TLS: the certificate of {address} is not valid yet: check the clocks"
    return (
        f"TLS: the certificate of {address} is not signed by a CA that we trust "
        f"({exc.verify_message}): check SWARM_ID_CACERT or SWARM_ID_CAPATH"
    )


def _refused_text(text: str) -> Trouble | None:
    if "_ALERT_" not in text:
        return None
    if "CERTIFICATE_EXPIRED" in text:
        why = "TLS: our certificate has expired: renew it and start SWCI again"
    elif "UNKNOWN_CA" in text:
        why = "TLS: the SN does not trust the CA of our certificate: check SWARM_ID_CERT"
    else:
        why = f"TLS: the SN refused our certificate ({text})"
    return Trouble(why, waiting_helps=False)


def _words(exc: OSError | UnicodeError) -> str:
    code = exc.errno if isinstance(exc, OSError) else None
    is_gai = isinstance(exc, socket.gaierror)
    return os.strerror(code) if code and not is_gai else str(exc) or type(exc).__name__
