"""Client of the SN's state API; the only way that SL, SWOP and SWCI reach the chain.

Knows several SNs: when one does not answer it goes on with the next, with all that it asked that
one, and it learns of more from each registration and heartbeat.
"""

import asyncio
import logging
import math
import ssl
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from services.common import sn_api as api
from services.common.errors import (
    ConfigError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RemoteError,
    SnUnavailableError,
)
from services.common.identity_pool import IdentityPool
from services.common.ids import NodeId
from services.common.retrying import Notices
from services.common.tls import Identity, tls_refusal

log = logging.getLogger("swarm.snClient")

Parsed = TypeVar("Parsed")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""Longest time an SN takes to answer a write or a question."""
HEARTBEAT_SECONDS = 5.0
"""The same for a heartbeat, which is how a node notices soon that its SN hangs."""
CUT_OFF_SECONDS = 30.0
"""How long an SN that said that it is cut off is not tried for that reason alone."""
POLL_SLACK_SECONDS = 10.0
"""How much later than it was asked to an SN may answer a long poll."""
AWAY = frozenset({500, 502, 503, 504})
"""Answers of an SN, or of a proxy before it, that cannot serve now; every write of ours may be
repeated, so another SN, or the same one later, is asked again."""
ROUNDS_AT_ONCE = 200
"""Rounds that one request asks for; with 32 peers a megabyte or two."""
RETRY_SECONDS = 1.0
"""Pause between two tries of the whole list of SNs."""


class SnClient:
    """Async client.

    Args:
        identity: our certificate.
        sns: ``host:port`` of one or more SN APIs, the preferred one first.
        patience: seconds to go on trying when no SN answers, before giving up.
    """

    def __init__(self, identity: Identity, sns: list[str], patience: float = 60.0) -> None:
        if not sns:
            raise ConfigError("no SN to contact: set SN_NODE_IP or SN_API_SERVICE")
        self.sns = list(sns)
        self.patience = patience
        self._cut_off: dict[str, float] = {}
        """SNs that said so, and when, in seconds of the loop's clock."""
        self._under_way: dict[str, set[asyncio.Timeout]] = {}
        """By SN: the limits of the requests that wait for it."""
        self._answered = False
        """Whether an SN ever did."""
        self._pool = IdentityPool(identity, httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @property
    def generation(self) -> int:
        """Of our identity: a node registers again once it has another."""
        return self._pool.generation

    async def version(self) -> str:
        """Version of the SN's software."""
        return (await self.ask("GET", "/v1/version", api.Version)).version

    # --- nodes

    async def register(self, uid: NodeId, node: api.NodeRegistration) -> api.Registered:
        """Announce this node."""
        return await self._present("PUT", f"/v1/nodes/{uid}", node)

    async def alive(self, uid: NodeId) -> api.Registered:
        """Send a heartbeat; NotFoundError means: register again (the SN is another one)."""
        return await self._present("POST", f"/v1/nodes/{uid}/alive", timeout=HEARTBEAT_SECONDS)

    async def leave_network(self, uid: NodeId, reason: str = "") -> None:
        """Sign off."""
        await self.ask("DELETE", f"/v1/nodes/{uid}?reason={quote(reason)}", type(None))

    async def nodes(self) -> list[api.NodeInfo]:
        """All registered nodes."""
        return await self.ask("GET", "/v1/nodes", list[api.NodeInfo])

    # --- contracts

    async def create_contract(self, name: str) -> None:
        """Create a training contract; one that came to be since we began counts as ours."""
        there = name in {row.name for row in await self.contracts()}
        try:
            await self.ask("POST", "/v1/contracts", dict[str, Any], api.CreateContract(name=name))
        except ProtocolError as exc:  # an SN made it, and its answer got lost?
            if there or exc.code != "name-taken":
                raise
            if name not in {row.name for row in await self.contracts()}:
                raise  # it is a taskrunner's name

    async def contracts(self) -> list[api.ContractSummary]:
        """All training contracts."""
        return await self.ask("GET", "/v1/contracts", list[api.ContractSummary])

    async def state(self, contract: str) -> api.ContractState:
        """A contract as it is now."""
        return await self.ask("GET", _path(contract), api.ContractState)

    async def watch(self, contract: str, after: str, wait: float) -> api.ContractState:
        """Wait until the contract differs from cursor ``after``, at most ``wait`` seconds."""
        path = f"{_path(contract)}/events?after={quote(after)}&wait={wait}"
        return await self.ask("GET", path, api.ContractState, timeout=wait + POLL_SLACK_SECONDS)

    async def rounds(self, contract: str, generation: int = 0) -> list[api.RoundRecord]:
        """The published rounds of a generation, of the present one by default, oldest first."""
        found: list[api.RoundRecord] = []
        after: int | None = 0
        while after is not None:
            page = await self.rounds_page(contract, after, generation, ROUNDS_AT_ONCE)
            found += page.rounds
            after, generation = page.more_after, page.generation  # a reset must not mix two
        return found

    async def rounds_page(
        self, contract: str, after: int, generation: int, limit: int
    ) -> api.RoundsPage:
        """At most ``limit`` published rounds after round ``after``; generation 0: the present."""
        asked = f"after={after}&limit={limit}&generation={generation}"
        return await self.ask("GET", f"{_path(contract)}/rounds?{asked}", api.RoundsPage)

    async def perf(self, contract: str, generation: int = 0) -> list[api.PerfRecord]:
        """What peers measured of each merged model of a generation, oldest first."""
        found: list[api.PerfRecord] = []
        after: int | None = 0
        while after is not None:
            page = await self.perf_page(contract, after, generation, ROUNDS_AT_ONCE)
            found += page.rounds
            after, generation = page.more_after, page.generation
        return found

    async def perf_page(
        self, contract: str, after: int, generation: int, limit: int
    ) -> api.PerfPage:
        """The same of at most ``limit`` rounds after round ``after``."""
        asked = f"after={after}&limit={limit}&generation={generation}"
        return await self.ask("GET", f"{_path(contract)}/perf?{asked}", api.PerfPage)

    async def reset(self, contract: str, reason: str) -> api.ContractState:
        """RESET CONTRACT: the present generation, never one that begins while this is repeated."""
        generation = (await self.state(contract)).view.generation
        asked = f"reset?reason={quote(reason)}&generation={generation}"
        return await self.ask("POST", f"{_path(contract)}/{asked}", api.ContractState)

    async def peer(
        self, contract: str, uid: NodeId, verb: str, body: BaseModel
    ) -> api.ContractState:
        """One write of a peer: ``enrol``, ``checkin``, ``freeze``, ``drop``, ``publish``,
        ``attest``, ``report-leader``, ``perf`` or ``leave``."""  # noqa: D205, D209
        return await self.ask(
            "POST", f"{_path(contract)}/peers/{uid}/{verb}", api.ContractState, body
        )

    # --- transport

    async def _present(
        self, method: str, path: str, body: BaseModel | None = None, timeout: float = ANSWER_SECONDS
    ) -> api.Registered:
        """Register or send a heartbeat; learn of other SNs, leave one that can write nothing."""
        sn, answer = await self._ask(method, path, body, timeout)
        found = _parse(answer, api.Registered)
        self.sns.extend(each for each in found.sns if each not in self.sns)
        now = asyncio.get_running_loop().time()
        if not found.cut_off:
            self._cut_off.pop(sn, None)
            return found
        self._cut_off[sn] = now
        others = [each for each in self.sns if each != sn]
        if any(now - self._cut_off.get(each, -math.inf) > CUT_OFF_SECONDS for each in others):
            log.warning("SN %s is cut off from the other SNs: going on with another one", sn)
            self._leave(sn)
        return found

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[Parsed],
        body: BaseModel | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> Parsed:
        """The answer of an SN, as ``kind``; raises as :meth:`_ask` does, and what it answers."""
        _, answer = await self._ask(method, path, body, timeout)
        return _parse(answer, kind)

    async def _ask(
        self, method: str, path: str, body: BaseModel | None, timeout: float
    ) -> tuple[str, httpx.Response]:
        """Try each SN in turn until one answers or ``patience`` is over; which one, and what.

        An SN that fails once comes last from then on, and what else was asked of it is asked of
        the others at once: a long poll would notice much later. Every write may be repeated.

        Raises:
            SnUnavailableError: none answered.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        give_up, notices = began + self.patience, Notices(self.patience)
        while True:
            failures: dict[str, str] = {}
            while untried := [sn for sn in self.sns if sn not in failures]:
                sn = untried[0]
                answer = await self._send(sn, method, path, body, timeout)
                if isinstance(answer, httpx.Response):
                    self._answered = True
                    return sn, answer
                failures[sn] = answer
            if loop.time() >= give_up or self._is_hopeless(failures):
                raise SnUnavailableError(
                    f"no SN answers ({_listed(failures)}). Check that the SN is up, its address "
                    "and port, the firewall, and that its certificate is signed by a CA you trust"
                )
            if line := notices.due(loop.time() - began, _listed(failures)):
                log.warning(line)
            await asyncio.sleep(RETRY_SECONDS)

    async def _send(
        self, sn: str, method: str, path: str, body: BaseModel | None, timeout: float
    ) -> httpx.Response | str:
        """Ask one SN; its answer, or why it is none."""
        content = body.model_dump_json().encode() if body is not None else None
        under_way = self._under_way.setdefault(sn, set())
        try:
            async with asyncio.timeout(None) as limit:
                under_way.add(limit)
                try:
                    answer = await self._pool.request(
                        method, f"https://{sn}{path}", content,
                        httpx.Timeout(timeout, connect=CONNECT_SECONDS),
                    )  # fmt: skip
                finally:
                    under_way.discard(limit)
        except TimeoutError:
            return "it failed another request"
        except (httpx.HTTPError, ssl.SSLError) as exc:  # httpx lets some TLS alerts pass
            self._leave(sn)
            return tls_refusal(exc) or str(exc) or type(exc).__name__
        if answer.status_code in AWAY:
            self._leave(sn)
            return f"{answer.status_code} {_detail(answer)[0]}"
        return answer

    def _is_hopeless(self, failures: dict[str, str]) -> bool:
        """Whether TLS refused one of the two certificates from the start.

        Waiting does not mend that; in mid-life certificates and CAs are being renewed.
        """
        return not self._answered and all(map(_is_tls_refusal, failures.values()))

    def _leave(self, sn: str) -> None:
        """Put an SN behind the others, and break off what waits for it, unless there are none."""
        self.sns.remove(sn)
        self.sns.append(sn)
        if len(self.sns) > 1:
            for limit in self._under_way.pop(sn, ()):
                limit.reschedule(asyncio.get_running_loop().time())


def _is_tls_refusal(failure: str) -> bool:
    """Whether TLS itself refused one of the two certificates."""
    return "CERTIFICATE_VERIFY_FAILED" in failure or "_ALERT_" in failure


def _listed(failures: dict[str, str]) -> str:
    return "; ".join(f"{sn}: {why}" for sn, why in failures.items())


def _path(contract: str) -> str:
    return f"/v1/contracts/{quote(contract, safe='')}"


def _parse(answer: httpx.Response, kind: type[Parsed]) -> Parsed:
    if answer.is_success:
        if kind is type(None):
            return None
        try:
            return TypeAdapter(kind).validate_json(answer.content)
        except ValidationError as exc:
            raise RemoteError(f"the SN answered something else than {kind}: {exc}") from exc
    detail, code = _detail(answer)
    for error in (ForbiddenError, NotFoundError, ProtocolError, ConfigError):
        if answer.status_code == error.http_status:
            raise error(detail, code)
    raise RemoteError(detail, code)


def _detail(answer: httpx.Response) -> tuple[str, str]:
    """What an error answer says, and its stable word."""
    try:
        problem = answer.json()
        return str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        return f"the SN answered {answer.status_code}", "remote"
