"""Writers that note what was acknowledged to them, while something else breaks the SNs.

Every writer is an SL of its own, bound to one SN as an SL is whose side of a split has no other.
Its writes are check-ins to a round that never gets its quorum, each with another digest; one that
fails is repeated until it is acknowledged, as an SL does. An operator creates contracts meanwhile.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

import httpx

from services.common import sn_api as api
from services.common.errors import ProtocolError, SnUnavailableError, SwarmError
from services.common.ids import DEFAULT_CONTRACT, NO_DIGEST, NodeId, NodeKind
from services.common.sn_client import SnClient
from tests.faults.sn_network import PATIENCE, SnNetwork, until

MIN_PEERS = 1000
"""More than there are, so that the round stays open."""
RETRY_S = 0.5
CREATE_EVERY_S = 1.0
SAMPLE_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write that an SN said is done."""

    peer: str
    """Uid of the writer; empty for the operator."""
    what: str
    """Digest of the check-in, or name of the contract."""
    sn: str
    sent: float
    answered: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A write that an SN did not acknowledge."""

    sn: str
    why: str
    sent: float
    answered: float


class Writes(AbstractAsyncContextManager["Writes"]):
    """Writes while the context lasts.

    Args:
        sns: where, all started.
        each: writers at every SN.
    """

    def __init__(self, sns: SnNetwork, each: int = 2) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.failed: list[Failed] = []
        self.surprises: list[str] = []
        """What no SN may say whatever breaks, e.g. that it does not know a registered node."""
        self.confirmed: dict[tuple[str, int], str] = {}
        """What an SN said is its newest confirmed block: SN and number, hash."""
        self._sns = sns
        self._each = each
        self._tasks: list[asyncio.Task[None]] = []
        self._go = asyncio.Event()
        self._go.set()
        self._under_way = 0

    async def __aenter__(self) -> Self:
        for sn in self._sns.running:
            writers = [await self._writer(sn, f"{sn}-{n}") for n in range(self._each)]
            self._tasks += [asyncio.create_task(writer.run()) for writer in writers]
            self._tasks.append(asyncio.create_task(self._sample(sn)))
        self._tasks.append(asyncio.create_task(self._create(list(self._sns.running))))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.surprises += [repr(e) for e in ended if not isinstance(e, asyncio.CancelledError)]

    def at(self, sn: str) -> int:
        """How many writes this SN acknowledged."""
        return Counter(each.sn for each in self.acknowledged)[sn]

    async def more(self, count: int = 1, *, at: str | None = None) -> None:
        """Wait until so many more writes are acknowledged, each sent from now on."""
        now = time.monotonic()

        def enough() -> bool:
            new = [a for a in self.acknowledged if a.sent > now and at in (None, a.sn)]
            return len(new) >= count

        where = f"SN {at}" if at else "no SN"
        await until(enough, f"{where} acknowledged {count} more writes", PATIENCE)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Nobody writes inside."""
        self._go.clear()
        await until(lambda: not self._under_way, "a write does not end")
        try:
            yield
        finally:
            self._go.set()

    @asynccontextmanager
    async def one_write(self) -> AsyncIterator[None]:
        """Where each write of a check-in is made."""
        await self._go.wait()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    # --- what is written

    async def _writer(self, sn: str, name: str) -> "_Writer":
        client = self._sns.client(sn, NodeKind.SL, name)
        uid = NodeId(sha256(name.encode()).hexdigest()[:32])
        node = api.NodeRegistration(kind=NodeKind.SL, endpoint=f"sl-{name}:30305", container=name)
        await client.register(uid, node)
        client.sns = client.sns[:1]
        await client.peer(DEFAULT_CONTRACT, uid, "enrol", api.Enrol(min_peers=MIN_PEERS))
        return _Writer(self, sn, uid, client)

    async def _create(self, sns: list[str]) -> None:
        clients = {sn: self._sns.client(sn, NodeKind.SWCI) for sn in sns}
        number = 0
        while True:
            sn, name, sent = sns[number % len(sns)], f"made-{number}", time.monotonic()
            number += 1
            try:
                async with self.one_write():
                    await clients[sn].create_contract(name)
            except ProtocolError as exc:
                self.surprises.append(f"SN {sn} refuses {name}: {exc}")
            except SwarmError as exc:
                self.failed.append(Failed(sn, str(exc), sent, time.monotonic()))
            else:
                self.acknowledged.append(Acknowledged("", name, sn, sent, time.monotonic()))
            await asyncio.sleep(CREATE_EVERY_S)

    async def _sample(self, sn: str) -> None:
        """Note what an SN says is confirmed; whatever breaks, that may never be replaced."""
        while True:
            try:
                (block,) = await self._sns.eth(sn, ("eth_getBlockByNumber", ["finalized", False]))
            except httpx.HTTPError:
                pass
            else:
                number = int(block["number"], 16)
                before = self.confirmed.setdefault((sn, number), block["hash"])
                if before != block["hash"]:
                    self.surprises.append(
                        f"SN {sn} confirmed block {number} as {before}, then as {block['hash']}"
                    )
            await asyncio.sleep(SAMPLE_EVERY_S)


@dataclass(slots=True)
class _Writer:
    writes: Writes
    sn: str
    uid: NodeId
    client: SnClient

    async def run(self) -> None:
        number = 0
        while True:
            digest = sha256(f"{self.uid} {number}".encode()).hexdigest()
            while not await self._written(digest):
                await asyncio.sleep(RETRY_S)
            number += 1

    async def _written(self, digest: str) -> bool:
        async with self.writes.one_write():
            return await self._check_in(digest)

    async def _check_in(self, digest: str) -> bool:
        body = api.CheckIn(
            generation=1, round=1, base=NO_DIGEST, digest=digest, size=1000, weightage=1,
            state=api.PeerState.TRAINING,
        )  # fmt: skip
        sent = time.monotonic()
        try:
            state = await self.client.peer(DEFAULT_CONTRACT, self.uid, "checkin", body)
        except SnUnavailableError as exc:
            self.writes.failed.append(Failed(self.sn, str(exc), sent, time.monotonic()))
            return False
        now = time.monotonic()
        self.writes.acknowledged.append(Acknowledged(self.uid, digest, self.sn, sent, now))
        me = next(peer for peer in state.view.peers if peer.uid == self.uid)
        if me.live and (me.checkin is None or me.checkin.digest != digest):
            self.writes.surprises.append(f"SN {self.sn} acknowledged {digest} and shows {me}")
        return True
