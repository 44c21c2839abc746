"""A chain whose blocks a test writes by hand, forks included; for what follows a chain.

Stands in for `services.sn.adapters.chain.Chain`'s reading half. Its logs are ABI-encoded from the
ledger's events, so the decoder under test is the real one.
"""

import asyncio
import hashlib
from dataclasses import fields

from eth_abi.abi import encode

from services.common.ids import NodeKind
from services.common.sn_api import PeerState, Perf
from services.sn.adapters import abi
from services.sn.adapters.chain import Chain, Head, Log

REGISTRY, NODES, TRAINING = (f"0x{digit * 40}" for digit in "123")


class FakeChain:
    """Blocks in memory; the head is the last of `self.blocks`."""

    def __init__(self):
        self.blocks = []
        self.receipts = {}
        self.reads = 0
        self.log_ranges = []
        self.cut_off = False
        self._logs = {}
        self._changed = asyncio.Event()
        self.extend()

    def is_cut_off(self):
        return self.cut_off

    def extend(self, *events, transactions=()):
        """Append a block with these pairs of address and event."""
        parent = self.blocks[-1].hash if self.blocks else "0" * 64
        number, salt = len(self.blocks), f"{parent}{events}{transactions}"
        block = Head(
            number=number, hash=hashlib.sha256(salt.encode()).hexdigest(), time=1000 + number,
            parent=parent, transactions=frozenset(transactions),
        )  # fmt: skip
        self.blocks.append(block)
        self._logs[block.hash] = [_log(at, event, block) for at, event in events]
        self._changed.set()
        self._changed = asyncio.Event()
        return block

    def fork(self, number):
        """Take back every block after `number`; the next ones are on another branch."""
        del self.blocks[number + 1 :]

    async def head(self):
        return self.blocks[-1]

    async def block(self, number):
        self.reads += 1
        return self.blocks[number] if number < len(self.blocks) else None

    async def logs(self, first, last, address=""):
        self.log_ranges.append((first, last))
        found = [x for block in self.blocks[first : last + 1] for x in self._logs[block.hash]]
        return [x for x in found if address in ("", x.address)]

    blocks_of = Chain.blocks_of

    async def logs_of(self, block_hash):
        return self._logs[block_hash]

    async def receipt(self, transaction):
        return self.receipts.get(transaction)

    def status(self):
        return "linked to 1 of 3 signers"

    async def reason(self, sent, number):
        raise AssertionError("the receipt says it")

    async def wait_for_head(self, after):
        while self.blocks[-1].hash == after:
            await self._changed.wait()


def _log(address, event, block):
    topic, data = encoded(address, event)
    return Log(address, (topic,), data, block.number, block.hash, "t" * 64)


def encoded(address, event):
    """First topic and data of an event, as the contract at `address` emits it."""
    kind = {REGISTRY: abi.REGISTRY, NODES: abi.NODES, TRAINING: abi.TRAINING}[address]
    topic, shape = next(
        (topic, shape)
        for topic, shape in abi.abi(kind)._events.items()
        if shape.make is type(event)
    )
    values = [_plain(getattr(event, f.name), i.type) for f, i in _paired(event, shape)]
    return topic, encode([i.type for i in shape.inputs], values)


def _paired(event, shape):
    by_name = {f.name: f for f in fields(event)}
    return [(by_name[i.field], i) for i in shape.inputs]


def _plain(value, kind):
    if isinstance(value, NodeKind):
        return abi.NODE_KINDS[value]
    if isinstance(value, PeerState):
        return abi.PEER_STATES.index(value)
    if isinstance(value, Perf) or value is None:
        return abi.perf_tuple(value)
    if isinstance(value, tuple):
        return [bytes.fromhex(item) for item in value]
    if kind.startswith("bytes"):
        return bytes.fromhex(value) if len(value) % 32 == 0 else abi.method_bytes(value)
    return value
