"""One SN: its chain, its contracts, its read model, its nodes and its API, started in order."""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Awaitable

from eth_utils.address import to_checksum_address

from services.common.errors import ChainUnavailableError, ConfigError, SnUnavailableError
from services.common.ids import DEFAULT_CONTRACT, NodeId, NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.rest import listen, serving
from services.common.tls import Identity, expiry_notice, load_identity
from services.sn import VERSION
from services.sn.adapters.chain import Chain
from services.sn.adapters.embedded_chain import EmbeddedChain
from services.sn.adapters.entry import Network, find_network, genesis_of
from services.sn.adapters.evm_store import DATABASE
from services.sn.adapters.membership import Membership
from services.sn.adapters.projection import Projection
from services.sn.adapters.system import SystemContracts, system_addresses
from services.sn.adapters.trainings import Trainings
from services.sn.adapters.writer import Writer
from services.sn.api import Sn, make_api
from services.sn.core.ledger import NodeRegistered
from services.sn.core.liveness import Pace
from services.sn.settings import SnSettings

log = logging.getLogger("swarm.SN")
ready_log = logging.getLogger("swarm.blCnt")
"""HPE's name of the logger of the ready line."""

ENTRY_PATIENCE = 600.0
"""Seconds that a joining SN waits for the SN that it was told to join (HPE's took minutes)."""
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
    identity = load_identity(settings, NodeKind.SN)
    notice = expiry_notice(identity)
    if notice:
        log.warning(notice)
    entry = settings.entry()
    with (
        listen(settings.swarm_bind_ip, settings.sn_api_server_port, "the SN API") as api_sock,
        listen(settings.swarm_bind_ip, settings.sn_p2p_listen_port, "the SN's p2p") as p2p_sock,
    ):
        engine = await _open_chain(settings, identity, entry, p2p_sock)
        try:
            uid = _uid(settings, engine)
            async with held_license(
                settings, identity, Feature.SN, uid, NodeKind.SN,
                patience=settings.swarm_start_patience,
            ):  # fmt: skip
                await _Node(settings, identity, engine, uid, pace, api_sock, p2p_sock).run()
        finally:
            await engine.close()


async def _open_chain(
    settings: SnSettings, identity: Identity, entry: str | None, p2p_sock: socket.socket
) -> EmbeddedChain:
    restart = (settings.sn_data_dir / DATABASE).exists()
    network: Network | None = None
    if entry is None:
        log.info("SENTINEL_NODE_IP environment variable is not set")
    else:
        network = await _whom_to_join(identity, entry, restart=restart)
    engine = await EmbeddedChain.open(
        settings.sn_data_dir, sentinel=entry is None, identity=identity, p2p_sock=p2p_sock,
        join=network.p2p if network else [], mine=settings.sn_start_mining,
        announce=settings.p2p_endpoint(socket.gethostname(), p2p_sock.getsockname()[1]),
    )  # fmt: skip
    try:
        await _require_chain_of(network, engine, settings)
    except BaseException:
        await engine.close()
        raise
    return engine


async def _require_chain_of(
    network: Network | None, engine: EmbeddedChain, settings: SnSettings
) -> None:
    """Refuse a data folder that holds another swarm's chain than the SN to join has."""
    if network is None:
        return
    try:
        held = await genesis_of(engine.rpc)
    except ChainUnavailableError:  # none yet: this SN takes the other's
        return
    if held != network.genesis:
        raise ConfigError(
            f"{settings.sn_data_dir} holds another chain (genesis block {held[:12]}...) than the "
            f"SN to join at {settings.entry()} ({network.genesis[:12]}...): it belongs to another "
            "swarm, or one of the two began anew. Name the right folder (SN_DATA_DIR) or the right "
            "SN to join; or, if this chain is not needed any more, empty the folder: this SN "
            "fetches the chain from the other SNs"
        )


async def _whom_to_join(identity: Identity, entry: str, *, restart: bool) -> Network | None:
    """What the SN named says; one that restarts also knows others, so it can do without."""
    try:
        return await find_network(identity, entry, 0.0 if restart else ENTRY_PATIENCE)
    except SnUnavailableError as exc:
        if not restart:
            raise
        log.warning("%s. Going on with the SNs known from before", exc)
        return None


