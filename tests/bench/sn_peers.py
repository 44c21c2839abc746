"""Peers that take part in a training without any model, and what the ledger says about it.

They speak to the SNs as an SL does (register, heartbeats, long poll, writes), but learn nothing:
digests are made up, and merging takes no time.
"""

import asyncio
import hashlib
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from eth_utils.abi import event_abi_to_log_topic

import contracts
from services.common import sn_api as api
from services.common.errors import ProtocolError
from services.common.ids import DEFAULT_CONTRACT, NO_DIGEST, NodeKind
from services.common.sn_client import SnClient
from tests.bench.sn_swarm import PATIENCE, Sn, SnSwarm

BATCH = 50
"""Calls that the SN takes in one JSON-RPC request."""
PERF = api.Perf(loss=0.25, metric=0.75, epochs=1, total_epochs=10)


class Peer:
    """One simulated SL node, registered with one SN."""

    def __init__(self, swarm: SnSwarm, sn: Sn, name: str) -> None:
        self.uid = uuid.uuid5(uuid.NAMESPACE_DNS, name).hex
        self.client = SnClient(swarm.pki.identity(NodeKind.SL, name), [sn.endpoint], PATIENCE)
        self.me = api.NodeRegistration(
            kind=NodeKind.SL, endpoint=f"sl-{name}:30305", container=f"sl{name}", version="bench"
        )
        self.sent = 0
        self.refused = 0
        """Writes that came too late, e.g. because the round went on without this peer."""
        self.first_seen: dict[int, float] = {}
        """When each round was first seen open."""

    async def join(self, min_peers: int) -> None:
        """Register and enrol."""
        await self.client.register(self.uid, self.me)
        await self._write("enrol", api.Enrol(min_peers=min_peers))

    async def beat(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await asyncio.sleep((await self.client.alive(self.uid)).heartbeat_s)

    async def check_in(self, view: api.ContractView | None = None) -> api.ContractState:
        """Check in to the view's round (the first one without a view), with a new digest."""
        self.sent += 1
        merged = view.merged if view is not None else None
        body = api.CheckIn(
            generation=1, round=view.round if view is not None else 1,
            base=merged.digest if merged is not None else NO_DIGEST,
            digest=made_up(self.uid, self.sent), size=1_000_000, weightage=1,
            state=api.PeerState.TRAINING, perf=PERF if merged is not None else None,
        )  # fmt: skip
        return await self._write("checkin", body)

    async def take_part(self, rounds: int) -> None:
        """Check in, and lead where elected, until so many rounds are published."""
        state = await self.client.state(DEFAULT_CONTRACT)
        while True:
            view = state.view
            self.first_seen.setdefault(view.round, time.perf_counter())
            if view.round > rounds:
                return
            try:
                acted = await self._act(view)
            except ProtocolError:  # as an SL does: look again
                self.refused += 1
                acted = await self.client.state(DEFAULT_CONTRACT)
            state = acted or await self.client.watch(DEFAULT_CONTRACT, state.cursor, 30)

    async def _act(self, view: api.ContractView) -> api.ContractState | None:
        me = next(peer for peer in view.peers if peer.uid == self.uid)
        if me.checkin is None and view.phase in {api.Phase.CHECKIN, api.Phase.QUORUM}:
            return await self.check_in(view)
        if view.leader != self.uid:
            return None
        term = {"generation": 1, "round": view.round, "term": view.term}
        if view.phase is api.Phase.QUORUM and all(p.checkin for p in view.peers if p.live):
            return await self._write("freeze", api.OfTerm(**term))
        if view.phase is api.Phase.MERGING:
            contributors = sorted(p.uid for p in view.peers if p.participant and not p.dropped)
            body = api.Publish(
                **term, digest=made_up("merged", view.round), size=1_000_000,
                contributors=contributors,
            )  # fmt: skip
            return await self._write("publish", body)
        return None

    async def _write(self, verb: str, body: Any) -> api.ContractState:
        return await self.client.peer(DEFAULT_CONTRACT, self.uid, verb, body)


def made_up(*words: object) -> str:
    """A digest of nothing, another one for other words."""
    return hashlib.sha256(repr(words).encode()).hexdigest()


@asynccontextmanager
async def peers_of(swarm: SnSwarm, count: int, min_peers: int) -> AsyncIterator[list[Peer]]:
    """Enrolled peers spread over the SNs, with heartbeats while the body runs."""
    sns = swarm.sns
    peers = [Peer(swarm, sns[n % len(sns)], str(n)) for n in range(count)]
    beats: list[asyncio.Task[None]] = []
    try:
        await peers[0].join(min_peers)
        beats.append(asyncio.create_task(peers[0].beat()))
        for peer in peers[1:]:
            await peer.join(min_peers)
            beats.append(asyncio.create_task(peer.beat()))
        yield peers
    finally:
        for beat in beats:
            beat.cancel()
        await asyncio.gather(*beats, return_exceptions=True)
        await asyncio.gather(*(peer.client.close() for peer in peers))


class Ledger:
    """Read-only JSON-RPC of one SN, as an auditor."""

    def __init__(self, swarm: SnSwarm, sn: Sn) -> None:
        identity = swarm.pki.identity(NodeKind.SWCI, "bench")
        self._url = f"https://{sn.endpoint}/eth"
        self._http = httpx.AsyncClient(
            verify=identity.client_context(), trust_env=False, timeout=PATIENCE
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def head(self) -> int:
        """Number of the newest block."""
        return int((await self._ask([("eth_blockNumber", [])]))[0], 16)

    async def transactions(self, first: int, last: int) -> int:
        """How many transactions the blocks ``first`` to ``last`` hold."""
        return len(await self._hashes(first, last))

    async def gas(self, first: int, last: int) -> dict[str, tuple[int, int]]:
        """Transactions and mean gas of each by the events that they emitted."""
        hashes = await self._hashes(first, last)
        used: defaultdict[str, list[int]] = defaultdict(list)
        names = topics()
        for receipt in await self._each("eth_getTransactionReceipt", [[h] for h in hashes]):
            events = Counter(names.get(log["topics"][0], "?") for log in receipt["logs"])
            used[" + ".join(events) or "none"].append(int(receipt["gasUsed"], 16))
        return {kind: (len(g), sum(g) // len(g)) for kind, g in sorted(used.items())}

    async def _hashes(self, first: int, last: int) -> list[str]:
        numbers = [[hex(number), False] for number in range(first, last + 1)]
        blocks = await self._each("eth_getBlockByNumber", numbers)
        return [each for block in blocks for each in block["transactions"]]

    async def _each(self, method: str, params: list[list[Any]]) -> list[Any]:
        found: list[Any] = []
        for chunk in _chunks([(method, each) for each in params]):
            found += await self._ask(chunk)
        return found

    async def _ask(self, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        asked = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
            for n, (method, params) in enumerate(calls)
        ]
        answer = await self._http.post(self._url, json=asked)
        answer.raise_for_status()
        return [item["result"] for item in answer.json()]


def topics() -> dict[str, str]:
    """Names of our contracts' events by their topic."""
    found: dict[str, str] = {}
    for name in ("SwarmRegistry", "NodeRegistry", "TrainingContract"):
        events: list[Any] = [e for e in contracts.load(name).abi if e["type"] == "event"]
        found |= {f"0x{event_abi_to_log_topic(event).hex()}": event["name"] for event in events}
    return found


def _chunks(calls: list[tuple[str, list[Any]]]) -> Iterator[list[tuple[str, list[Any]]]]:
    for start in range(0, len(calls), BATCH):
        yield calls[start : start + BATCH]
