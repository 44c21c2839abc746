"""Messages made to keep an SN busy: refused at once (FAULTS S7)."""

import contextlib
import time

import pytest
import rlp
from eth_utils.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from services.sn.adapters.p2p_messages import (
    MAX_ITEMS,
    MAX_MESSAGE,
    Items,
    Kind,
    decode,
    encode,
)
from services.sn.adapters.rlp_shape import MOST_IN_A_LIST, require_modest, require_modest_block

BRIEF_S = 5.0
"""Far more than a refusal needs; pyrlp needs minutes to days for these."""


def listed(payload):
    """An RLP list around ``payload``."""
    size = len(payload)
    if size < 56:
        return bytes([0xC0 + size]) + payload
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0xF7 + len(length)]) + length + payload


def nested(size):
    """Lists in lists, ``size`` bytes of them."""
    parts, total = [b"\xc0"], 1
    while total < size:
        head = listed(bytes(total))[:-total] if total < 300 else None
        if head is None:
            length = total.to_bytes((total.bit_length() + 7) // 8, "big")
            head = bytes([0xF7 + len(length)]) + length
        parts.append(head)
        total += len(head)
    return b"".join(reversed(parts))


BOMBS = {
    "many empty lists": b"\xc0" * (MAX_MESSAGE - 99),
    "many bytes": b"\x01" * (MAX_MESSAGE - 99),
    "many empty strings": b"\x80" * (MAX_MESSAGE - 99),
    "lists in lists": nested(MAX_MESSAGE - 99),
    "one long and many short": rlp.encode(bytes(15 << 20)) + b"\x01" * (1 << 19),
    "lists of lists": listed(b"\xc0" * 1_000) * 1_000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("kind", [*Kind])
def test_a_message_made_to_be_slow_is_refused_at_once(bomb, kind):
    head = rlp.encode(int(kind))
    started = time.monotonic()
    for raw in (listed(head + listed(bomb)), listed(head + bomb), listed(listed(bomb)), bomb):
        with pytest.raises(ValidationError):
            decode(raw)
    assert time.monotonic() - started < BRIEF_S


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_block_or_transaction_made_to_be_slow_is_not_even_decoded(bomb):
    started = time.monotonic()
    for raw in (listed(bomb), listed(listed(b"\x01") + listed(bomb)), bomb):
        with pytest.raises(ValidationError, match="too many items, or nested too deep"):
            require_modest(raw)
    assert time.monotonic() - started < BRIEF_S


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_transaction_in_a_block_is_looked_into_too(bomb):
    typed = rlp.encode(b"\x02" + listed(bomb))
    header = rlp.encode([b"x"] * 21)
    started = time.monotonic()
    with pytest.raises(ValidationError, match="too many items, or nested too deep"):
        require_modest_block(listed(header + listed(typed) + b"\xc0\xc0"))
    assert time.monotonic() - started < BRIEF_S
    for odd in (b"", b"\xc0", b"\xc1\xc0", b"\xc2\xc0\x80", listed(header), b"\xc3\xc0\xc9\xc0"):
        with contextlib.suppress(ValidationError):
            require_modest_block(odd)


def test_what_honest_sns_send_is_modest():
    transaction = [b"\x01" * 9] * 12
    header = [b"\x02" * 32] * 21
    require_modest_block(rlp.encode([header, [transaction] * 200, [], []]))
    require_modest_block(rlp.encode([header, [b"\x02" + rlp.encode(transaction)] * 200, [], []]))
    require_modest(rlp.encode([b"\0" * 100_000, []]))
    with pytest.raises(ValidationError):
        require_modest(rlp.encode([b""] * (MOST_IN_A_LIST + 1)))
    for items in ((), (b"",), (b"\0",), (b"x" * 100_000,) * 100, (b"tx",) * MAX_ITEMS):
        message = Items(Kind.TXS, items)
        assert decode(encode(message)) == message
    with pytest.raises(ValidationError, match="more than 4096 items"):
        decode(encode(Items(Kind.TXS, (b"tx",) * (MAX_ITEMS + 1))))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(raw):
    for text in (raw, listed(raw), listed(b"\x01" + raw), listed(b"\x03" + listed(raw))):
        try:
            message = decode(text)
        except ValidationError:
            continue
        assert encode(message) == text, "only one form of each message"


DEEP = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5), max_leaves=20
)


@given(DEEP)
def test_our_reading_is_pyrlps(item):
    raw = rlp.encode(item)
    expected = (
        isinstance(item, list) and len(item) == 2 and isinstance(item[0], bytes)
        and item[0] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05")
        and isinstance(item[1], list) and all(isinstance(each, bytes) for each in item[1])
    )  # fmt: skip
    try:
        message = decode(raw)
    except ValidationError:
        assert not expected
    else:
        assert expected or raw[1:2] == b"\x80"
        if expected:
            assert list(message.items) == item[1]


@given(st.integers(1, 5), st.lists(st.binary(max_size=70), max_size=9), st.data())
def test_messages_survive_the_way_and_not_a_wrong_byte(kind, items, data):
    message = Items(Kind(kind), tuple(items))
    raw = bytearray(encode(message))
    assert decode(bytes(raw)) == message
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValidationError):
        assert decode(bytes(raw)) != message
