"""One SN: its chain, its contracts, its read model, its nodes and its API, started in order."""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from eth_utils.address import to_checksum_address

from services.common.container import container_name
from services.common.errors import ConfigError, NotFoundError
from services.common.identity_watch import kept_identity, renewals
from services.common.ids import NodeId, NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.rest import listen, serving
from services.common.tls import Identity, PeerCertificate
from services.sn import VERSION
from services.sn.adapters import founding
from services.sn.adapters.admission import Admission, proven
from services.sn.adapters.chain import Chain
from services.sn.adapters.engine import SwarmEngine
from services.sn.adapters.entry import Network
from services.sn.adapters.membership import Membership
from services.sn.adapters.projection import Projection
from services.sn.adapters.round_history import RoundHistory
from services.sn.adapters.snapshots import FileSnapshots
from services.sn.adapters.system import SystemContracts, system_addresses
from services.sn.adapters.tasks import TaskRunners, Tasks
from services.sn.adapters.trainings import Trainings
from services.sn.adapters.writer import Writer
from services.sn.api import Sn, make_api
from services.sn.core.ledger import NodeRegistered
from services.sn.core.liveness import Pace
from services.sn.engines import open_engine
from services.sn.settings import SnSettings

log = logging.getLogger("swarm.SN")
ready_log = logging.getLogger("swarm.blCnt")
"""HPE's name of the logger of the ready line."""

REGISTER_PATIENCE = 3.0
"""Seconds that the API waits for the SN's own registration before it serves without."""
TELL_EVERY = 10.0
"""Seconds between two log lines about the same wait."""


async def serve(settings: SnSettings, pace: Pace = Pace()) -> None:  # noqa: B008 - it is frozen
    """Run an SN until cancelled.

    Args:
        settings: from the environment.
        pace: how often nodes are heard.

    Raises:
        ConfigError: settings, identity, a port or the data folder cannot be used.
        RemoteError: the SN to join, or the license server, does not answer.
        ProtocolError: one of them refuses us.
    """
    log.info("Setting up blockchain layer for the swarm node: START")
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(kept_identity(settings, NodeKind.SN))
        api_sock = stack.enter_context(
            listen(settings.swarm_bind_ip, settings.sn_api_server_port, "the SN API")
        )
        engine = await stack.enter_async_context(open_engine(settings, identity))
        uid = _uid(settings, engine)
        license_ = held_license(
            settings, identity, Feature.SN, uid, NodeKind.SN,
            patience=settings.swarm_start_patience,
        )  # fmt: skip
        await stack.enter_async_context(license_)
        await _Node(settings, identity, engine, uid, pace, api_sock).run()


def _uid(settings: SnSettings, engine: SwarmEngine) -> NodeId:
    """The SN's uid: as set, or from what its engine keeps, so that a restart does not change it."""
    own = hashlib.sha256(engine.origin.encode()).hexdigest()[:32]
    return NodeId(settings.swarm_node_uid or own)


