"""Framing of the ML-SL protocol, without IO: messages to bytes, bytes to messages.

A frame is a header of exactly 22 bytes (see ``swarm.proto``) and a protobuf body. A body is never
empty: HPE's header shrinks when a value is zero, and its reader then loses the frame boundaries.

HPE's clients 2.1 and 2.2 put their weights into the message. Such a body goes to a spool while it
arrives, and comes out as a view of what the spool kept; weights are never copied here.
"""

from collections.abc import Mapping
from dataclasses import replace
from struct import Struct
from typing import Any, Final, NamedTuple, Protocol

from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.message import Message as Protobuf

from swarmlearning.wire import messages as m
from swarmlearning.wire import swarm_pb2 as pb
from swarmlearning.wire.fields import BYTES, Field, fields, start
from swarmlearning.wire.tensors import WireError

API_VERSION: Final = 2
"""HPE's wheels 2.1 to 2.3 say 2 on the wire; so do we."""

MAX_BODY: Final = 1024 * 1024
"""Longest body that is kept in memory (bytes). Longer ones hold weights and go to a spool."""

MAX_SENT: Final = 2**31 - 1
"""Longest body that protobuf reads at the other end (bytes)."""

_HEADER: Final = Struct("<2sBIBIBIBI")
_TAGS: Final = (b"\x0a\x0a", 0x0D, 0x15, 0x15, 0x1D)

HEADER_SIZE: Final = _HEADER.size
"""22 bytes, always."""


class VersionError(WireError):
    """A header of another API version.

    Args:
        version: that version.
    """

    def __init__(self, version: int) -> None:
        super().__init__(
            "Mismatch in the Swarm API version between ML and SL containers. Expected version "
            f"{API_VERSION}, but the version received from the header is {version}"
        )
        self.version = version


class Spool(Protocol):
    """Takes the body of a long message while it arrives."""

    def write(self, piece: bytes) -> None:
        """Append.

        Never fails: an error waits until the whole message was read, because its sender reads our
        answer only then.
        """

    def finish(self) -> memoryview:
        """All that was written; the spool is empty again. Raises what went wrong."""


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
_SYNC_WEIGHTS: Final = 5
"""Field of a sync: a file's name or weights."""
_LOSS_WEIGHTS: Final = 4
"""The same of a loss request."""
_MOST_FIELDS: Final = 100
"""Fields of a sync that are looked at; it has five, and who knows what a later version adds."""


def encode(message: m.Message, version: int = API_VERSION) -> bytes:
    """One frame: header and body.

    Args:
        message: what to send.
        version: of the API, for the header.

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
    return _pack_header(form.number, len(body), version) + body


def encode_start(message: m.LossRequest, weights_size: int) -> bytes:
    """All of a LossRequest's frame but the ``weights_size`` bytes of ``Weights`` that end it.

    Args:
        message: without file name.
        weights_size: bytes.

    Raises:
        WireError: protobuf could not read so long a message.
    """
    number = _FORMS[m.LossRequest].number
    body = _to_protobuf(message).SerializeToString(deterministic=True)
    body += start(_LOSS_WEIGHTS, weights_size)
    size = len(body) + weights_size
    if size > MAX_SENT:
        raise WireError(
            f"a message of {size} bytes is too long for protobuf ({MAX_SENT}); client wheels from "
            "2.3 on hand such models over in files"
        )
    return _pack_header(number, size, API_VERSION) + body


class Decoder:
    """Turns bytes, cut in any way, into messages.

    After a :class:`WireError` the frame boundaries are lost: throw the decoder away, together with
    the channel. What the spool raises comes after the whole frame.

    Args:
        spool: takes the bodies of syncs longer than :data:`MAX_BODY`; without one they are refused.
    """

    def __init__(self, spool: Spool | None = None) -> None:
        self._spool = spool
        self._buffer = bytearray()
        self._number = 0
        """Type of the message whose header was read; 0 between messages."""
        self._size = HEADER_SIZE
        """Length of the header or body that is being collected."""
        self._spooled = 0
        """Bytes of it that are in the spool."""

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the channel."""
        self._buffer += data

    @property
    def pending(self) -> tuple[int, int]:
        """Bytes wanted for the next header or body, and bytes of it that are there."""
        return self._size, min(self._size, self._spooled + len(self._buffer))

    @property
    def between_messages(self) -> bool:
        """No part of a message has arrived: the channel may end here."""
        return not self._number and not self._buffer

    def next_message(self) -> m.Message | None:
        """The next complete message, or None until more bytes are fed.

        Raises:
            WireError: the bytes are not a message, or not one of this protocol version.
        """
        if not self._number:
            if len(self._buffer) < HEADER_SIZE:
                return None
            self._number, self._size = self._header()
        if self._spool is not None and self._size > MAX_BODY:
            piece = self._take(self._size - self._spooled)
            self._spooled += len(piece)
            self._spool.write(piece)
        if self._spooled + len(self._buffer) < self._size:
            return None
        number, spooled = self._number, self._spooled
        rest = self._take(self._size - spooled)
        self._number, self._size, self._spooled = 0, HEADER_SIZE, 0
        if spooled:
            assert self._spool is not None
            return _body(number, self._spool.finish())
        return _body(number, memoryview(rest))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _header(self) -> tuple[int, int]:
        """Message type and body length."""
        number, size = _header(self._take(HEADER_SIZE))
        if size > MAX_BODY and (self._spool is None or number not in _SYNC_NUMBERS):
            name = _TYPES[number].__name__
            raise WireError(f"a {name} of {size} bytes; at most {MAX_BODY} are read")
        return number, size


