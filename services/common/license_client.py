"""Holds a license for as long as a node runs: acquire, renew, release.

A license decides whether a node *starts*; a running node never stops because of one. While no
license server answers, a node tries once a minute, and says so at first and then once an hour: as
a warning during the grace period, as an error after it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
from pydantic import ValidationError

from services.common.errors import (
    ConfigError,
    ForbiddenError,
    LicenseRefusedError,
    LicenseUnavailableError,
    SwarmError,
)
from services.common.ids import NodeId, NodeKind
from services.common.license_api import Client, Code, LeaseGrant, LeaseRequest
from services.common.license_refusal import NUMBERS, one_line, refusal
from services.common.process import until_cancelled
from services.common.settings import NodeSettings
from services.common.tls import Identity, read_certificate, tls_refusal

log = logging.getLogger("swarm.license")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
RETRY_SECONDS = 2.0
"""Pause between two tries of all license servers at start."""
NOTICE_SECONDS = 60.0
"""A running node without a lease tries this often."""
TELL_SECONDS = 3600.0
"""And says so this often."""
RELEASE_SECONDS = 3.0
"""Longest that giving a lease back may hold up a node's end, twice where a renewal is under way."""
_TLS_REFUSED = "tls-refused"
"""Code of an error that waiting does not mend."""


@asynccontextmanager
async def held_license(
    settings: NodeSettings,
    identity: Identity,
    feature: str,
    uid: NodeId,
    component: str,
    *,
    patience: float = 30.0,
    notice: float = NOTICE_SECONDS,
    tell: float = TELL_SECONDS,
) -> AsyncIterator[None]:
    """Hold one unit of ``feature`` while the body runs.

    Args:
        settings: names the license servers and the mode: ``open`` asks nobody (the default where
            no server is named), ``required`` fails without a license, ``soft`` goes on.
        identity: our certificate.
        feature: of :class:`services.common.license_api.Feature`.
        uid: ours; a node that restarts under the same uid takes over its old lease.
        component: ``SL``, ``SN``, ... for the server's reports.
        patience: seconds to go on trying at start while no server answers.
        notice: seconds between two tries of a running node that has no lease.
        tell: seconds between two log lines about that.

    Raises:
        LicenseUnavailableError: mode ``required`` and no server answered (HPE's error 6002).
        LicenseRefusedError: mode ``required`` and the server said no; ``code`` says why:
            ``no-capacity``, ``feature-not-installed``, ``license-expired``, ``forbidden``, ...
        ConfigError: mode ``required`` or ``soft`` without a server.
    """
    servers = _servers(settings)
    mode = settings.swarm_license_mode or ("required" if servers else "open")
    if mode == "open":
        log.info("Acquiring floating license %s:1 (open mode)", feature)
        yield
        return
    if not servers:
        raise ConfigError(
            f"SWARM_LICENSE_MODE={mode}, but no license server is named: set "
            "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP, or SWARM_LICENSE_MODE=open"
        )
    host = socket.gethostname()
    request = LeaseRequest(
        feature=feature, client=Client(uid=uid, host=host, container=host, component=component)
    )
    holder = _Holder(
        servers, identity, request, settings.swarm_license_grace_hours * 3600, notice, tell
    )
    try:
        await holder.start(patience)
    except (LicenseUnavailableError, LicenseRefusedError) as exc:
        if mode == "required":
            raise
        log.warning("Going on without a license (SWARM_LICENSE_MODE=soft): %s", _in_a_row(exc))
    task = asyncio.create_task(holder.keep(), name=f"license {feature}")
    try:
        yield
    finally:
        await _end(holder, task)
        await until_cancelled(holder.release, RELEASE_SECONDS)


class _LeaseRevoked(Exception):  # noqa: N818 - an outcome, not an error
    """An administrator took the lease away."""


async def _end(holder: "_Holder", task: asyncio.Task[None]) -> None:
    """Stop the renewals; an answer under way may arrive, so that its lease can be released.

    An error in them is a bug of ours, told but not allowed to matter.
    """
    holder.stop.set()
    try:
        await asyncio.wait([task], timeout=RELEASE_SECONDS)
    finally:
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("license renewal broke off", exc_info=error)


