"""The chain as the SN uses it: read blocks and logs, send transactions, say why one was refused.

Speaks JSON-RPC through a web3 provider, so that the embedded engine and any Ethereum client look
the same. Gas, nonce and chain id are always explicit, because estimating costs more than mining.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from services.common.errors import ProtocolError, SwarmError
from services.sn.adapters import abi
from services.sn.adapters.engine import Engine
from services.sn.adapters.outbox import GAS, Outbox
from services.sn.adapters.outbox import Sent as Sent
from services.sn.adapters.requests import RpcError, ask, plain_hex, plain_int
from services.sn.core.ledger import Block

LOG_BLOCKS = 2_000
"""Most blocks that one request for logs spans; fewer where the engine refuses so many."""


@dataclass(frozen=True, slots=True)
class Head(Block):
    """A block with what following the chain needs."""

    parent: str
    """64 hex digits."""
    transactions: frozenset[str]
    """Hashes, 64 hex digits each."""


@dataclass(frozen=True, slots=True)
class Log:
    """One log entry."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: str
    transaction: str
    time: int | None = None
    """Of its block, where the engine says so with the entry."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract's function."""

    contract: str
    """Its kind: the name of its artifact."""
    at: str
    """Its address."""
    function: str
    args: tuple[object, ...]

    def data(self) -> bytes:
        """As a transaction carries it."""
        return abi.abi(self.contract).call(self.function, *self.args)


class Chain:
    """One account's view of the chain.

    Args:
        engine: embedded chain, or an Ethereum client.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.account = to_checksum_address(engine.account.address)
        self.outbox = Outbox(engine)
        """Sends for this account."""

    # --- reading

    async def head(self) -> Head:
        """The newest block that no other one replaces."""
        head = await self._block("eth_getBlockByNumber", self.engine.final)
        assert head is not None, "a chain without a head"
        return head

    async def block(self, number: int) -> Head | None:
        """A canonical block, if there is one of that number."""
        return await self._block("eth_getBlockByNumber", hex(number))

    async def logs(self, first: int, last: int, address: str = "") -> list[Log]:
        """Log entries of the canonical blocks ``first`` to ``last``, in order.

        Args:
            first: number of a block.
            last: number of a block.
            address: of the contract that wrote them; empty: any.
        """
        found: list[Log] = []
        start, span = max(first, self.engine.first_block), LOG_BLOCKS
        while start <= last:
            stop = min(last, start + span - 1)
            asked = {"fromBlock": hex(start), "toBlock": hex(stop)}
            if address:
                asked["address"] = address
            try:
                found += [_log(entry) for entry in await self._request("eth_getLogs", asked)]
            except RpcError:  # too many blocks, or too many entries in them, for this engine
                if start == stop:
                    raise
                span = (stop - start + 1) // 2
                continue
            start = stop + 1
        return found

    async def logs_of(self, block_hash: str) -> list[Log]:
        """Log entries of one block, in order."""
        asked = {"blockHash": f"0x{block_hash}"}
        return [_log(entry) for entry in await self._request("eth_getLogs", asked)]

    async def blocks_of(self, logs: Sequence[Log]) -> dict[int, Block] | None:
        """The blocks of log entries, by number; None: one of them is not canonical any more.

        Asks for a block only where its entries do not say when it was made.
        """
        found: dict[int, Block] = {}
        for entry in logs:
            if entry.block not in found:
                block = _block_of(entry) or await self.block(entry.block)
                if block is None:
                    return None
                found[entry.block] = block
            if found[entry.block].hash != entry.block_hash:
                return None
        return found

    async def has_code(self, address: str) -> bool:
        """Whether a contract lives at ``address``."""
        return str(await self._request("eth_getCode", address, "latest")) not in {"0x", ""}

    async def receipt(self, transaction: str) -> dict[str, Any] | None:
        """The receipt of a transaction that is in a canonical block, else None."""
        found: dict[str, Any] | None = await self._request(
            "eth_getTransactionReceipt", f"0x{transaction}"
        )
        return found

    def status(self) -> str:
        """What the chain does or waits for, in words."""
        return self.engine.status()

    def is_cut_off(self) -> bool:
        """Whether no write can get into the chain here, as far as is known."""
        return self.engine.cut_off

    async def wait_for_head(self, after: str) -> None:
        """Return once :meth:`head` is another block than ``after``."""
        await self.engine.wait_for_head(bytes.fromhex(after))

    # --- why one was refused

    async def reason(self, sent: Sent, block: int) -> ProtocolError:
        """Why a transaction in canonical block ``block`` was refused.

        Calls it again on the state before that block. Where that succeeds, an earlier transaction
        of the same block stood in the way, so the state after it says why.
        """
        for number in (block - 1, block):
            try:
                await self._request("eth_call", self._as_call(sent), hex(number))
            except RpcError as exc:
                return _refusal(exc)
        return ProtocolError("refused because of another write in the same block; look and retry")

    def _as_call(self, sent: Sent) -> dict[str, str]:
        call = {"from": self.account, "data": f"0x{sent.data.hex()}", "gas": hex(GAS)}
        return {**call, "to": sent.to} if sent.to else call

    # --- requests

    async def _block(self, method: str, which: str) -> Head | None:
        found = await self._request(method, which, False)
        return _head(found) if found is not None else None

    async def _request(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        return await ask(self.engine.provider, method, *params)


def _refusal(error: RpcError) -> ProtocolError:
    data = error.data.get("data") if isinstance(error.data, Mapping) else error.data
    found = _refused(data)
    if found is None:
        return ProtocolError(f"refused by the contract: {error}")
    code, detail = found
    return ProtocolError(detail.strip() or code, code)


def refusal_in(receipt: dict[str, Any]) -> SwarmError | None:
    """The refusal that a receipt itself tells, where the engine puts it there."""
    found = _refused(receipt.get("revertReason"))
    return ProtocolError(found[1].strip() or found[0], found[0]) if found else None


def _refused(output: object) -> tuple[str, str] | None:
    """Code and detail of a refusal, if that is what an engine told of a revert."""
    try:
        return abi.refusal(_bytes(output)) if isinstance(output, str) else None
    except ValueError:
        return None  # the engine's own words


def _bytes(value: str | bytes) -> bytes:
    return bytes.fromhex(plain_hex(value))


def _block_of(entry: Log) -> Block | None:
    return None if entry.time is None else Block(entry.block, entry.block_hash, entry.time)


def _head(found: dict[str, Any]) -> Head:
    return Head(
        number=plain_int(found["number"]), hash=plain_hex(found["hash"]),
        time=plain_int(found["timestamp"]), parent=plain_hex(found["parentHash"]),
        transactions=frozenset(plain_hex(item) for item in found["transactions"]),
    )  # fmt: skip


def _log(entry: dict[str, Any]) -> Log:
    time = entry.get("blockTimestamp")
    return Log(
        address=abi.checksummed(_bytes(entry["address"])),
        topics=tuple(_bytes(topic) for topic in entry["topics"]), data=_bytes(entry["data"]),
        block=plain_int(entry["blockNumber"]), block_hash=plain_hex(entry["blockHash"]),
        transaction=plain_hex(entry["transactionHash"]),
        time=None if time is None else plain_int(time),
    )  # fmt: skip
