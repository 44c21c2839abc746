"""Between our values and contract bytes: call data out, events and refusals in.

Only ABI arithmetic, no chain: uids and digests are hex strings on our side and ``bytes16`` and
``bytes32`` on the other; loss and metric are IEEE-754 binary32 bits on the chain.

Events are read word by word at offsets that are known beforehand, because an SN that starts reads
millions of them; ``eth_abi``, which the tests compare with, takes four times as long.
"""

import functools
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, InsufficientDataBytes
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

import contracts
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.sn_api import PeerState, Perf
from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core import ledger
from services.sn.core import task_events as on
from services.sn.core.tasks import TASK_REGISTRY

REGISTRY = "SwarmRegistry"
NODES = "NodeRegistry"
TRAINING = "TrainingContract"
TASKS = "TaskRegistry"
TASKRUNNER = "TaskRunner"

NODE_KINDS = {NodeKind.SN: 1, NodeKind.SL: 2, NodeKind.SWOP: 3, NodeKind.SWCI: 4}
_NODE_KINDS = {number: kind for kind, number in NODE_KINDS.items()}
PEER_STATES = list(PeerState)
"""In the order of the contract's enum, as the following ones."""
TASK_TYPES, ASSIGNMENTS = list(TaskType), list(Assignment)
RUNNER_STATES, TASK_PEER_STATES = list(RunnerState), list(TaskPeerState)
WORD = 32
"""Bytes of everything in the ABI."""
UID_BYTES = 16

_REFUSED = keccak(text="Refused(string,string)")[:4]

_CLASSES: dict[str, dict[str, type[Any]]] = {
    contract: {kind.__name__: kind for kind in kinds}
    for contract, kinds in {
        REGISTRY: (ledger.WriterAdded, ledger.WriterRemoved, ledger.Registered),
        NODES: (
            ledger.NodeRegistered, ledger.NodesAlive, ledger.NodesLost, ledger.NodeLeft,
        ),
        TRAINING: (
            ledger.Enrolled, ledger.CheckedIn, ledger.LeaderElected, ledger.Frozen,
            ledger.Dropped, ledger.Reopened, ledger.Proposed, ledger.Attested, ledger.Exposed,
            ledger.Published, ledger.Left, ledger.Returned, ledger.Refused, ledger.PerfReported,
            ledger.Completed, ledger.Reset,
        ),
        TASKS: (
            on.TaskCreated, on.TaskAppended, on.TaskFinalized, on.TaskRemoved, on.TaskRefused,
        ),
        TASKRUNNER: (
            on.Listening, on.Quit, on.Assigned, on.Targeted, on.SwopEnrolled, on.Reported,
            on.StateChanged, on.RunnerReset, on.RunnerRefused,
        ),
    }.items()
}  # fmt: skip


Reader = Callable[[bytes, int], Any]
"""Reads the value whose word, or first word, is at an offset of an event's data."""


@dataclass(frozen=True, slots=True)
class _Input:
    field: str
    type: str


@dataclass(frozen=True, slots=True)
class _Event:
    make: type[Any]
    inputs: tuple[_Input, ...]
    readers: tuple[tuple[str, int, Reader], ...]
    """Field, offset and how to read it."""
    size: int
    """Bytes of data at least."""


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
            _topic(e): _event(_CLASSES[name][e["name"]], _inputs(e))
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

    def event(self, topics: Sequence[bytes], data: bytes) -> ledger.LedgerEvent | None:
        """What a log entry says; None when it is none of this contract's events.

        Raises:
            DecodingError: the data is shorter than the event.
        """
        event = self._events.get(topics[0]) if topics else None
        if event is None:
            return None
        if len(data) < event.size:
            raise InsufficientDataBytes(f"{len(data)} bytes are too few for {event.make.__name__}")
        made: ledger.LedgerEvent = event.make(
            **{field: read(data, at) for field, at, read in event.readers}
        )
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


def contract_of(name: ledger.Registered) -> str | None:
    """Which of our contracts a name is the name of; None: of something that we do not follow."""
    if name.kind == ledger.TRAINING_KIND:
        return TRAINING
    if name.kind == ledger.TASKRUNNER_KIND:
        return TASKRUNNER
    return TASKS if name.name == TASK_REGISTRY else None


