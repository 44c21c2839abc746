"""The system contracts on an external chain: deploying them once, and knowing them again.

The account may have sent transactions before, and other programs may use it at the same time. So
the sentinel decides first, durably, which two numbers of its account the deployments get, and so
at which addresses the contracts will be. Whatever happens then, sending those two transactions
again cannot make a second pair; and only when other transactions have used up the numbers is a new
plan needed.
"""

import asyncio
import logging
from typing import Any

from services.common.errors import ChainUnavailableError, ConfigError
from services.sn.adapters import abi
from services.sn.adapters.engine import Engine, Provider
from services.sn.adapters.outbox import GAS, Outbox, Sent
from services.sn.adapters.requests import RpcError, ask, plain_int
from services.sn.adapters.site import Site

log = logging.getLogger("swarm.chain")

LOOK_S = 0.25
"""Pause between two looks whether the contracts are there."""
RESEND_S = 2.0


def creations(site: Site) -> list[tuple[str, bytes]]:
    """Address of each system contract, and what deploys it there."""
    registry, nodes = site.addresses()
    return [
        (registry, abi.abi(abi.REGISTRY).creation()),
        (nodes, abi.abi(abi.NODES).creation(registry)),
    ]


async def require_contracts(provider: Provider, site: Site, client: str) -> None:
    """See that the contracts are where they should be.

    Raises:
        ConfigError: other contracts are there.
        ChainUnavailableError: none are there, or not yet.
    """
    for at, creation in creations(site):
        code = await ask(provider, "eth_getCode", at, "latest")
        if code in ("0x", "", None):
            raise ChainUnavailableError(
                f"the swarm's contract {at} is not on the chain of the Ethereum client at "
                f"{client}: it is catching up still, or has lost its data"
            )
        if code != await _runtime(provider, site, creation):
            raise ConfigError(
                f"the contract {at} on the chain of the Ethereum client at {client} is not the one "
                "that this version deploys: run the version of the other SNs"
            )


async def _runtime(provider: Provider, site: Site, creation: bytes) -> Any:  # noqa: ANN401 - JSON
    """The code that a creation leaves: the client runs it, and keeps nothing."""
    call = {"from": site.deployer, "data": f"0x{creation.hex()}", "gas": hex(GAS)}
    return await ask(provider, "eth_call", call, "latest")


class Deployment:
    """One plan being carried out.

    Args:
        engine: the chain and the account.
        site: the plan.
    """

    def __init__(self, engine: Engine, site: Site) -> None:
        self._engine = engine
        self._site = site
        self._outbox = Outbox(engine)

    async def go_on(self) -> bool:
        """Send what is missing and wait for it; harmless to repeat.

        Returns:
            Whether the contracts are there; False: other transactions took the numbers.

        Raises:
            ConfigError: the client refuses the transactions.
            ChainUnavailableError: it does not answer.
        """
        loop = asyncio.get_running_loop()
        resend = loop.time()
        while True:
            used = plain_int(
                await self._ask("eth_getTransactionCount", self._site.deployer, self._engine.final)
            )
            if used > self._site.nonce + 1:
                return await self._are_there()
            if loop.time() >= resend:
                resend = loop.time() + RESEND_S
                await self._send(used)
            await asyncio.sleep(LOOK_S)

    async def _are_there(self) -> bool:
        codes = [await self._ask("eth_getCode", at, "latest") for at, _ in creations(self._site)]
        return all(code not in ("0x", "", None) for code in codes)

    async def _send(self, used: int) -> None:
        for number, (at, creation) in enumerate(creations(self._site), start=self._site.nonce):
            if number < used:
                continue
            sent, raw = self._outbox.signed(None, creation, number)
            try:
                await self._ask("eth_sendRawTransaction", raw)
                log.info("deploying %s in transaction %s", at, sent.hash)
            except RpcError as exc:
                await self._require_taken(sent, exc)

    async def _require_taken(self, sent: Sent, refusal: RpcError) -> None:
        """Accept a refusal where the number is spoken for: by this transaction or by another.

        Raises:
            ConfigError: it is not, so the client does not want us.
        """
        if await self._ask("eth_getTransactionByHash", f"0x{sent.hash}") is not None:
            return
        account = self._site.deployer
        if plain_int(await self._ask("eth_getTransactionCount", account, "pending")) > sent.nonce:
            return
        raise ConfigError(
            f"the Ethereum client refuses to deploy the swarm's contracts ({refusal}): it must "
            f"take transactions of account {account} with gas price 0 and {GAS} gas"
        ) from refusal

    async def _ask(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        return await ask(self._engine.provider, method, *params)
