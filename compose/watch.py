"""Follows a training contract through an SN's long poll; keeps what progress and results need."""

import asyncio
import logging
from collections.abc import Callable

from services.common import sn_api as api
from services.common.errors import NotFoundError, RemoteError, SwarmError
from services.common.sn_client import SnClient

log = logging.getLogger("swarm.compose")

POLL_SECONDS = 5.0
"""Length of one long poll; short, as we send no heartbeats that would show that an SN hangs."""
RETRY_SECONDS = 0.5
ASK_SECONDS = 1.0
"""Between two questions where each peer enrolled, while not all did in our contract."""
ANSWER_SECONDS = 3.0
"""For the answer; who asks has other nodes to look after."""
PAUSE_SECONDS = 0.25
"""Between two answers: people read no faster, and the SN has rounds to serve."""


class ContractWatch:
    """The contract as it is now, as far as an SN says.

    Args:
        client: of the SNs.
        contract: its name.
        on_change: called after each change.
    """

    def __init__(self, client: SnClient, contract: str, on_change: Callable[[], None]) -> None:
        self.client = client
        self.contract = contract
        self.view: api.ContractView | None = None
        self.curve: dict[tuple[int, str], api.Perf] = {}
        """Loss and metric by round and peer, as the peers reported them."""
        self._on_change = on_change
        self._completed_at: float | None = None
        self._asked_at = float("-inf")
        self._places: dict[str, str] | None = {}

    async def run(self) -> None:
        """Follow until cancelled; where one SN is away the next is asked."""
        cursor = ""
        while True:
            try:
                if cursor:
                    state = await self.client.watch(self.contract, cursor, POLL_SECONDS)
                else:
                    state = await self.client.state(self.contract)
            except (RemoteError, NotFoundError) as exc:
                log.info("watching %s: %s", self.contract, exc)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            cursor = state.cursor
            self._take(state.view)
            await asyncio.sleep(PAUSE_SECONDS)

    def _take(self, view: api.ContractView) -> None:
        self.view = view
        if view.phase is not api.Phase.COMPLETED:
            self._completed_at = None
        elif self._completed_at is None:
            self._completed_at = asyncio.get_running_loop().time()
        for peer in view.peers:
            if peer.perf is not None:
                self.curve[peer.perf_round, peer.uid] = peer.perf
        self._on_change()

    @property
    def completed(self) -> bool:
        """Whether the training is over."""
        return self.view is not None and self.view.phase is api.Phase.COMPLETED

    @property
    def completed_ago(self) -> float:
        """For how many seconds the training has been over, as far as we saw."""
        if self._completed_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._completed_at

    def enrolled(self, uid: str) -> bool:
        """Whether a peer ever enrolled, as far as we saw."""
        return self.view is not None and any(peer.uid == uid for peer in self.view.peers)

    async def places(self) -> dict[str, str] | None:
        """The contract in which each peer enrolled, by UID; None where nobody can say.

        The answer is at most :data:`ASK_SECONDS` old.
        """
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            self._places = await self._ask()
        return self._places

    async def _ask(self) -> dict[str, str] | None:
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for summary in await self.client.contracts():
                    if summary.peers:
                        state = await self.client.state(summary.name)
                        found.update((peer.uid, summary.name) for peer in state.view.peers)
        except (SwarmError, TimeoutError) as exc:
            log.info("asking where the peers enrolled: %s", exc)
            return None
        return found

    def perf(self) -> list[dict[str, object]]:
        """Loss and metric of each merged model on each peer's validation data, by round."""
        return [
            {"round": number, "peer": uid, **perf.model_dump()}
            for (number, uid), perf in sorted(self.curve.items())
        ]

    @property
    def rounds(self) -> int:
        """How many rounds were published, as far as we saw."""
        merged = self.view.merged if self.view is not None else None
        return merged.round if merged is not None else 0

    async def ledger(self) -> list[api.RoundRecord] | None:
        """Every published round; None, with a line in our log, where no SN answers."""
        try:
            return await self.client.rounds(self.contract)
        except SwarmError as exc:
            log.warning("the ledger could not be fetched: %s", exc)
            return None
