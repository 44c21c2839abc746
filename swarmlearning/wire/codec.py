"""Framing of the ML-SL protocol, without IO: messages to bytes, bytes to messages.

A frame is a header of exactly 22 bytes (see ``swarm.proto``) and a protobuf body. A body is never
empty: HPE's header shrinks when a value is zero, and its reader then loses the frame boundaries.
"""

from collections.abc import Mapping
from dataclasses import fields
from struct import Struct
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.message import Message as Protobuf

from swarmlearning.wire import messages as m
from swarmlearning.wire import swarm_pb2 as pb
from swarmlearning.wire.tensors import WireError

API_VERSION: Final = 2
"""HPE's wheels 2.1 to 2.3 say 2 on the wire; so do we."""

MAX_BODY: Final = 1024 * 1024
"""Longest body that is accepted (bytes). Weights travel in files, so messages are small."""

_HEADER: Final = Struct("<2sBIBIBIBI")
_TAGS: Final = (b"\x0a\x0a", 0x0D, 0x15, 0x15, 0x1D)

HEADER_SIZE: Final = _HEADER.size
"""22 bytes, always."""


class InBandWeightsError(WireError):
    """A sync of HPE's wheel 2.1 or 2.2, which sends weights inside the message."""

    def __init__(self) -> None:
        super().__init__(
            "the ML program sent its weights inside a message, as the swarmlearning client 2.1 and "
            "2.2 do; this SL works with the client wheel 2.3.0 and with our own: "
            "install one of these in the ML image"
        )


class _Form(NamedTuple):
    number: int
    body: type[Protobuf]
    names: Mapping[str, str]
    """Field of our message -> field of the protobuf message."""


_SESSION = {"session_id": "sessionID"}
_SEQUENCE = {**_SESSION, "sequence": "syncSeqNum"}
_SYNC_REQUEST = {
    **_SEQUENCE,
    "weightage": "nodeWeightage",
    "nodes": "numberOfNodes",
    "file_name": "fileName",
}
_SYNC_RESPONSE = {
    **_SEQUENCE,
    "status": "status",
    "next_interval": "nextSyncInterval",
    "training_over": "trainingOver",
}
_LOSS = {**_SEQUENCE, "loss_sequence": "lossSeqNum"}

_FORMS: Final[dict[type[m.Message], _Form]] = {
    m.Status: _Form(1, pb.Status, {"code": "code", "text": "msg"}),
    m.SessionRequest: _Form(
        2,
        pb.SessionRequest,
        {
            "sync_interval": "syncInterval",
            "min_peers": "minPeers",
            "max_peers": "maxPeers",
            "adaptive": "useAdaptiveSync",
            "checkin_state": "checkinModelOnTrainEnd",
            "weightage": "nodeWeightage",
            "contract": "trainingContract",
            "merge_method": "mergeMethod",
        },
    ),
    m.SessionResponse: _Form(
        3, pb.SessionResponse, {**_SESSION, "status": "status", "epochs_done": "epochsdone"}
    ),
    m.CloseRequest: _Form(4, pb.SyncRequest, _SYNC_REQUEST),
    m.CloseResponse: _Form(5, pb.SyncResponse, _SYNC_RESPONSE),
    m.SyncRequest: _Form(6, pb.SyncRequest, _SYNC_REQUEST),
    m.SyncResponse: _Form(7, pb.SyncResponse, _SYNC_RESPONSE),
    m.LossRequest: _Form(8, pb.LossRequest, {**_LOSS, "file_name": "fileName"}),
    m.LossResponse: _Form(
        9,
        pb.LossResponse,
        {
            **_LOSS,
            "status": "status",
            "loss": "loss",
            "metric": "metrics",
            "epochs": "epochsdone",
            "total_epochs": "totalepochs",
        },
    ),
    m.KillSession: _Form(10, pb.KillSessionRequest, {**_SESSION, "reason": "reason"}),
}
_TYPES: Final = {form.number: kind for kind, form in _FORMS.items()}
_SYNC_NUMBERS: Final = (_FORMS[m.CloseRequest].number, _FORMS[m.SyncRequest].number)


def encode(message: m.Message) -> bytes:
    """One frame: header and body.

    Raises:
        WireError: a value does not fit its field, or the message would be empty or too long.
    """
    form = _FORMS[type(message)]
    try:
        body = _to_protobuf(message).SerializeToString(deterministic=True)
    except (ValueError, TypeError, EncodeError) as exc:
        raise WireError(f"cannot send {message}: {exc}") from exc
    if not 0 < len(body) <= MAX_BODY:
        raise WireError(f"cannot send a {type(message).__name__} of {len(body)} bytes")
    two, first, second, kind, size = _TAGS
    return (
        _HEADER.pack(
            two, first, API_VERSION, second, API_VERSION, kind, form.number, size, len(body)
        )
        + body
    )