def _servers(settings: NodeSettings) -> list[str]:
    """URLs, the primary first."""
    named = [
        (
            settings.swarm_license_autopassj_server_primary_ip,
            settings.swarm_license_autopassj_server_primary_port,
        ),
        (
            settings.swarm_license_autopassj_server_secondary_ip,
            settings.swarm_license_autopassj_server_secondary_port,
        ),
    ]
    return [f"https://{f'[{ip}]' if ':' in ip else ip}:{port}" for ip, port in named if ip]


class _Holder:
    """The lease of one node."""

    def __init__(
        self,
        servers: list[str],
        identity: Identity,
        request: LeaseRequest,
        grace_s: float,
        notice_s: float,
        tell_s: float,
    ) -> None:
        self._servers = servers
        self._identity = identity
        self._request = request
        self._grace_s = grace_s
        self._notice_s = notice_s
        self._tell_s = tell_s
        self._told = float("-inf")
        """When we last said that we have no lease."""
        self._graced = True
        """Whether that was within the grace period."""
        self._lease: LeaseGrant | None = None
        self._from = servers[0]
        """The server that granted the lease."""
        self._since = asyncio.get_running_loop().time()
        """When we last had a lease for sure, or started."""
        self._failing = False
        self._revoked = False
        self.stop = asyncio.Event()

    async def start(self, patience: float) -> None:
        """Acquire the first lease; :class:`LicenseUnavailableError` after ``patience`` seconds."""
        log.info("Creating Autopass License Provider")
        log.info("Creating license server")
        log.info("Setting license servers")
        log.info("Acquiring floating license %s:1", self._request.feature)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience
        while True:
            try:
                await self._acquire()
            except LicenseUnavailableError as exc:
                if loop.time() >= give_up or exc.code == _TLS_REFUSED:
                    raise _error_6002(exc) from exc
                log.warning("No license server answers: %s. Retrying", exc)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def keep(self) -> None:
        """Renew the lease until :attr:`stop`; without one, try to get one."""
        while await self._wait():
            try:
                await self._renew_or_acquire()
            except _LeaseRevoked:
                self._lease, self._revoked = None, True
                if self._is_time_to_tell():
                    log.error(  # noqa: TRY400 - no traceback for users
                        "License %s:1 was revoked by an administrator (error code %d), running on "
                        "without. A restart asks for a new one",
                        self._request.feature, NUMBERS[Code.REVOKED],
                    )  # fmt: skip
            except SwarmError as exc:
                self._tell(exc)
            else:
                self._settle()

    async def _wait(self) -> bool:
        """Wait until something is to be done; False at the end."""
        healthy = self._lease is not None and not self._failing
        seconds = self._lease.renew_after_s if self._lease and healthy else self._notice_s
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return True
        return False

    async def release(self) -> None:
        """Give the lease back."""
        if self._lease is None:
            return
        log.info("Releasing license")
        lease_id, self._lease = self._lease.lease_id, None
        await self._send(self._from, "DELETE", f"/{lease_id}")

    async def _renew_or_acquire(self) -> None:
        """Renew; where the lease is lost, or its server is away, acquire anew at any server.

        Raises:
            _LeaseRevoked: by an administrator, so that we may not acquire it again.
            SwarmError: neither worked.
        """
        if self._revoked:
            raise _LeaseRevoked
        if self._lease is not None:
            try:
                answer = await self._send(self._from, "PUT", f"/{self._lease.lease_id}")
                self._lease = _grant(answer)
            except LicenseUnavailableError:
                pass
            except LicenseRefusedError as exc:
                if exc.code == "lease-revoked":
                    raise _LeaseRevoked from exc
                log.warning("License lost, acquiring it again. %s", _in_a_row(exc))
            else:
                return
        await self._acquire()

    async def _acquire(self) -> None:
        """Acquire a lease from the first server that answers."""
        failures: list[LicenseUnavailableError] = []
        for server in self._servers:
            try:
                answer = await self._send(server, "POST", "", self._request)
                self._lease, self._from = _grant(answer), server
            except LicenseUnavailableError as exc:
                failures.append(exc)
            else:
                return
        hopeless = all(failure.code == _TLS_REFUSED for failure in failures)
        raise LicenseUnavailableError(
            "; ".join(str(failure) for failure in failures), _TLS_REFUSED if hopeless else None
        )

    def _settle(self) -> None:
        if self._failing:
            log.info("License %s:1 is held again", self._request.feature)
        self._failing = False
        self._told = float("-inf")
        self._since = asyncio.get_running_loop().time()

    def _is_time_to_tell(self, *, graced: bool = True) -> bool:
        """Whether to say that we have no lease: at first, when the grace ends, once an hour."""
        now = asyncio.get_running_loop().time()
        if graced is self._graced and now - self._told < self._tell_s:
            return False
        self._told, self._graced = now, graced
        return True

    def _tell(self, exc: SwarmError) -> None:
        self._failing = True
        away = asyncio.get_running_loop().time() - self._since
        left = self._grace_s - away
        if not self._is_time_to_tell(graced=left > 0):
            return
        if left > 0:
            log.warning(
                "No license for %.1f h, running on; the grace period ends in %.1f h. %s",
                away / 3600, left / 3600, _in_a_row(exc),
            )  # fmt: skip
        else:
            log.error(
                "No license for %.1f h and the grace period is over, running on: mend the license "
                "server before this node is started again. %s",
                away / 3600, _in_a_row(exc),
            )  # fmt: skip

    async def _send(
        self, server: str, method: str, path: str, body: LeaseRequest | None = None
    ) -> httpx.Response:
        """One request. A new connection each time: they are rare, and the certificate may have
        been renewed in between."""  # noqa: D205, D209
        content = body.model_dump_json().encode() if body is not None else None
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with httpx.AsyncClient(
                verify=self._identity.client_context(), timeout=timeout, trust_env=False
            ) as http:
                answer = await http.request(
                    method, f"{server}/api/v1/leases{path}", content=content,
                    headers={"content-type": "application/json"} if content else {},
                )  # fmt: skip
                _require_license_server(answer)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, ForbiddenError) as exc:
            refusal = tls_refusal(exc)
            why = refusal or str(exc) or type(exc).__name__
            code = _TLS_REFUSED if refusal else None
            raise LicenseUnavailableError(f"{server} ({why})", code) from exc
        if not answer.is_success:
            raise _refusal(server, answer)
        return answer


