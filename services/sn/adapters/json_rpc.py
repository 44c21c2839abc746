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
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_node import EvmNode
from services.sn.adapters.evm_rules import TRANSACTION_GAS_CAP
from services.sn.adapters.json_params import chosen, plain, unhex
from services.sn.adapters.json_params import number as number
from services.sn.adapters.json_views import (
    Json,
    block_receipts,
    block_view,
    certificate_view,
    hexed,
    hexed32,
    log_view,
    proof_view,
    receipt_view,
    snapshot_view,
    time_of,
    transaction_at,
    transaction_view,
)

READ_METHODS = frozenset(
    {
        "web3_clientVersion",
        "net_version",
        "net_listening",
        "net_peerCount",
        "eth_chainId",
        "eth_syncing",
        "eth_accounts",
        "eth_blockNumber",
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getBlockTransactionCountByNumber",
        "eth_getBlockTransactionCountByHash",
        "eth_getBlockReceipts",
        "eth_getTransactionByHash",
        "eth_getTransactionByBlockNumberAndIndex",
        "eth_getTransactionByBlockHashAndIndex",
        "eth_getTransactionReceipt",
        "eth_getTransactionCount",
        "eth_getLogs",
        "eth_call",
        "eth_estimateGas",
        "eth_getCode",
        "eth_getBalance",
        "eth_getStorageAt",
        "eth_getProof",
        "eth_gasPrice",
        "eth_maxPriorityFeePerGas",
        "eth_feeHistory",
        "clique_getSigners",
        "clique_getSnapshot",
        "swarm_getCertificate",
    }
)
"""Methods that change nothing."""
SEND = "eth_sendRawTransaction"

METHOD_NOT_FOUND, INVALID_PARAMS, SERVER_ERROR, REVERTED = -32601, -32602, -32000, 3

LATEST = ("latest", "pending")
"""Tags of the newest block, which may wait for votes still."""
FINAL = ("safe", "finalized")
"""Tags of the newest block that a quorum of the signers accepted."""
ZERO = bytes(20)
HASH_DIGITS = 66
"""Characters of a block hash in ``0x`` hex."""
ESTIMATE_MARGIN = 1.1
MAX_FEE_HISTORY = 1024
MAX_PERCENTILES = 100
MAX_PROOFS = 100
"""Slots of one ``eth_getProof``."""

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

    def _net_listening(self) -> bool:
        return True

    def _net_peerCount(self) -> str:  # noqa: N802 - JSON-RPC's name
        return hex(len(self._node.linked))

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
        if tag in FINAL:
            return self._node.decisions.final
        wanted = 0 if tag == "earliest" else number(tag)
        return self._node.chain.get_canonical_block_header_by_number(BlockNumber(wanted))

    def _known(self, tag: object) -> BlockHeaderAPI | None:
        """The header of a block that may not exist."""
        try:
            return self._header(tag)
        except HeaderNotFound:
            return None

    def _eth_getBlockByNumber(self, tag: object, full: bool = False) -> Json | None:  # noqa: N802
        header = self._known(tag)
        return None if header is None else block_view(self._node.chain, header, full=full)

    def _eth_getBlockByHash(self, block_hash: str, full: bool = False) -> Json | None:  # noqa: N802
        return self._eth_getBlockByNumber({"blockHash": block_hash}, full)

    def _eth_getBlockTransactionCountByNumber(self, tag: object) -> str | None:  # noqa: N802
        block = self._eth_getBlockByNumber(tag)
        return None if block is None else hex(len(block["transactions"]))

    def _eth_getBlockTransactionCountByHash(self, block_hash: str) -> str | None:  # noqa: N802
        return self._eth_getBlockTransactionCountByNumber({"blockHash": block_hash})

    def _eth_getBlockReceipts(self, tag: object) -> list[Json] | None:  # noqa: N802
        if isinstance(tag, str) and len(tag) == HASH_DIGITS:
            tag = {"blockHash": tag}
        header = self._known(tag)
        return None if header is None else block_receipts(self._node.chain, header)

    def _eth_getTransactionByBlockNumberAndIndex(  # noqa: N802
        self, tag: object, place: object
    ) -> Json | None:
        header = self._known(tag)
        if header is None:
            return None
        return transaction_at(self._node.chain, header, number(place))

    def _eth_getTransactionByBlockHashAndIndex(  # noqa: N802
        self, block_hash: str, place: object
    ) -> Json | None:
        return self._eth_getTransactionByBlockNumberAndIndex({"blockHash": block_hash}, place)

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
        time = functools.cache(lambda block: time_of(self._node.chain, block))
        rows = chosen(self._node.chain.store.logs(first, last), query)
        return [log_view(row, time(row.block)) for row in rows]

    def _number(self, tag: object) -> int:
        head = self._node.chain.head.block_number
        if tag is None or tag in LATEST:
            return head
        if tag in FINAL:
            return self._node.decisions.final.block_number
        return 0 if tag == "earliest" else min(number(tag), head + 1)

    # --- who may seal ---------------------------------------------------------------------

    def _clique_getSigners(self, tag: object = "latest") -> list[str]:  # noqa: N802
        signers = self._node.chain.signers_after(self._header(tag)).get_sorted_signers()
        return [to_checksum_address(signer) for signer in signers]

    def _clique_getSnapshot(self, tag: object = "latest") -> Json:  # noqa: N802
        header = self._header(tag)
        return snapshot_view(header, self._node.chain.signers_after(header))

    def _swarm_getCertificate(self, tag: object) -> Json | None:  # noqa: N802
        """The votes that made a block final; null for block 0 and one that waits for votes."""
        decisions, header = self._node.decisions, self._header(tag)
        if header.block_number > decisions.final.block_number:
            return None
        votes = decisions.certificate(header.block_number)
        return certificate_view(header, votes, self._node.chain.genesis_hash) if votes else None

    # --- state ----------------------------------------------------------------------------

    def _state(self, tag: object) -> StateAPI:
        return self._node.chain.state_at(self._header(tag)).state

    def _eth_getBalance(self, address: str, tag: object = "latest") -> str:  # noqa: N802
        return hex(self._state(tag).get_balance(Address(unhex(address))))

    def _eth_getCode(self, address: str, tag: object = "latest") -> str:  # noqa: N802
        return hexed(self._state(tag).get_code(Address(unhex(address))))

    def _eth_getStorageAt(self, address: str, slot: object, tag: object = "latest") -> str:  # noqa: N802
        return hexed32(self._state(tag).get_storage(Address(unhex(address)), number(slot)))

    def _eth_getProof(  # noqa: N802 - JSON-RPC's name
        self, address: str, slots: Sequence[object], tag: object = "latest"
    ) -> Json:
        if len(slots) > MAX_PROOFS:
            raise ValueError(f"at most {MAX_PROOFS} slots in one call")
        wanted = [number(slot) for slot in slots]
        return proof_view(self._node.chain, self._header(tag), Address(unhex(address)), wanted)

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
