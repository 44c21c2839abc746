import pytest
import rlp
from eth_utils import ValidationError

from services.sn.adapters.p2p_messages import decode, is_endpoint


@pytest.mark.parametrize(
    "text", ["h:1", ":30303", "10.0.0.1:30303", "[::1]:30303", "a-b.c_d:65535"]
)
def test_endpoints(text):
    assert is_endpoint(text)


@pytest.mark.parametrize(
    "text", ["", "h", "h:0", "h:65536", "a:b:30303", "[abc:1", "::1:30303", "h :1"]
)
def test_what_cannot_be_dialled_is_no_endpoint(text):
    assert not is_endpoint(text)


def nested(depth):
    raw = b"\xc0"
    for _ in range(depth):
        size = len(raw)
        if size < 56:
            raw = bytes([0xC0 + size]) + raw
        else:
            length = size.to_bytes((size.bit_length() + 7) // 8)
            raw = bytes([0xF7 + len(length)]) + length + raw
    return raw


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\xc0", nested(3000), rlp.encode([b"\x09", b"x"])])
def test_other_bytes_are_no_message(raw):
    with pytest.raises(ValidationError):
        decode(raw)
