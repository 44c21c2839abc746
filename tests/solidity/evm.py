"""The swarm's contracts on an in-process EVM, for tests.

No blocks, signatures or accounts: a call is one EVM message at the present chain time, which only
``advance`` changes. That takes a few milliseconds, so that property tests can afford thousands.

    evm = Evm()
    evm.nodes.call("register", uid, 1, False, "h:1", "", "", uid, bytes(32))
    training = evm.deploy_training()
    events = training.call("enrol", 1, uid, 2, b"mean", False, True, 600, 0)
    training.view("summary")
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import rlp
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS, ZERO_HASH32
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth_abi import decode, encode
from eth_utils import keccak, to_canonical_address

import contracts

OWNER = bytes.fromhex("11" * 20)
"""Deploys the contracts; the first writer."""
STRANGER = bytes.fromhex("22" * 20)
"""Nobody's account."""
START = 1_700_000_000
GAS = 10_000_000


class RevertedError(Exception):
    """The contract refused the call."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class BrokenError(Exception):
    """The call ended with a panic, or out of gas: a bug in the contract."""


@dataclass(frozen=True)
class Event:
    """One event that a call emitted."""

    name: str
    args: dict[str, Any]


class Evm:
    """A state with a SwarmRegistry and a NodeRegistry."""

    def __init__(self) -> None:
        self.now = START
        self._state = PragueState(AtomicDB(), self._context(), BLANK_ROOT_HASH)
        self._deployed = 0
        self.registry = self.deploy("SwarmRegistry")
        self.nodes = self.deploy("NodeRegistry", self.registry.address)

    def deploy(self, name: str, *arguments: Any) -> "Deployed":
        """Deploys one of our contracts as ``OWNER``."""
        interface = _interface(name)
        self._deployed += 1
        address = keccak(rlp.encode([OWNER, self._deployed]))[12:]
        code = interface.creation(arguments)
        message = Message(
            gas=GAS,
            to=CREATE_CONTRACT_ADDRESS,
            sender=OWNER,
            value=0,
            data=b"",
            code=code,
            create_address=address,
        )
        self._run(message, self._state.computation_class.apply_create_message)
        return Deployed(self, interface, address)

    def code(self, address: bytes) -> bytes:
        """What is deployed at an address."""
        return bytes(self._state.get_code(address))

    def deploy_training(self) -> "Deployed":
        """A fresh TrainingContract of this swarm."""
        return self.deploy("TrainingContract", self.registry.address, self.nodes.address)

    def overwrite(self, address: bytes, old: int, new: int) -> None:
        """Replaces ``old``, which one of a contract's first storage slots holds.

        For what would take thousands of calls; what it means to the contract, its views tell.
        """
        (slot,) = [n for n in range(64) if self._state.get_storage(address, n) == old]
        self._state.set_storage(address, slot, new)
        self._state.lock_changes()

    def advance(self, seconds: int) -> None:
        """Lets chain time pass."""
        self.now += seconds
        self._state.execution_context = self._context()

    def message(self, to: bytes, data: bytes, sender: bytes, *, static: bool = False) -> Any:
        """Executes one call; returns the py-evm computation."""
        message = Message(
            gas=GAS,
            to=to,
            sender=sender,
            value=0,
            data=data,
            code=self._state.get_code(to),
            is_static=static,
        )
        return self._run(message, self._state.computation_class.apply_message)

    def _run(self, message: Message, apply: Any) -> Any:
        context = self._state.get_transaction_context_class()(gas_price=0, origin=message.sender)
        computation = apply(self._state, message, context)
        self._state.lock_changes()  # forgets which storage is warm, as between transactions
        if computation.is_error:
            raise _refusal(computation)
        return computation

    def _context(self) -> ExecutionContext:
        return ExecutionContext(
            coinbase=OWNER,
            timestamp=self.now,
            block_number=1,
            difficulty=0,
            mix_hash=ZERO_HASH32,
            gas_limit=GAS,
            prev_hashes=(),
            chain_id=1,
            base_fee_per_gas=0,
            excess_blob_gas=0,
        )


class Deployed:
    """One deployed contract."""

    def __init__(self, evm: Evm, interface: "_Interface", address: bytes) -> None:
        self._evm = evm
        self._interface = interface
        self.address = address
        self.gas_used = 0
        """Of the last call, without what a transaction costs in itself."""

    def call(self, function: str, *arguments: Any, sender: bytes = OWNER) -> list[Event]:
        """Calls a function and returns this contract's events in order.

        Raises:
            RevertedError: the contract refused.
            BrokenError: it panicked.
        """
        data = self._interface.call_data(function, arguments)
        computation = self._evm.message(self.address, data, sender)
        self.gas_used = computation.get_gas_used()
        return [
            self._interface.event(topics, data)
            for address, topics, data in computation.get_log_entries()
            if address == self.address
        ]

    def view(self, function: str, *arguments: Any) -> Any:
        """Calls a view; returns its value, or a dict where it has several named ones."""
        data = self._interface.call_data(function, arguments)
        output = self._evm.message(self.address, data, OWNER, static=True).output
        return self._interface.result(function, output)

    @property
    def functions(self) -> dict[str, dict[str, Any]]:
        """The ABI entries of its functions by name."""
        return self._interface.functions


class _Interface:
    """What a contract's ABI says: names to bytes, and back."""

    def __init__(self, name: str) -> None:
        artifact = contracts.load(name)
        self._bytecode = bytes.fromhex(artifact.bytecode.removeprefix("0x"))
        by_type: dict[str, list[dict[str, Any]]] = {}
        for entry in artifact.abi:
            by_type.setdefault(entry["type"], []).append(entry)
        self._constructor = [
            _type(field) for entry in by_type["constructor"] for field in entry["inputs"]
        ]
        self.functions = {entry["name"]: entry for entry in by_type["function"]}
        self._events = {_hash(entry): entry for entry in by_type["event"]}

    def creation(self, arguments: tuple[Any, ...]) -> bytes:
        return self._bytecode + encode(self._constructor, arguments)

    def call_data(self, function: str, arguments: tuple[Any, ...]) -> bytes:
        entry = self.functions[function]
        return _hash(entry)[:4] + encode([_type(field) for field in entry["inputs"]], arguments)

    def result(self, function: str, output: bytes) -> Any:
        fields = self.functions[function]["outputs"]
        values = decode([_type(field) for field in fields], output)
        if len(fields) == 1:
            return _plain(fields[0], values[0])
        return {f["name"]: _plain(f, v) for f, v in zip(fields, values, strict=True)}

    def event(self, topics: tuple[int, ...], data: bytes) -> Event:
        entry = self._events[topics[0].to_bytes(32, "big")]
        values = decode([_type(field) for field in entry["inputs"]], data)
        args = {f["name"]: _plain(f, v) for f, v in zip(entry["inputs"], values, strict=True)}
        return Event(entry["name"], args)


