from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmlearning.wire import messages as m
from swarmlearning.wire.codec import (
    HEADER_SIZE,
    MAX_BODY,
    MAX_SENT,
    Decoder,
    VersionError,
    encode,
    encode_start,
)
from swarmlearning.wire.tensors import WireError

OK = m.Status()
SAMPLES = [
    m.Status(m.StatusCode.ERROR_IN_SL, "the swarm is full"),
    m.SessionRequest(128, 2, True, "snapshot", 33, "defaultbb.cqdb.sml.hpe", "mean"),
    m.SessionResponse(OK, "s-1"),
    m.CloseRequest("s-1", 1, 0, "trained_weights.pkl"),
    m.CloseResponse("s-1", 1, OK, 1, True),
    m.SyncRequest("s-1", 7, 100, "trained_weights.safetensors"),
    m.SyncResponse("s-1", 7, OK, 64, False),
    m.LossRequest("s-1", 7, 1, "merged_weights.pkl"),
    m.LossResponse("s-1", 7, 1, m.Status(m.StatusCode.ERROR_IN_USER, "nö"), -1.0, 0.5, 3, 10),
    m.KillSession("s-1", m.Status(m.StatusCode.OK, "over")),
]
# The frame of SAMPLES[5], written down by hand from the specification.
SYNC_FRAME = (
    bytes.fromhex("0a0a 0d02000000 1502000000 1506000000 1d28000000")
    + b"\x0a\x03s-1"
    + b"\x10\x07"
    + b"\x18\x64"
    + b"\x20\x01"
    + b"\x2a\x1btrained_weights.safetensors"
)


def frame(number, body, version=2, size=None):
    head = b"\x0a\x0a\x0d" + version.to_bytes(4, "little") + b"\x15\x02\0\0\0"
    head += b"\x15" + number.to_bytes(4, "little")
    head += b"\x1d" + (len(body) if size is None else size).to_bytes(4, "little")
    return head + body


def decoded(data, step):
    decoder, out = Decoder(), []
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        while (message := decoder.next_message()) is not None:
            out.append(message)
    assert decoder.between_messages
    return out


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_round_trip_whole_and_one_byte_at_a_time(message):
    data = encode(message)
    assert decoded(data, len(data)) == [message]
    assert decoded(data, 1) == [message]


def test_a_stream_of_all_messages_cut_anywhere():
    data = b"".join(map(encode, SAMPLES))
    for step in (1, 2, 21, 22, 23, 64, len(data)):
        assert decoded(data, step) == SAMPLES


def test_bytes_are_those_of_the_specification():
    assert HEADER_SIZE == 22
    assert encode(SAMPLES[5]) == SYNC_FRAME
    assert [encode(message)[13] for message in SAMPLES] == list(range(1, 11))


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_truncated_message_never_comes_out(message):
    data = encode(message)
    for cut in range(len(data)):
        decoder = Decoder()
        decoder.feed(data[:cut])
        assert decoder.next_message() is None
        assert decoder.between_messages == (cut == 0)
        wanted, got = decoder.pending
        expected = (22, cut) if cut < 22 else (len(data) - 22, cut - 22)
        assert (wanted, got) == expected


def test_a_status_never_has_an_empty_body():
    assert decoded(encode(m.Status(m.StatusCode.OK, "")), 1) == [m.Status(m.StatusCode.OK, "OK")]


@pytest.mark.parametrize(
    "bad",
    [
        m.CloseRequest("", 0, 0, "", 0),
        replace(SAMPLES[5], sequence=2**31),
        replace(SAMPLES[5], session_id="\ud800"),
        replace(SAMPLES[5], session_id="x" * MAX_BODY),
        replace(SAMPLES[5], weightage="many"),
    ],
    ids=["empty", "overflow", "surrogate", "too long", "wrong type"],
)
def test_what_cannot_be_sent_is_refused_before_it_is_sent(bad):
    with pytest.raises(WireError, match="cannot send"):
        encode(bad)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: x", "not a message header"),
        (bytes(22), "not a message header"),
        (frame(6, b"x", version=1), "Mismatch in the Swarm API version between ML and SL"),
        (frame(0, b"x"), "unsupported message type: 0"),
        (frame(11, b"x"), "unsupported message type: 11"),
        (frame(7, b""), "empty SyncResponse"),
        (frame(7, b"", size=MAX_BODY + 1), "SyncResponse of 1048577 bytes"),
        (frame(7, b"\x0a\xff"), "body of a SyncResponse is not valid"),
        (frame(7, b"\x0a\x01\xff"), "body of a SyncResponse is not valid"),
    ],
)
def test_garbage_is_refused_with_its_reason(data, text):
    decoder = Decoder()
    decoder.feed(data)
    with pytest.raises(WireError, match=text):
        decoder.next_message()


def test_the_version_error_has_hpes_words():
    decoder = Decoder()
    decoder.feed(frame(1, b"\x12\x01x", version=1))
    with pytest.raises(WireError) as caught:
        decoder.next_message()
    assert str(caught.value) == (
        "Mismatch in the Swarm API version between ML and SL containers. Expected version 2, "
        "but the version received from the header is 1"
    )


WEIGHTS = b"\x0a\x10" + b"\x0a\x01w" + b"\x12\x0b\x0a\x02f4\x12\x01\x01\x1a\x02\x80\xff"
"""A `Weights` message as HPE's wheel 2.2 puts into field 5 of a sync."""