def _pack_header(number: int, size: int, version: int) -> bytes:
    two, first, second, kind, length = _TAGS
    return _HEADER.pack(two, first, version, second, version, kind, number, length, size)


def _header(raw: bytes) -> tuple[int, int]:
    """Message type and body length."""
    two, first, version, second, _minimum, third, number, fourth, size = _HEADER.unpack(raw)
    if (two, first, second, third, fourth) != _TAGS:
        raise WireError(f"not a message header: {raw.hex(' ')}")
    if version != API_VERSION:
        raise VersionError(version)
    if number not in _TYPES:
        raise WireError(f"unsupported message type: {number}")
    if not size:
        raise WireError(f"empty {_TYPES[number].__name__}")
    return number, size


def _body(number: int, raw: memoryview) -> m.Message:
    kind = _TYPES[number]
    if number in _SYNC_NUMBERS:
        return _sync(kind, raw)
    return _parsed(kind, bytes(raw))


def _sync(kind: type[m.Message], raw: memoryview) -> m.Message:
    """A sync: a file's name, or else weights, is cut out before protobuf sees the rest."""
    field = _weights_field(kind, raw)
    begin, end = (field.begin, field.end) if field else (len(raw), len(raw))
    if begin + len(raw) - end > MAX_BODY:
        raise WireError(f"a {kind.__name__} of {len(raw)} bytes carries no weights")
    if field is None or _is_text(field.data):
        return _parsed(kind, bytes(raw))
    message = _parsed(kind, bytes(raw[:begin]) + bytes(raw[end:]))
    assert isinstance(message, m.SyncRequest | m.CloseRequest)
    return replace(message, weights=field.data)


def _weights_field(kind: type[m.Message], raw: memoryview) -> Field | None:
    found = None
    for count, field in enumerate(fields(raw)):
        if count >= _MOST_FIELDS:
            raise WireError(f"a {kind.__name__} has more than {_MOST_FIELDS} fields")
        if field.number == _SYNC_WEIGHTS:
            if found is not None or field.wire_type != BYTES:
                raise WireError(f"a {kind.__name__} names its parameters twice, or by a number")
            found = field
    return found


def _is_text(data: memoryview) -> bool:
    """Whether this is a name. Weights begin with a line feed (the tag of field 1), or are empty."""
    try:
        return len(data) <= MAX_BODY and bytes(data).decode().isprintable()
    except UnicodeDecodeError:
        return False


def _parsed(kind: type[m.Message], raw: bytes) -> m.Message:
    parsed = _FORMS[kind].body()
    try:
        parsed.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as exc:
        raise WireError(f"the body of a {kind.__name__} is not valid: {exc}") from exc
    return _from_protobuf(kind, parsed)


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
    values: dict[str, Any] = {ours: getattr(parsed, wire) for ours, wire in names.items()}
    for ours, value in values.items():
        if isinstance(value, pb.Status):
            values[ours] = _from_protobuf(m.Status, value)
    if kind is m.Status:
        known = values["code"] in m.StatusCode._value2member_map_
        values["code"] = m.StatusCode(values["code"]) if known else m.StatusCode.ERROR_OTHERS
    return kind(**values)