def uid(number: int) -> bytes:
    """A node id that looks like one, always the same for a number."""
    return hashlib.sha256(b"uid %d" % number).digest()[:16]


def digest(*words: object) -> bytes:
    """A model's digest, always the same for the same words."""
    return hashlib.sha256(repr(words).encode()).digest()


_INTERFACES: dict[str, _Interface] = {}


def _interface(name: str) -> _Interface:
    if name not in _INTERFACES:
        _INTERFACES[name] = _Interface(name)
    return _INTERFACES[name]


def _type(field: dict[str, Any]) -> str:
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type(part) for part in field["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def _plain(field: dict[str, Any], value: Any) -> Any:
    if field["type"] == "tuple":
        return {f["name"]: v for f, v in zip(field["components"], value, strict=True)}
    if field["type"] == "address":
        return to_canonical_address(value)
    if field["type"].endswith("[]"):
        return list(value)
    return value


def _hash(entry: dict[str, Any]) -> bytes:
    types = ",".join(_type(field) for field in entry["inputs"])
    return keccak(text=f"{entry['name']}({types})")


_REFUSED = keccak(text="Refused(string,string)")[:4]


def _refusal(computation: Any) -> Exception:
    output = bytes(computation.output)
    if output[:4] == _REFUSED:
        return RevertedError(*decode(["string", "string"], output[4:]))
    return BrokenError(f"{computation.error!r} {output.hex()}")
