"""The chain as the SN uses it: read blocks and logs, send transactions, say why one was refused.

Speaks JSON-RPC through a web3 provider, so that the embedded engine and any Ethereum client look
the same. It leaves web3's formatters out: they cost more time than the engine's answers. Gas,
nonce and chain id are always explicit, because estimating costs more than mining.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import rlp
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.exceptions import Web3Exception
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint

from services.common.errors import ChainUnavailableError, ProtocolError, SwarmError
from services.sn.adapters import abi
from services.sn.core.ledger import Block

log = logging.getLogger("swarm.chain")

GAS = 15_000_000
"""Gas allowed to each transaction; none of ours needs half of it, and it costs nothing."""
LOG_BLOCKS = 2_000
"""Most blocks that one request for logs spans."""


class Engine(Protocol):
    """What this module needs of a chain engine."""

    @property
    def provider(self) -> AsyncBaseProvider:
        """Answers JSON-RPC."""
        ...

    @property
    def account(self) -> LocalAccount:
        """This SN's signing key."""
        ...

    @property
    def chain_id(self) -> int:
        """Goes into every transaction."""
        ...

    @property
    def genesis_signer(self) -> str:
        """Account that deploys the system contracts."""
        ...

    @property
    def final(self) -> str:
        """JSON-RPC's tag of the newest block that no other one replaces."""
        ...

    async def wait_for_head(self, after: bytes) -> bytes:
        """The hash of the block tagged :attr:`final`, once it differs from ``after``."""
        ...

    def status(self) -> str:
        """What it does or waits for, in words."""
        ...


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
class Sent:
    """A transaction on its way."""

    hash: str
    """64 hex digits."""
    to: str | None
    """None: it deploys a contract."""
    data: bytes
    nonce: int


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


class _RpcError(ChainUnavailableError):
    """The engine answered a request with an error."""

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message)
        self.data = data