def _in_a_row(exc: SwarmError) -> str:
    """An error's lines as one, for the log of a node that goes on."""
    return " ".join(str(exc).splitlines())


def _require_license_server(answer: httpx.Response) -> None:
    """Check that the other end's certificate is a license server's, not any member's.

    Raises:
        ForbiddenError: it is not.
    """
    tls = answer.extensions["network_stream"].get_extra_info("ssl_object")
    read_certificate(tls.getpeercert(binary_form=True)).require(NodeKind.LICENSE)


def _grant(answer: httpx.Response) -> LeaseGrant:
    try:
        return LeaseGrant.model_validate_json(answer.content)
    except ValidationError as exc:
        raise LicenseUnavailableError(
            f"{answer.url.host} (is that a license server? It answered {answer.content[:80]!r})"
        ) from exc


def _refusal(server: str, answer: httpx.Response) -> SwarmError:
    """What to raise for an answer that is not a success."""
    try:
        problem = answer.json()
        detail, code = one_line(str(problem["detail"])), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        return LicenseUnavailableError(
            f"{server} (is that a license server? It answered {answer.status_code})"
        )
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return LicenseUnavailableError(f"{server} ({detail})")
    return refusal(server, code, detail, problem.get("holders"))


def _error_6002(exc: LicenseUnavailableError) -> LicenseUnavailableError:
    return LicenseUnavailableError(
        "Error Code: 6002\n"
        "Error Message: Unable to connect to server. Server might be wrongly configured or down.\n"
        f"Custom Message: Error in communicating With Server {exc}"
    )
