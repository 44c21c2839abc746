"""What an Ethereum client says of itself and its chain, and whether a swarm can use it."""

from dataclasses import dataclass

from services.common.errors import ConfigError
from services.sn.adapters.outbox import GAS
from services.sn.adapters.requests import RpcError, ask, plain_hex, plain_int
from services.sn.adapters.rpc_provider import NotEthereumError, RpcProvider
from services.sn.adapters.site import Site


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a client."""

    client: str
    """Its address, for people."""
    chain_id: int
    genesis: str
    """Hash of block 0, 64 hex digits."""
    head: int
    """Number of the newest block that counts."""
    gas_limit: int
    """Of a block."""
    base_fee: int
    """Price of gas that the chain itself asks, in wei."""


async def facts_of(provider: RpcProvider, final: str) -> Facts:
    """Ask a client.

    Raises:
        NotEthereumError: what answers is none.
        ChainUnavailableError: nothing answers.
    """
    try:
        genesis = await ask(provider, "eth_getBlockByNumber", "0x0", False)
        head = await ask(provider, "eth_getBlockByNumber", final, False)
        return Facts(
            client=provider.name, chain_id=plain_int(await ask(provider, "eth_chainId")),
            genesis=plain_hex(genesis["hash"]), head=plain_int(head["number"]),
            gas_limit=plain_int(head["gasLimit"]),
            base_fee=plain_int(head.get("baseFeePerGas") or 0),
        )  # fmt: skip
    except (RpcError, TypeError, KeyError, ValueError) as exc:
        raise NotEthereumError(
            f"what answers at {provider.name} is no Ethereum client that we can use ({exc}): check "
            "SN_ETH_RPC_URL, and that its API ETH is open"
        ) from exc


def require_free_gas(facts: Facts) -> None:
    """See that the chain takes our transactions, for nothing.

    Raises:
        ConfigError: it does not.
    """
    chain = f"the chain of the Ethereum client at {facts.client}"
    if facts.gas_limit < GAS:
        raise ConfigError(
            f"{chain} allows {facts.gas_limit} gas to a block, our transactions need up to {GAS}: "
            "raise the gas limit of its genesis file and of what its validators aim at"
        )
    if facts.base_fee > 0:
        raise ConfigError(
            f"{chain} has a base fee ({facts.base_fee} wei): gas must be free for the swarm. Set "
            "zeroBaseFee (Besu) or a genesis base fee of 0, and the client's minimum gas price to 0"
        )


def require_same_chain(facts: Facts, site: Site) -> None:
    """See that the chain is the swarm's.

    Raises:
        ConfigError: it is another.
    """
    if (facts.chain_id, facts.genesis) != (site.chain_id, site.genesis):
        raise ConfigError(
            f"the Ethereum client at {facts.client} is on another chain (id {facts.chain_id}, "
            f"genesis {facts.genesis[:16]}...) than this swarm (id {site.chain_id}, genesis "
            f"{site.genesis[:16]}...): check SN_ETH_RPC_URL; if the chain was made anew on "
            "purpose, the swarm begins anew, too, with empty data folders"
        )