class Chain:
    """One account's view of the chain.

    Args:
        engine: embedded chain, or an Ethereum client.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.account = to_checksum_address(engine.account.address)
        self._sending = asyncio.Lock()
        self._nonce: int | None = None

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
        for start in range(first, last + 1, LOG_BLOCKS):
            stop = min(last, start + LOG_BLOCKS - 1)
            asked = {"fromBlock": hex(start), "toBlock": hex(stop)}
            if address:
                asked["address"] = address
            found += [_log(entry) for entry in await self._request("eth_getLogs", asked)]
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

    async def wait_for_head(self, after: str) -> None:
        """Return once :meth:`head` is another block than ``after``."""
        await self.engine.wait_for_head(bytes.fromhex(after))

    # --- writing

    def deployed_at(self, nonce: int, sender: str | None = None) -> str:
        """Address of the contract that an account's transaction number ``nonce`` deploys."""
        account = bytes.fromhex((sender or self.account).removeprefix("0x"))
        return to_checksum_address(keccak(rlp.encode([account, nonce]))[12:])

    async def send(self, *transactions: tuple[str | None, bytes]) -> list[Sent]:
        """Sign and submit transactions, in order, with nonces that follow each other.

        Args:
            transactions: pairs of the contract's address (None deploys one) and the data.

        Raises:
            ChainUnavailableError: the engine did not take one.
        """
        async with self._sending:
            return [await self._send(to, data) for to, data in transactions]

    async def deploy_and_name(
        self, contract: str, args: Sequence[object], registry: str, name: str, kind: int
    ) -> list[Sent]:
        """Deploy a contract and register it under a name, in two transactions."""
        async with self._sending:
            deployed = await self._send(None, abi.abi(contract).creation(*args))
            at = self.deployed_at(deployed.nonce)
            naming = abi.abi(abi.REGISTRY).call("register", name, kind, at)
            return [deployed, await self._send(registry, naming)]

    async def resynchronise(self) -> None:
        """Forget the local nonce: a transaction was lost or another one took its place."""
        async with self._sending:
            self._nonce = None

    async def reason(self, sent: Sent, block: int) -> ProtocolError:
        """Why a transaction in canonical block ``block`` was refused.

        Calls it again on the state before that block. Where that succeeds, an earlier transaction
        of the same block stood in the way, so the state after it says why.
        """
        for number in (block - 1, block):
            try:
                await self._request("eth_call", self._as_call(sent), hex(number))
            except _RpcError as exc:
                return _refusal(exc)
        return ProtocolError("refused because of another write in the same block; look and retry")

    def _as_call(self, sent: Sent) -> dict[str, str]:
        call = {"from": self.account, "data": f"0x{sent.data.hex()}", "gas": hex(GAS)}
        return {**call, "to": sent.to} if sent.to else call

    async def _send(self, to: str | None, data: bytes) -> Sent:
        for retry in (True, False):
            if self._nonce is None:
                self._nonce = await self._next_nonce()
            sent, raw = self._signed(to, data, self._nonce)
            try:
                await self._request("eth_sendRawTransaction", raw)
            except _RpcError:
                self._nonce = None
                if not retry:
                    raise
                continue
            self._nonce = sent.nonce + 1
            return sent
        raise AssertionError("unreachable")

    def _signed(self, to: str | None, data: bytes, nonce: int) -> tuple[Sent, str]:
        fields: dict[str, Any] = {
            "nonce": nonce, "gas": GAS, "gasPrice": 0, "value": 0, "data": data,
            "chainId": self.engine.chain_id,
        }  # fmt: skip
        if to is not None:
            fields["to"] = to
        signed = self.engine.account.sign_transaction(fields)
        return (
            Sent(signed.hash.hex().removeprefix("0x"), to, data, nonce),
            f"0x{bytes(signed.raw_transaction).hex()}",
        )

    async def _next_nonce(self) -> int:
        return int(await self._request("eth_getTransactionCount", self.account, "pending"), 16)

    # --- requests

    async def _block(self, method: str, which: str) -> Head | None:
        found = await self._request(method, which, False)
        return _head(found) if found is not None else None

    async def _request(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        try:
            answer = await self.engine.provider.make_request(RPCEndpoint(method), list(params))
        except (Web3Exception, OSError) as exc:
            raise ChainUnavailableError(f"the chain does not answer {method}: {exc}") from exc
        error = answer.get("error")
        if error is not None:
            if isinstance(error, str):
                raise _RpcError(f"{method}: {error}")
            raise _RpcError(f"{method}: {error.get('message')}", error.get("data"))
        return answer.get("result")


def _refusal(error: _RpcError) -> ProtocolError:
    found = abi.refusal(_bytes(error.data)) if isinstance(error.data, str) else None
    if found is None:
        return ProtocolError(f"refused by the contract: {error}")
    code, detail = found
    return ProtocolError(detail.strip() or code, code)


def refusal_in(receipt: dict[str, Any]) -> SwarmError | None:
    """The refusal that a receipt itself tells, where the engine puts it there."""
    output = receipt.get("revertReason")
    found = abi.refusal(_bytes(output)) if isinstance(output, str) else None
    return ProtocolError(found[1].strip() or found[0], found[0]) if found else None


def _hex(value: Any) -> str:  # noqa: ANN401 - JSON or bytes, as the provider likes
    return value.removeprefix("0x") if isinstance(value, str) else bytes(value).hex()


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - JSON or bytes, as the provider likes
    return bytes.fromhex(_hex(value))


def _int(value: Any) -> int:  # noqa: ANN401 - JSON or a number, as the provider likes
    return int(value, 16) if isinstance(value, str) else int(value)


def _block_of(entry: Log) -> Block | None:
    return None if entry.time is None else Block(entry.block, entry.block_hash, entry.time)


def _head(found: dict[str, Any]) -> Head:
    return Head(
        number=_int(found["number"]), hash=_hex(found["hash"]), time=_int(found["timestamp"]),
        parent=_hex(found["parentHash"]),
        transactions=frozenset(_hex(item) for item in found["transactions"]),
    )  # fmt: skip


def _log(entry: dict[str, Any]) -> Log:
    return Log(
        address=abi.checksummed(_bytes(entry["address"])),
        topics=tuple(_bytes(topic) for topic in entry["topics"]), data=_bytes(entry["data"]),
        block=_int(entry["blockNumber"]), block_hash=_hex(entry["blockHash"]),
        transaction=_hex(entry["transactionHash"]),
        time=_int(entry["blockTimestamp"]) if entry.get("blockTimestamp") is not None else None,
    )  # fmt: skip
