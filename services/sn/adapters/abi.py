"""Between our values and contract bytes: call data out, events and refusals in.

Only ABI arithmetic, no chain: uids and digests are hex strings on our side and ``bytes16`` and
``bytes32`` on the other; loss and metric are IEEE-754 binary32 bits on the chain.
"""

import functools
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

import contracts
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.sn_api import PeerState, Perf
from services.sn.core import ledger

REGISTRY = "SwarmRegistry"
NODES = "NodeRegistry"
TRAINING = "TrainingContract"

TRAINING_KIND = 1
"""``SwarmRegistry.TRAINING``: the kind of entry that names a training contract."""
NODE_KINDS = {NodeKind.SN: 1, NodeKind.SL: 2, NodeKind.SWOP: 3, NodeKind.SWCI: 4}
PEER_STATES = list(PeerState)
"""In the order of the contract's enum."""

_REFUSED = keccak(text="Refused(string,string)")[:4]

LedgerEvent = ledger.DirectoryEvent | ledger.NodeEvent | ledger.TrainingEvent

_CLASSES: dict[str, dict[str, type[Any]]] = {
    contract: {kind.__name__: kind for kind in kinds}
    for contract, kinds in {
        REGISTRY: (ledger.WriterAdded, ledger.WriterRemoved, ledger.Registered),
        NODES: (
            ledger.NodeRegistered, ledger.NodesAlive, ledger.NodesLost, ledger.NodeLeft,
        ),
        TRAINING: (
            ledger.Enrolled, ledger.CheckedIn, ledger.LeaderElected, ledger.Frozen,
            ledger.Dropped, ledger.Reopened, ledger.Published, ledger.Left, ledger.Returned,
            ledger.Refused, ledger.PerfReported, ledger.Completed, ledger.Reset,
        ),
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Input:
    field: str
    type: str
    indexed: bool


@dataclass(frozen=True, slots=True)
class _Event:
    make: type[Any]
    inputs: tuple[_Input, ...]


class Abi:
    """One contract's functions, events and errors.

    Args:
        name: of the contract in ``contracts/artifacts``.
    """

    def __init__(self, name: str) -> None:
        artifact = contracts.load(name)
        self.name = name
        self.bytecode = bytes.fromhex(artifact.bytecode.removeprefix("0x"))
        entries: Sequence[Mapping[str, Any]] = artifact.abi
        self._functions = {e["name"]: _types(e) for e in entries if e["type"] == "function"}
        self._constructor = next((_types(e) for e in entries if e["type"] == "constructor"), [])
        self._events = {
            _topic(e): _Event(_CLASSES[name][e["name"]], _inputs(e))
            for e in entries
            if e["type"] == "event"
        }

    def call(self, function: str, *args: object) -> bytes:
        """Call data of a function."""
        types = self._functions[function]
        return keccak(text=f"{function}({','.join(types)})")[:4] + encode(types, args)

    def creation(self, *args: object) -> bytes:
        """Data of the transaction that deploys the contract."""
        return self.bytecode + encode(self._constructor, args)

    def event(self, topics: Sequence[bytes], data: bytes) -> LedgerEvent | None:
        """What a log entry says; None when it is none of this contract's events."""
        event = self._events.get(topics[0]) if topics else None
        if event is None:
            return None
        plain = decode([i.type for i in event.inputs if not i.indexed], data)
        values, indexed = iter(plain), iter(topics[1:])
        fields: dict[str, object] = {}
        for i in event.inputs:
            value = decode([i.type], next(indexed))[0] if i.indexed else next(values)
            fields[i.field] = _read(event.make, i, value)
        made: LedgerEvent = event.make(**fields)
        return made


def refusal(output: bytes) -> tuple[str, str] | None:
    """Code and detail of a revert with our contracts' one error, else None."""
    if output[:4] != _REFUSED:
        return None
    try:
        code, detail = decode(["string", "string"], output[4:])
    except DecodingError:
        return None
    return str(code), str(detail)


@functools.cache
def abi(name: str) -> Abi:
    """The contract called ``name``; read once."""
    return Abi(name)


def _types(entry: Mapping[str, Any]) -> list[str]:
    return [collapse_if_tuple(i) for i in entry["inputs"]]


def _inputs(entry: Mapping[str, Any]) -> tuple[_Input, ...]:
    return tuple(
        _Input(_snake(i["name"]), collapse_if_tuple(i), bool(i.get("indexed")))
        for i in entry["inputs"]
    )


def _topic(entry: Mapping[str, Any]) -> bytes:
    return keccak(text=f"{entry['name']}({','.join(_types(entry))})")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip("_")).lower()


# --- values


def uid_bytes(uid: str) -> bytes:
    """A node's uid as ``bytes16``."""
    return bytes.fromhex(uid)


def method_bytes(name: str) -> bytes:
    """A merge method's name as ``bytes32``."""
    return name.encode("ascii").ljust(32, b"\0")


def perf_tuple(perf: Perf | None) -> tuple[bool, int, int, int, int]:
    """Loss and metric as the contract's struct.

    Raises:
        ConfigError: a value is too large for 32 bits.
    """
    if perf is None:
        return (False, 0, 0, 0, 0)
    return (True, _bits(perf.loss), _bits(perf.metric), perf.epochs, perf.total_epochs)


def _bits(value: float) -> int:
    try:
        return int.from_bytes(struct.pack(">f", value))
    except OverflowError as exc:
        raise ConfigError(f"{value} does not fit into a 32-bit float: report a finite one") from exc


def _float(bits: int) -> float:
    value: float = struct.unpack(">f", bits.to_bytes(4))[0]
    return value


def _read_perf(value: tuple[bool, int, int, int, int]) -> Perf | None:
    present, loss, metric, epochs, total = value
    if not present:
        return None
    return Perf(loss=_float(loss), metric=_float(metric), epochs=epochs, total_epochs=total)


def _read_kind(value: int) -> NodeKind:
    return next(kind for kind, number in NODE_KINDS.items() if number == value)


_READERS: dict[tuple[type[Any], str], Callable[[Any], object]] = {
    (ledger.NodeRegistered, "kind"): _read_kind,
    (ledger.CheckedIn, "state"): PEER_STATES.__getitem__,
    (ledger.CheckedIn, "perf"): _read_perf,
    (ledger.PerfReported, "perf"): _read_perf,
    (ledger.Enrolled, "method"): lambda value: value.rstrip(b"\0").decode("ascii", "replace"),
}


def _read(event: type[Any], item: _Input, value: object) -> object:
    reader = _READERS.get((event, item.field))
    if reader is not None:
        return reader(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return tuple(part.hex() for part in value)
    if item.type == "address":
        return to_checksum_address(str(value))
    return value