class _Node:
    """The parts of a running SN."""

    def __init__(
        self,
        settings: SnSettings,
        identity: Identity,
        engine: SwarmEngine,
        uid: NodeId,
        pace: Pace,
        api_sock: socket.socket,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._engine = engine
        self._pace = pace
        self._api_sock = api_sock
        host = socket.gethostname()
        self._snapshots = FileSnapshots(settings.sn_data_dir)
        self._me = NodeRegistered(
            uid=uid, kind=NodeKind.SN, sentinel=settings.sn_i_am_sentinel,
            endpoint=settings.api_endpoint(host, api_sock.getsockname()[1]),
            container=container_name(settings.swarm_container_name), version=VERSION, parent=uid,
            fingerprint=identity.certificate.fingerprint,
        )  # fmt: skip

    async def run(self) -> None:
        """Start everything in order, then serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._engine.run())
            await self._told("the chain", self._engine.ready.wait())
            chain = Chain(self._engine)
            registry, nodes = system_addresses(chain)
            projection = Projection(chain, registry, nodes, self._snapshots)
            group.create_task(projection.follow())
            writer = Writer(chain, projection)
            system = SystemContracts(writer, registry, nodes)
            trainings = Trainings(writer, registry, nodes)
            tasks = Tasks(writer, projection, registry)
            runners = TaskRunners(writer, tasks, registry, nodes)
            await self._told(
                "the chain's history", projection.until(lambda now: now.head is not None)
            )
            if chain.account == self._engine.genesis_signer:
                await founding.found(projection, system, trainings, tasks, runners)
            await self._set_up(chain, projection)
            # other SNs that start may need our API before there is a majority that takes writes
            membership = Membership(
                self._me, projection, system, trainings, runners, self._linked,
                chain.is_cut_off, account=chain.account, pace=self._pace,
            )  # fmt: skip
            group.create_task(membership.run())
            group.create_task(self._follow_identity(membership))
            await self._registered(projection, membership)
            log.info("Setting up blockchain layer for the swarm node: FINISHED")
            sn = Sn(
                projection, writer, trainings, tasks, runners, membership, self._engine.rpc,
                self._engine.status, self._network, partial(self._admit, projection, system),
                RoundHistory(chain), self._left_s,
            )  # fmt: skip
            await self._serve(sn)

    async def _set_up(self, chain: Chain, projection: Projection) -> None:
        """See to it that the contracts are there and this SN may write."""
        await self._told(
            lambda: founding.waits_for(projection.now),
            projection.until(lambda now: not founding.missing(now)),
        )
        asking = asyncio.create_task(self._engine.introduce(partial(self._others, projection)))
        try:
            await self._told(
                "an SN that lets this one write",
                projection.until(lambda now: chain.account in now.directory.writers),
            )
        finally:
            asking.cancel()

    async def _registered(self, projection: Projection, membership: Membership) -> None:
        """Wait a little for the registration; without a majority of signers it takes longer."""
        try:
            async with asyncio.timeout(REGISTER_PATIENCE):
                await projection.until(lambda _: membership.is_registered())
        except TimeoutError:
            log.warning("not registered yet (%s), serving what is known", self._engine.status())

    def _left_s(self) -> float:
        return (self._identity.certificate.not_after - datetime.now(UTC)).total_seconds()

    async def _follow_identity(self, membership: Membership) -> None:
        """Register anew with each renewed certificate; membership sees that it differs."""
        async for _ in renewals(self._identity):
            fingerprint = self._identity.certificate.fingerprint
            membership.me = replace(membership.me, fingerprint=fingerprint)

    async def _serve(self, sn: Sn) -> None:
        api = make_api(sn)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serving(api, self._api_sock, self._identity))
            if (second := self._second_sock()) is not None:
                await stack.enter_async_context(serving(api, second, self._identity))
                log.info("The API listens on port %d, too", second.getsockname()[1])
            port = self._api_sock.getsockname()[1]
            ready_log.info("Starting SWARM-API-SERVER on port: %d", port)
            try:
                await asyncio.Event().wait()
            finally:
                sn.projection.close()

    def _second_sock(self) -> socket.socket | None:
        """See `SnSettings.second_api_port`; None, and a line, where somebody else has it."""
        port = self._settings.second_api_port()
        if port is None:
            return None
        try:
            return listen(self._settings.swarm_bind_ip, port, "the SN API, for SN_API_SERVICE,")
        except ConfigError as exc:
            log.warning("%s. Port %d serves alone", exc, self._api_sock.getsockname()[1])
            return None

    async def _told(self, what: str | Callable[[], str], wait: Awaitable[object]) -> None:
        """Wait, and say now and then what for."""
        waiting = asyncio.ensure_future(wait)
        try:
            while not (await asyncio.wait({waiting}, timeout=TELL_EVERY))[0]:
                words = what if isinstance(what, str) else what()
                log.info("waiting for %s (%s)", words, self._engine.status())
            await waiting
        finally:
            waiting.cancel()

    def _linked(self) -> list[str]:
        return [to_checksum_address(peer.address) for peer in self._engine.peers()]

    def _others(self, projection: Projection) -> list[str]:
        """API endpoints of other SNs: the one that the settings name, and those on the chain."""
        named = self._settings.named_sn()
        known = {
            node.endpoint
            for node in projection.now.nodes.all()
            if node.kind is NodeKind.SN and node.alive
        }
        return [*([named] if named else []), *sorted(known - {named, self._me.endpoint})]

    def _network(self) -> Network:
        return Network(p2p=self._engine.p2p(), site=self._engine.site, genesis=self._engine.genesis)

    async def _admit(
        self, projection: Projection, system: SystemContracts, asked: Admission,
        who: PeerCertificate,
    ) -> None:  # fmt: skip
        """Let another SN's account write, once it proved that it is its own."""
        if self._engine.site is None:
            raise NotFoundError("the SNs of this swarm prove their accounts on their links (30303)")
        account = proven(asked, self._engine.site, who)
        if account not in projection.now.directory.writers:
            await system.add_writer(account)
            log.info("%s may write now, as %s", who.common_name, account)