class Memory:
    """A spool that keeps what it gets."""

    def __init__(self):
        self.pieces = []

    def write(self, piece):
        self.pieces.append(piece)

    def finish(self):
        whole, self.pieces = b"".join(self.pieces), []
        return memoryview(whole)


def sync_with(weights, number=6, before=b"\x0a\x03s-1", after=b""):
    size, prefix = len(weights), b"\x2a"
    while size > 127:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return frame(number, before + prefix + bytes([size]) + weights + after)


@pytest.mark.parametrize("number", [4, 6])
@pytest.mark.parametrize("step", [7, 65536, 10**9])
@pytest.mark.parametrize(
    "weights", [WEIGHTS, b"\x0a" + bytes(2 * MAX_BODY)], ids=["small", "spooled"]
)
def test_weights_inside_a_sync_come_out_as_they_are(number, weights, step):
    step = max(step, len(weights) // 1000)
    after = encode(SAMPLES[0])
    data = sync_with(weights, number, before=b"\x0a\x03s-1\x10\x05", after=b"\x7a\x01x") + after
    decoder, spool, out = Decoder(spool := Memory()), spool, []
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        while (message := decoder.next_message()) is not None:
            out.append(message)
        assert decoder.pending[1] <= decoder.pending[0]
    sync, last = out
    assert (sync.session_id, sync.sequence, sync.file_name) == ("s-1", 5, "")
    assert bytes(sync.weights) == weights
    assert last == SAMPLES[0]
    assert decoder.between_messages
    assert spool.pieces == []


def test_a_long_sync_is_refused_without_a_spool_and_nothing_else_goes_to_one():
    with pytest.raises(WireError, match="SyncRequest of 1048577 bytes; at most"):
        decoded(frame(6, b"", size=MAX_BODY + 1), 22)
    decoder = Decoder(Memory())
    decoder.feed(frame(9, b"", size=MAX_BODY + 1))
    with pytest.raises(WireError, match="LossResponse of 1048577 bytes; at most"):
        decoder.next_message()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (frame(6, b"\x0a\x03s-1\x2a\x80\x80\x80\x80\x08ab"), "claims 2147483648 bytes, 2 are left"),
        (sync_with(WEIGHTS, after=b"\x2a\x01x"), "twice"),
        (frame(6, b"\x28\x05"), "twice, or by a number"),
        (sync_with(WEIGHTS, after=b"\x78\x01" * 200), "more than 100 fields"),
        (sync_with(WEIGHTS, after=b"\x7b\x7c"), "wire type 3"),
        (sync_with(WEIGHTS, after=b"\xff" * 12), "does not end"),
        (sync_with(WEIGHTS, after=b"\x00\x01"), "field of number 0"),
        (sync_with(WEIGHTS, before=b"\x0a\x01\xff"), "is not valid"),
        (sync_with(b"\xff", after=b"\x7a\x80\x80\x80\x01" + bytes(2**21)), "carries no weights"),
    ],
    ids=[
        "lying size",
        "twice",
        "number",
        "many fields",
        "group",
        "endless",
        "zero",
        "text",
        "rest",
    ],
)
def test_a_sync_that_is_no_message_is_refused(data, text):
    decoder = Decoder(Memory())
    decoder.feed(data)
    with pytest.raises(WireError, match=text):
        decoder.next_message()


def test_the_start_of_a_loss_request_and_its_weights_are_one_frame():
    start = encode_start(m.LossRequest("s-1", 7, 2, ""), len(WEIGHTS))
    body = b"\x0a\x03s-1\x10\x07\x18\x02\x22" + bytes([len(WEIGHTS)]) + WEIGHTS
    assert start + WEIGHTS == frame(8, body)
    with pytest.raises(WireError, match="too long for protobuf"):
        encode_start(m.LossRequest("s-1", 7, 2, ""), MAX_SENT)


def test_a_version_error_knows_the_version_and_an_answer_can_have_it():
    decoder = Decoder()
    decoder.feed(frame(2, b"x", version=1))
    with pytest.raises(VersionError) as caught:
        decoder.next_message()
    assert caught.value.version == 1
    answer = encode(m.Status(), version=1)
    assert answer[:12] == bytes.fromhex("0a0a 0d01000000 1501000000")


def test_an_unknown_status_code_counts_as_a_failure():
    decoder = Decoder()
    decoder.feed(frame(1, b"\x08\x63\x12\x02hm"))
    assert decoder.next_message() == m.Status(m.StatusCode.ERROR_OTHERS, "hm")


def test_unknown_fields_of_a_newer_version_are_ignored():
    decoder = Decoder()
    decoder.feed(frame(1, b"\x12\x02hm\x7a\x01x"))
    assert decoder.next_message() == m.Status(m.StatusCode.OK, "hm")


@given(st.binary(max_size=100), st.integers(1, 10))
def test_any_body_decodes_or_is_refused(body, number):
    decoder = Decoder()
    decoder.feed(frame(number, body))
    try:
        message = decoder.next_message()
    except WireError:
        return
    assert decoder.between_messages
    assert message is not None


@given(
    st.builds(
        m.LossResponse,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(0, 2**31 - 1),
        st.builds(
            m.Status,
            st.sampled_from(m.StatusCode),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        ),
        st.floats(width=32, allow_nan=False),
        st.floats(width=32, allow_nan=False),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**31 - 1),
    )
)
def test_every_value_survives(message):
    assert decoded(encode(message), 7) == [message]