def _types(entry: Mapping[str, Any]) -> list[str]:
    return [collapse_if_tuple(i) for i in entry["inputs"]]


def _inputs(entry: Mapping[str, Any]) -> tuple[_Input, ...]:
    assert not any(i.get("indexed") for i in entry["inputs"]), "our events have no indexed fields"
    return tuple(_Input(_snake(i["name"]), collapse_if_tuple(i)) for i in entry["inputs"])


def _event(make: type[Any], inputs: tuple[_Input, ...]) -> _Event:
    readers: list[tuple[str, int, Reader]] = []
    at = 0
    for item in inputs:
        readers.append((item.field, at, _reader(make, item)))
        at += WORD * (item.type.count(",") + 1)  # a tuple of static types lies there in full
    return _Event(make, inputs, tuple(readers), at)


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


# --- reading events


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + WORD])


def _bool(data: bytes, at: int) -> bool:
    return _number(data, at) != 0


def _hex_of(size: int) -> Reader:
    def read(data: bytes, at: int) -> str:
        return data[at : at + size].hex()

    return read


def _tail(data: bytes, at: int, unit: int, base: int = 0) -> tuple[int, int]:
    """Where a value of dynamic length begins and ends; it counts units of so many bytes.

    The word at ``at`` says where, counted from ``base``.
    """
    place = base + _number(data, at)
    begin = place + WORD
    end = begin + _number(data, place) * unit
    if end > len(data):
        raise InsufficientDataBytes(f"{len(data)} bytes of data end before {end}")
    return begin, end


def _string(data: bytes, at: int, base: int = 0) -> str:
    begin, end = _tail(data, at, 1, base)
    return data[begin:end].decode("utf-8", "replace")


def _strings(data: bytes, at: int) -> tuple[str, ...]:
    begin, end = _tail(data, at, WORD)
    return tuple(_string(data, k, begin) for k in range(begin, end, WORD))


def _uids(data: bytes, at: int) -> tuple[str, ...]:
    begin, end = _tail(data, at, WORD)
    return tuple(data[k : k + UID_BYTES].hex() for k in range(begin, end, WORD))


@functools.lru_cache(maxsize=1024)
def checksummed(address: bytes) -> str:
    """An address as Ethereum writes it; remembered, because each costs a hash."""
    return to_checksum_address(address)


def _address(data: bytes, at: int) -> str:
    return checksummed(data[at + WORD - 20 : at + WORD])


def _perf(data: bytes, at: int) -> Perf | None:
    present, loss, metric, epochs, total = (_number(data, at + WORD * k) for k in range(5))
    if not present:
        return None
    return Perf(loss=_float(loss), metric=_float(metric), epochs=epochs, total_epochs=total)


def _node_kind(data: bytes, at: int) -> NodeKind:
    return _NODE_KINDS[_number(data, at)]


def _one_of(values: Sequence[Any]) -> Reader:
    def read(data: bytes, at: int) -> object:
        return values[_number(data, at)]

    return read


def _method(data: bytes, at: int) -> str:
    return data[at : at + WORD].rstrip(b"\0").decode("ascii", "replace")


_BY_TYPE: dict[str, Reader] = {
    "bool": _bool, "bytes16": _hex_of(UID_BYTES), "bytes32": _hex_of(WORD), "address": _address,
    "string": _string, "string[]": _strings, "bytes16[]": _uids,
    "(bool,uint32,uint32,uint32,uint32)": _perf,
    **dict.fromkeys(("uint8", "uint32", "uint64"), _number),
}  # fmt: skip
_BY_FIELD: dict[tuple[type[Any], str], Reader] = {
    (ledger.NodeRegistered, "kind"): _node_kind,
    (ledger.CheckedIn, "state"): _one_of(PEER_STATES),
    (ledger.Enrolled, "method"): _method,
    (on.TaskCreated, "task_type"): _one_of(TASK_TYPES),
    (on.Assigned, "task_type"): _one_of(TASK_TYPES),
    (on.Assigned, "mode"): _one_of(ASSIGNMENTS),
    (on.Reported, "state"): _one_of(TASK_PEER_STATES),
    (on.StateChanged, "state"): _one_of(RUNNER_STATES),
}
"""Fields that mean more than their type says."""


def _reader(event: type[Any], item: _Input) -> Reader:
    return _BY_FIELD.get((event, item.field)) or _BY_TYPE[item.type]
