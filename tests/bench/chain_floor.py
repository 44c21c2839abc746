"""What this machine can do at best, measured in the same run: take ratios to these."""

import os
import tempfile
import time
from collections.abc import Callable

import rlp
from eth.chains.base import MiningChain
from eth.tools.builder.chain import build, disable_pow_check, fork_at, genesis
from eth.vm.forks.london import LondonVM
from eth_account import Account
from eth_utils.crypto import keccak

from tests.bench.sn_peers import Peer
from tests.solidity.evm import _interface, digest, uid

KEY = b"\1" * 32
METHOD = b"mean".ljust(32, b"\0")
WRITTEN = 16_384
"""Bytes of one durable write: about what a block of one transaction adds."""


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of so many runs."""
    found: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


async def request_s(peer: Peer, repeats: int) -> list[float]:
    """Heartbeats: one request each on a kept-open mutual-TLS connection; they write nothing."""
    found: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        await peer.client.alive(peer.uid)
        found.append(time.perf_counter() - began)
    return found


def fsync_s(repeats: int) -> list[float]:
    """Durable appends of ``WRITTEN`` bytes, where temporary folders lie."""
    with tempfile.NamedTemporaryFile() as file:

        def append() -> None:
            file.write(bytes(WRITTEN))
            file.flush()
            os.fsync(file.fileno())

        return seconds(append, repeats)


def block_s(repeats: int) -> list[float]:
    """Stock py-evm makes a block of one check-in: in memory, without seal, disk or other SNs."""
    return seconds(_StockChain().check_in, repeats)


class _StockChain:
    """py-evm as it comes, with our contracts on it and one enrolled peer."""

    def __init__(self) -> None:
        account = Account.from_key(KEY)
        self._sign = account.sign_transaction
        self._sender = bytes.fromhex(account.address[2:])
        rich = {"balance": 10**30, "nonce": 0, "code": b"", "storage": {}}
        self._chain: MiningChain = build(
            MiningChain, fork_at(LondonVM, 0), disable_pow_check(),
            genesis(params={"gas_limit": 6 * 10**8, "difficulty": 1}, state={self._sender: rich}),
        )  # fmt: skip
        self._nonce = 0
        registry = self._deploy("SwarmRegistry")
        nodes = self._deploy("NodeRegistry", registry)
        self._training = self._deploy("TrainingContract", registry, nodes)
        peer = (uid(1), 2, False, "h:1", "c", "1", uid(9), bytes(32))
        self._mine(nodes, _interface("NodeRegistry").call_data("register", peer))
        self._call("enrol", 0, uid(1), 2, METHOD, False, True, 600, 0)

    def check_in(self) -> None:
        """A block with one check-in."""
        perf = (False, 0, 0, 0, 0)
        model = digest("floor", self._nonce)
        self._call("checkIn", 1, uid(1), 1, bytes(32), model, 1000, 1, 0, perf)

    def _deploy(self, name: str, *arguments: object) -> bytes:
        at: bytes = keccak(rlp.encode([self._sender, self._nonce]))[12:]
        self._mine(b"", _interface(name).creation(arguments))
        return at

    def _call(self, function: str, *arguments: object) -> None:
        data = _interface("TrainingContract").call_data(function, arguments)
        self._mine(self._training, data)

    def _mine(self, to: bytes, data: bytes) -> None:
        fields = {
            "nonce": self._nonce, "gas": 15_000_000, "gasPrice": 10**10, "value": 0, "data": data,
            "chainId": self._chain.chain_id, **({"to": to} if to else {}),
        }  # fmt: skip
        raw = bytes(self._sign(fields).raw_transaction)
        transaction = self._chain.get_vm().get_transaction_builder().decode(raw)
        _, receipts, _ = self._chain.mine_all([transaction])
        assert receipts[0].state_root == b"\1", "the contract refused it"
        self._nonce += 1
