"""Ethereum's JSON-RPC on the embedded chain.

For AsyncWeb3 in this process, and (what changes nothing) for standard Ethereum tools.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from eth.abc import BlockHeaderAPI, SignedTransactionAPI, StateAPI
from eth.exceptions import HeaderNotFound, PyEVMError, Revert, TransactionNotFound
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_node import EvmNode
from services.sn.adapters.evm_rules import TRANSACTION_GAS_CAP
from services.sn.adapters.evm_store import LogRow
from services.sn.adapters.json_views import (
    Json,
    block_view,
    hexed,
    hexed32,
    log_view,
    receipt_view,
    time_of,
    transaction_view,
)

READ_METHODS = frozenset(
    {
        "web3_clientVersion",
        "net_version",
        "eth_chainId",
        "eth_syncing",
        "eth_accounts",
        "eth_blockNumber",
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getTransactionCount",
        "eth_getLogs",
        "eth_call",
        "eth_estimateGas",
        "eth_getCode",
        "eth_getBalance",
        "eth_getStorageAt",
        "eth_gasPrice",
        "eth_maxPriorityFeePerGas",
        "eth_feeHistory",
    }
)
"""Methods that change nothing."""
SEND = "eth_sendRawTransaction"

METHOD_NOT_FOUND, INVALID_PARAMS, SERVER_ERROR, REVERTED = -32601, -32602, -32000, 3

LATEST = ("latest", "pending", "safe", "finalized")
"""Tags of the newest block: a sealed block is final unless a heavier fork replaces it."""
ZERO = bytes(20)
ESTIMATE_MARGIN = 1.1
MAX_FEE_HISTORY = 1024
MAX_PERCENTILES = 100

Params = Sequence[Any]


class JsonRpc:
    """Answers JSON-RPC calls from one node of the chain."""

    def __init__(self, node: EvmNode) -> None:
        self._node = node
        self._reads: dict[str, Callable[..., Any]] = {
            name: getattr(self, f"_{name}") for name in READ_METHODS
        }

    async def __call__(self, method: str, params: Params) -> Json:
        """Answer one call.

        Returns:
            ``{"jsonrpc": "2.0", "result": ...}`` or ``{"jsonrpc": "2.0", "error": {...}}``;
            the caller adds the id.
        """
        try:
            result = await self._answer(method, [plain(value) for value in params])
        except _UnknownMethodError as exc:
            return _failed(METHOD_NOT_FOUND, f"the method {exc} does not exist")
        except Revert as exc:
            return _failed(REVERTED, "execution reverted", hexed(bytes(exc.args[0])))
        except PyEVMError as exc:
            return _failed(SERVER_ERROR, f"{type(exc).__name__}: {exc}")
        except (ValidationError, ChainUnavailableError) as exc:
            return _failed(SERVER_ERROR, str(exc))
        except (TypeError, ValueError, KeyError, AttributeError) as exc:
            return _failed(INVALID_PARAMS, f"bad parameters for {method}: {exc}")
        return {"jsonrpc": "2.0", "result": result}

    async def _answer(self, method: str, params: list[object]) -> object:
        if method == SEND:
            (raw,) = params
            return hexed(await self._node.submit(unhex(raw)))
        read = self._reads.get(method)
        if read is None:
            raise _UnknownMethodError(method)
        return await self._node.do(read, *params)

    # --- the chain as a whole -------------------------------------------------------------

    def _web3_clientVersion(self) -> str:  # noqa: N802 - JSON-RPC's name
        return "swarm-learning/embedded"

    def _net_version(self) -> str:
        return str(self._node.chain.chain_id)

    def _eth_chainId(self) -> str:  # noqa: N802 - JSON-RPC's name
        return hex(self._node.chain.chain_id)

    def _eth_syncing(self) -> bool:
        return self._node.catching_up

    def _eth_accounts(self) -> list[str]:
        return []

    def _eth_blockNumber(self) -> str:  # noqa: N802 - JSON-RPC's name
        return hex(self._node.chain.head.block_number)

    def _eth_gasPrice(self) -> str:  # noqa: N802 - JSON-RPC's name
        return "0x0"

    def _eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802 - JSON-RPC's name
        return "0x0"

    def _eth_feeHistory(  # noqa: N802 - JSON-RPC's name
        self, count: object, newest: object = "latest", percentiles: Sequence[float] | None = None
    ) -> Json:
        if len(percentiles or ()) > MAX_PERCENTILES:
            raise ValueError(f"at most {MAX_PERCENTILES} percentiles")
        last = self._header(newest).block_number
        blocks = min(number(count), MAX_FEE_HISTORY, last + 1)
        return {
            "oldestBlock": hex(last + 1 - blocks),
            "baseFeePerGas": ["0x0"] * (blocks + 1),
            "gasUsedRatio": [0.0] * blocks,
            "reward": [["0x0"] * len(percentiles or ())] * blocks,
        }

    # --- blocks and transactions ----------------------------------------------------------

    def _header(self, tag: object) -> BlockHeaderAPI:
        if isinstance(tag, Mapping):  # EIP-1898
            if "blockHash" in tag:
                return self._node.chain.get_block_header_by_hash(Hash32(unhex(tag["blockHash"])))
            tag = tag["blockNumber"]
        if tag in LATEST:
            return self._node.chain.head
        wanted = 0 if tag == "earliest" else number(tag)
        return self._node.chain.get_canonical_block_header_by_number(BlockNumber(wanted))

    def _eth_getBlockByNumber(self, tag: object, full: bool = False) -> Json | None:  # noqa: N802
        try:
            return block_view(self._node.chain, self._header(tag), full=full)
        except HeaderNotFound:
            return None

    def _eth_getBlockByHash(self, block_hash: str, full: bool = False) -> Json | None:  # noqa: N802
        try:
            header = self._node.chain.get_block_header_by_hash(Hash32(unhex(block_hash)))
        except HeaderNotFound:
            return None
        return block_view(self._node.chain, header, full=full)

    def _eth_getTransactionByHash(self, wanted: str) -> Json | None:  # noqa: N802
        chain = self._node.chain
        pending = self._node.pool.get(Hash32(unhex(wanted)))
        if pending is not None:
            return transaction_view(pending.transaction, chain.chain_id, None, 0)
        try:
            block, place = chain.get_canonical_transaction_index(Hash32(unhex(wanted)))
            transaction = chain.get_canonical_transaction_by_index(block, place)
        except TransactionNotFound:
            return None
        header = chain.get_canonical_block_header_by_number(block)
        return transaction_view(transaction, chain.chain_id, header, place)

    def _eth_getTransactionReceipt(self, wanted: str) -> Json | None:  # noqa: N802
        return receipt_view(self._node.chain, Hash32(unhex(wanted)))

    def _eth_getTransactionCount(self, address: str, tag: object = "latest") -> str:  # noqa: N802
        account = Address(unhex(address))
        nonce = self._state(tag).get_nonce(account)
        if tag == "pending":
            nonce = self._node.pool.next_nonce(account, nonce)
        return hex(nonce)

    def _eth_getLogs(self, query: Mapping[str, Any]) -> list[Json]:  # noqa: N802
        if query.get("blockHash"):
            header = self._header(query)
            first = last = int(header.block_number)
            if self._node.chain.get_canonical_block_hash(header.block_number) != header.hash:
                raise HeaderNotFound(f"{header} is not canonical")
        else:
            first = self._number(query.get("fromBlock"))
            last = self._number(query.get("toBlock"))
        addresses = {unhex(each) for each in listed(query.get("address"))}
        topics = [{unhex(each) for each in listed(wanted)} for wanted in query.get("topics") or ()]
        time = functools.cache(lambda block: time_of(self._node.chain, block))
        rows = self._node.chain.store.logs(first, last)
        return [log_view(row, time(row.block)) for row in rows if _matches(row, addresses, topics)]

    def _number(self, tag: object) -> int:
        head = self._node.chain.head.block_number
        if tag is None or tag in LATEST:
            return head
        return 0 if tag == "earliest" else min(number(tag), head + 1)

    # --- state ----------------------------------------------------------------------------

    def _state(self, tag: object) -> StateAPI:
        return self._node.chain.state_at(self._header(tag)).state

    def _eth_getBalance(self, address: str, tag: object = "latest") -> str:  # noqa: N802
        return hex(self._state(tag).get_balance(Address(unhex(address))))

    def _eth_getCode(self, address: str, tag: object = "latest") -> str:  # noqa: N802
        return hexed(self._state(tag).get_code(Address(unhex(address))))

    def _eth_getStorageAt(self, address: str, slot: object, tag: object = "latest") -> str:  # noqa: N802
        return hexed32(self._state(tag).get_storage(Address(unhex(address)), number(slot)))

    def _eth_call(self, call: Mapping[str, Any], tag: object = "latest") -> str:
        header = self._header(tag)
        with self._node.chain.get_vm(header).in_costless_state() as state:
            computation = state.costless_execute_transaction(self._spoof(call, header))
        if computation.is_error:
            if isinstance(computation.error, Revert):
                raise Revert(computation.output)
            raise computation.error
        return hexed(computation.output)

    def _eth_estimateGas(self, call: Mapping[str, Any], tag: object = "latest") -> str:  # noqa: N802
        self._eth_call(call, tag)
        header = self._header(tag)
        needed = self._node.chain.estimate_gas(self._spoof(call, header), header)
        return hex(min(int(needed * ESTIMATE_MARGIN), TRANSACTION_GAS_CAP))

    def _spoof(self, call: Mapping[str, Any], header: BlockHeaderAPI) -> SignedTransactionAPI:
        chain = self._node.chain
        sender = Address(unhex(call["from"]) if call.get("from") else ZERO)
        unsigned = chain.create_unsigned_transaction(
            nonce=chain.state_at(header).state.get_nonce(sender),
            gas_price=0,
            gas=min(number(call.get("gas") or TRANSACTION_GAS_CAP), TRANSACTION_GAS_CAP),
            to=Address(unhex(call["to"]) if call.get("to") else b""),
            value=number(call.get("value") or 0),
            data=unhex(call.get("data") or call.get("input") or "0x"),
        )
        return cast("SignedTransactionAPI", SpoofTransaction(unsigned, from_=sender))


class _UnknownMethodError(Exception):
    """The method is none of ours."""


def _failed(code: int, message: str, data: str | None = None) -> Json:
    error: Json = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "error": error}


def _matches(row: LogRow, addresses: set[bytes], topics: list[set[bytes]]) -> bool:
    if addresses and row.address not in addresses:
        return False
    if len(row.topics) < 32 * len(topics):
        return False
    return all(
        not wanted or row.topics[32 * k : 32 * k + 32] in wanted for k, wanted in enumerate(topics)
    )


def plain(value: object) -> object:
    """A parameter as JSON has it: web3 hands bytes, tuples and numbers through in process."""
    if isinstance(value, bytes | bytearray):
        return hexed(bytes(value))
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def number(value: object) -> int:
    """A number in ``0x`` hex, or one from web3 as it is.

    Raises:
        TypeError: it is neither.
        ValueError: it is not hex.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{value!r} is not a number")
    return int(value, 16) if isinstance(value, str) else value


def unhex(value: object) -> bytes:
    """Bytes from ``0x`` hex.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not value.startswith(("0x", "0X")):
        raise ValueError(f"{value!r} is not 0x hex")
    return bytes.fromhex(value[2:])


def listed(value: object) -> list[Any]:
    """A filter field: nothing, one, or a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
