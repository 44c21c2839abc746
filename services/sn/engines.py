"""The chain under an SN, as its settings choose it (``SN_CHAIN``)."""

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from services.common.errors import ConfigError, SnUnavailableError
from services.common.rest import listen
from services.common.tls import Identity
from services.sn.adapters.embedded_chain import EmbeddedChain
from services.sn.adapters.engine import SwarmEngine
from services.sn.adapters.entry import Network, find_network
from services.sn.adapters.evm_store import DATABASE
from services.sn.adapters.site import Site
from services.sn.settings import SnSettings

log = logging.getLogger("swarm.SN")

ENTRY_PATIENCE = 600.0
"""Seconds that a joining SN waits for the SN that it was told to join (HPE's took minutes)."""

Opening = AbstractAsyncContextManager[SwarmEngine]


def open_engine(settings: SnSettings, identity: Identity) -> Opening:
    """Open the chain; leaving the context closes it.

    Raises:
        ConfigError: settings, a port or the data folder cannot be used.
        RemoteError: the SN to join does not answer.
        ProtocolError: it refuses us.
    """
    return _ENGINES[settings.sn_chain](settings, identity)


@asynccontextmanager
async def _embedded(settings: SnSettings, identity: Identity) -> AsyncIterator[SwarmEngine]:
    settings.refuse_external()
    entry = settings.entry()
    with listen(settings.swarm_bind_ip, settings.sn_p2p_listen_port, "the SN's p2p") as p2p_sock:
        network = Network(p2p=[])
        if entry is None:
            log.info("SENTINEL_NODE_IP environment variable is not set")
        else:
            network = await _whom_to_join(
                identity, entry, restart=(settings.sn_data_dir / DATABASE).exists()
            )
        if entry is not None and not settings.sn_start_mining:
            log.info("SN_START_MINING=False: this SN keeps the chain, but seals no blocks")
        engine = await EmbeddedChain.open(
            settings.sn_data_dir, sentinel=entry is None, identity=identity, p2p_sock=p2p_sock,
            join=network.p2p, mine=settings.sn_start_mining,
            announce=settings.p2p_endpoint(socket.gethostname(), p2p_sock.getsockname()[1]),
        )  # fmt: skip
        try:
            _require_chain_of(network, engine, settings)
            yield engine
        finally:
            await engine.close()


def _require_chain_of(network: Network, engine: EmbeddedChain, settings: SnSettings) -> None:
    """Refuse a data folder that holds another swarm's chain than the SN to join has."""
    held, theirs = engine.genesis, network.genesis
    if held and theirs and held != theirs:
        raise ConfigError(
            f"{settings.sn_data_dir} holds another chain (genesis block {held[:12]}...) than the "
            f"SN to join at {settings.entry()} ({theirs[:12]}...): it belongs to another swarm, or "
            "one of the two began anew. Name the right folder (SN_DATA_DIR) or the right SN to "
            "join; or, if this chain is not needed any more, empty the folder: this SN fetches the "
            "chain from the other SNs"
        )


async def _whom_to_join(identity: Identity, entry: str, *, restart: bool) -> Network:
    """What the SN named says; one that restarts also knows others, so it can do without."""
    try:
        network = await find_network(identity, entry, 0.0 if restart else ENTRY_PATIENCE)
    except SnUnavailableError as exc:
        if not restart:
            raise
        log.warning("%s. Going on with the SNs known from before", exc)
        return Network(p2p=[])
    _require_alike(network, entry, external=False)
    return network


@asynccontextmanager
async def _external(settings: SnSettings, identity: Identity) -> AsyncIterator[SwarmEngine]:
    from services.sn.adapters.rpc_chain import RpcChain  # it brings web3, 18 MB

    engine = await RpcChain.open(
        settings.sn_data_dir, settings.rpc_url(), identity=identity,
        key_file=settings.sn_eth_key_file,
        learn=None if settings.sn_i_am_sentinel else partial(_learn_site, settings, identity),
    )  # fmt: skip
    try:
        yield engine
    finally:
        await engine.close()


async def _learn_site(settings: SnSettings, identity: Identity) -> Site:
    """Where the swarm is, from the SN named."""
    entry = settings.entry()
    assert entry is not None, "a sentinel asks nobody"
    network = await find_network(identity, entry, ENTRY_PATIENCE)
    _require_alike(network, entry, external=True)
    assert network.site is not None
    return network.site


def _require_alike(network: Network, entry: str, *, external: bool) -> None:
    if (network.site is not None) != external:
        kinds = ("an external chain (SN_CHAIN=rpc)", "the embedded chain (SN_CHAIN=embedded)")
        theirs, ours = reversed(kinds) if external else kinds
        raise ConfigError(
            f"the SN to join, {entry}, is set to {theirs} and this one to {ours}: all SNs of a "
            "swarm must be set alike"
        )


_ENGINES: dict[str, Callable[[SnSettings, Identity], Opening]] = {
    "embedded": _embedded,
    "rpc": _external,
}
