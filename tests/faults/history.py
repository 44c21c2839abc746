"""Whether all SNs tell one history, and whether it holds all that was acknowledged.

Read from the chain itself (blocks and events through ``/eth``) and from the SNs' read models.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from services.common.errors import SwarmError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.sn.adapters import abi
from services.sn.core import ledger
from tests.faults.sn_network import PATIENCE, SnNetwork
from tests.faults.writes import Acknowledged, Writes

LOGS_AT_A_TIME = 200
"""Blocks in one ``eth_getLogs``."""
TOLD = ("replaced by", "lost:", "cannot seal", "linked to", "link to", "in the future", "bug")
"""What in an SN's log explains a lost write."""


@dataclass(frozen=True, slots=True)
class History:
    """One SN's chain."""

    blocks: list[dict[str, Any]]
    """By number."""
    events: list[tuple[int, ledger.LedgerEvent]]
    """Block number and event, in order."""

    @property
    def hashes(self) -> list[str]:
        return [block["hash"] for block in self.blocks]

    def of(self, *kinds: type) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kinds)]


async def one_history(sns: SnNetwork, writes: Writes | None = None) -> History:
    """Wait until all SNs that run have one head, and check all that must be; the history.

    Call it after the writers have ended. Fails where something acknowledged is missing on any SN.
    """
    last = await _one_head(sns)
    told = {name: await _read(sns, name, last) for name in sns.running}
    first, *others = told.values()
    for name, history in told.items():
        assert history.hashes == first.hashes, f"SN {name} has another chain"
        _is_whole(history)
    assert all(history.events == first.events for history in others)
    if writes is not None:
        evidence = _missing(writes, first)
        assert not evidence, "\n".join([*evidence, "", *_explanations(sns)])
    return first


async def _one_head(sns: SnNetwork) -> int:
    """Number of the head, once it is the same everywhere, and so is what the API tells."""
    deadline = time.monotonic() + PATIENCE
    clients = {name: sns.client(name, NodeKind.SWCI, "auditor") for name in sns.running}
    while True:
        seen: dict[str, Any] = {}
        for name, client in clients.items():
            try:
                (head,) = await sns.eth(name, ("eth_getBlockByNumber", ["latest", False]))
                rows = [(row.name, row.address) for row in await client.contracts()]
                nodes = sorted((n.uid, n.parent, n.fingerprint) for n in await client.nodes())
                cursor = (await client.state(DEFAULT_CONTRACT)).cursor
                rounds = await client.rounds(DEFAULT_CONTRACT)
                seen[name] = (head["number"], head["hash"], cursor, rows, nodes, rounds)
            except (SwarmError, httpx.HTTPError) as exc:
                seen[name] = repr(exc)
        one, *others = seen.values()
        if all(other == one for other in others) and not isinstance(one, str):
            return int(one[0], 16)
        heads = {name: str(what)[:120] for name, what in seen.items()}
        assert time.monotonic() < deadline, "\n".join(
            [f"no common head: {heads}", *_explanations(sns)]
        )
        await asyncio.sleep(0.2)


async def _read(sns: SnNetwork, name: str, last: int) -> History:
    asked = [("eth_getBlockByNumber", [hex(n), False]) for n in range(last + 1)]
    blocks = await sns.eth(name, *asked)
    events: list[tuple[int, ledger.LedgerEvent]] = []
    for first in range(0, last + 1, LOGS_AT_A_TIME):
        reach = {"fromBlock": hex(first), "toBlock": hex(min(first + LOGS_AT_A_TIME - 1, last))}
        (logs,) = await sns.eth(name, ("eth_getLogs", [reach]))
        events += [(int(log["blockNumber"], 16), event) for log in logs for event in _decoded(log)]
    return History(blocks, events)


def _decoded(log: dict[str, Any]) -> Iterable[ledger.LedgerEvent]:
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    for kind in (abi.REGISTRY, abi.NODES, abi.TRAINING, abi.TASKS, abi.TASKRUNNER):
        event = abi.abi(kind).event(topics, bytes.fromhex(log["data"][2:]))
        if event is not None:
            yield event
            return


def _is_whole(history: History) -> None:
    """One chain from one genesis block, with nothing in it twice."""
    for before, block in zip(history.blocks, history.blocks[1:], strict=False):
        assert block["parentHash"] == before["hash"]
    transactions = [each for block in history.blocks for each in block["transactions"]]
    assert not _twice(transactions)
    assert not _twice(event.name for event in history.of(ledger.Registered))
    assert not _twice(_check_ins(history))


def _check_ins(history: History) -> list[tuple[object, ...]]:
    """Each check-in, and how often its peer had left or was dropped before: then it may repeat."""
    gone: Counter[str] = Counter()
    found: list[tuple[object, ...]] = []
    for event in history.of(ledger.CheckedIn, ledger.Left, ledger.Dropped):
        if isinstance(event, ledger.CheckedIn):
            what = (event.generation, event.round, event.digest, event.weightage, event.state)
            found.append((event.peer, gone[event.peer], *what))
        else:
            gone[event.peer] += 1
    return found


def _twice(items: Iterable[Any]) -> list[Any]:
    return [item for item, count in Counter(items).items() if count > 1]


def _missing(writes: Writes, history: History) -> list[str]:
    """What was acknowledged and is not there, and what else may not be, in words."""
    there = {(event.peer, event.digest) for event in history.of(ledger.CheckedIn)}
    there |= {("", event.name) for event in history.of(ledger.Registered)}
    lost = [a for a in writes.acknowledged if (a.peer, a.what) not in there]
    replaced = [
        f"SN {sn} said that block {number} {block} is confirmed; it is {history.hashes[number]}"
        for (sn, number), block in writes.confirmed.items()
        if number < len(history.hashes) and history.hashes[number] != block
    ]
    total = len(writes.acknowledged)
    found = [f"{len(lost)} of {total} acknowledged writes are lost:"] if lost else []
    found += [_line(each) for each in lost[:20]]
    return [*found, *replaced[:20], *writes.surprises]


def _line(each: Acknowledged) -> str:
    return (
        f"  at {each.answered:.2f} by SN {each.sn} after {each.answered - each.sent:.2f} s: {each}"
    )


def _explanations(sns: SnNetwork) -> list[str]:
    return [
        f"SN {name}: {line}"
        for name, sn in sns.sns.items()
        for line in sn.said(0).splitlines()
        if any(words in line for words in TOLD)
    ][-60:]