class Decoder:
    """Turns bytes, cut in any way, into messages.

    After a :class:`WireError` the frame boundaries are lost: throw the decoder away, together with
    the channel. The exception is :class:`InBandWeightsError`, which comes after the whole frame.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._number = 0
        """Type of the message whose header was read; 0 between messages."""
        self._size = HEADER_SIZE
        """Length of the header or body that is being collected."""
        self._skipped = 0
        """Bytes of an oversized sync that were thrown away."""

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the channel."""
        self._buffer += data

    @property
    def pending(self) -> tuple[int, int]:
        """Bytes wanted for the next header or body, and bytes of it that are there."""
        return self._size, min(self._size, self._skipped + len(self._buffer))

    @property
    def between_messages(self) -> bool:
        """No part of a message has arrived: the channel may end here."""
        return not self._number and not self._buffer

    def next_message(self) -> m.Message | None:
        """The next complete message, or None until more bytes are fed.

        Raises:
            InBandWeightsError: it is a sync that carries weights instead of a file name.
            WireError: the bytes are not a message, or not one of this protocol version.
        """
        if not self._number:
            if len(self._buffer) < HEADER_SIZE:
                return None
            self._number, self._size = _header(self._take(HEADER_SIZE))
        if self._size > MAX_BODY:
            self._skip()
            return None
        if len(self._buffer) < self._size:
            return None
        number, body = self._number, self._take(self._size)
        self._number, self._size = 0, HEADER_SIZE
        return _body(number, body)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _skip(self) -> None:
        """Throw an oversized sync away as it comes: its sender reads our answer only afterwards."""
        self._skipped += len(self._take(self._size - self._skipped))
        if self._skipped == self._size:
            self._number, self._size, self._skipped = 0, HEADER_SIZE, 0
            raise InBandWeightsError


def _header(raw: bytes) -> tuple[int, int]:
    """Message type and body length."""
    two, first, version, second, _minimum, third, number, fourth, size = _HEADER.unpack(raw)
    if (two, first, second, third, fourth) != _TAGS:
        raise WireError(f"not a message header: {raw.hex(' ')}")
    if version != API_VERSION:
        raise WireError(
            "Mismatch in the Swarm API version between ML and SL containers. Expected version "
            f"{API_VERSION}, but the version received from the header is {version}"
        )
    if number not in _TYPES:
        raise WireError(f"unsupported message type: {number}")
    if not size:
        raise WireError(f"empty {_TYPES[number].__name__}")
    if size > MAX_BODY and number not in _SYNC_NUMBERS:
        raise WireError(f"a {_TYPES[number].__name__} of {size} bytes; at most {MAX_BODY} are read")
    return number, size


def _body(number: int, raw: bytes) -> m.Message:
    kind = _TYPES[number]
    parsed = _FORMS[kind].body()
    try:
        parsed.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as exc:
        if number in _SYNC_NUMBERS:
            raise InBandWeightsError from exc
        raise WireError(f"the body of a {kind.__name__} is not valid: {exc}") from exc
    message = _from_protobuf(kind, parsed)
    if isinstance(message, m.SyncRequest | m.CloseRequest) and not message.file_name.isprintable():
        raise InBandWeightsError
    return message


def _to_protobuf(message: m.Message) -> Protobuf:
    form = _FORMS[type(message)]
    values = {wire: getattr(message, ours) for ours, wire in form.names.items()}
    for wire, value in values.items():
        if isinstance(value, m.Status):
            values[wire] = _to_protobuf(value)
    if isinstance(message, m.Status) and not message.text:
        values["msg"] = message.code.name  # never an empty body
    return form.body(**values)


def _from_protobuf(kind: type[m.Message], parsed: Protobuf) -> m.Message:
    names = _FORMS[kind].names
    values: dict[str, Any] = {f.name: getattr(parsed, names[f.name]) for f in fields(kind)}
    for ours, value in values.items():
        if isinstance(value, pb.Status):
            values[ours] = _from_protobuf(m.Status, value)
    if kind is m.Status:
        known = values["code"] in m.StatusCode._value2member_map_
        values["code"] = m.StatusCode(values["code"]) if known else m.StatusCode.ERROR_OTHERS
    return kind(**values)