def _uid(settings: SnSettings, engine: EmbeddedChain) -> NodeId:
    """The SN's uid: as set, or from its account, so that it is the same after a restart."""
    own = hashlib.sha256(engine.account.address.lower().encode()).hexdigest()[:32]
    return NodeId(settings.swarm_node_uid or own)


class _Node:
    """The parts of a running SN."""

    def __init__(
        self,
        settings: SnSettings,
        identity: Identity,
        engine: EmbeddedChain,
        uid: NodeId,
        pace: Pace,
        api_sock: socket.socket,
        p2p_sock: socket.socket,
    ) -> None:
        self._identity = identity
        self._engine = engine
        self._pace = pace
        self._api_sock = api_sock
        host = socket.gethostname()
        self._p2p_endpoint = settings.p2p_endpoint(host, p2p_sock.getsockname()[1])
        self._me = NodeRegistered(
            uid=uid, kind=NodeKind.SN, sentinel=settings.sn_i_am_sentinel,
            endpoint=settings.api_endpoint(host, api_sock.getsockname()[1]), container=host,
            version=VERSION, parent=uid, fingerprint=identity.certificate.fingerprint,
        )  # fmt: skip

    async def run(self) -> None:
        """Start everything in order, then serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._engine.run())
            await self._told("the chain", self._engine.ready.wait())
            chain = Chain(self._engine)
            registry, nodes = system_addresses(chain)
            projection = Projection(chain, registry, nodes)
            tasks.create_task(projection.follow())
            writer = Writer(chain, projection)
            system = SystemContracts(writer, registry, nodes)
            trainings = Trainings(writer, registry, nodes)
            await self._set_up(chain, projection, system, trainings)
            # other SNs that start may need our API before there is a majority that takes writes
            membership = Membership(
                self._me, projection, system, trainings, self._linked,
                account=chain.account, pace=self._pace,
            )  # fmt: skip
            tasks.create_task(membership.run())
            await self._registered(projection, membership)
            log.info("Setting up blockchain layer for the swarm node: FINISHED")
            sn = Sn(
                projection, writer, trainings, membership, self._engine.rpc, self._engine.status,
                self._p2p,
            )  # fmt: skip
            await self._serve(sn)

    async def _set_up(
        self, chain: Chain, projection: Projection, system: SystemContracts, trainings: Trainings
    ) -> None:
        """See to it that the contracts are there and this SN may write."""
        await self._told("the chain's history", projection.until(lambda now: now.head is not None))
        if chain.account == chain.engine.genesis_signer:
            await system.deploy()
            if DEFAULT_CONTRACT not in projection.now.directory.contracts:
                await trainings.create(DEFAULT_CONTRACT)
        await self._told(
            "the contracts",
            projection.until(lambda now: DEFAULT_CONTRACT in now.directory.contracts),
        )
        await self._told(
            "an SN that lets this one write",
            projection.until(lambda now: chain.account in now.directory.writers),
        )

    async def _registered(self, projection: Projection, membership: Membership) -> None:
        """Wait a little for the registration; without a majority of signers it takes longer."""
        try:
            async with asyncio.timeout(REGISTER_PATIENCE):
                await projection.until(lambda _: membership.is_registered())
        except TimeoutError:
            log.warning("not registered yet (%s), serving what is known", self._engine.status())

    async def _serve(self, sn: Sn) -> None:
        async with serving(make_api(sn), self._api_sock, self._identity):
            port = self._api_sock.getsockname()[1]
            ready_log.info("Starting SWARM-API-SERVER on port: %d", port)
            try:
                await asyncio.Event().wait()
            finally:
                sn.projection.close()

    async def _told(self, what: str, wait: Awaitable[object]) -> None:
        """Wait, and say now and then what for."""
        waiting = asyncio.ensure_future(wait)
        try:
            while not (await asyncio.wait({waiting}, timeout=TELL_EVERY))[0]:
                log.info("waiting for %s (%s)", what, self._engine.status())
        finally:
            waiting.cancel()

    def _linked(self) -> list[str]:
        return [to_checksum_address(peer.address) for peer in self._engine.peers()]

    def _p2p(self) -> list[str]:
        others = sorted(peer.endpoint for peer in self._engine.peers() if peer.endpoint)
        return [self._p2p_endpoint, *others]
