"""Packed chunks: what goes in comes out, and nothing else is let in."""

import numpy as np
import pytest
import zstandard

from services.sl.core.packing import MAX_PACKED, Packer, PackingError, Unpacker
from swarmlearning.wire.digest import CHUNK

RANDOM = np.random.default_rng(0)
FLOATS = RANDOM.standard_normal(CHUNK // 4).astype(np.float32).tobytes()
CHUNKS = {
    "nothing": b"",
    "a-byte": b"x",
    "float32": FLOATS,
    "float32-and-a-rest": FLOATS[:100_003],
    "float64": RANDOM.standard_normal(10_000).tobytes(),
    "float16": RANDOM.standard_normal(10_000).astype(np.float16).tobytes(),
    "zeros": bytes(CHUNK),
    "noise": RANDOM.bytes(CHUNK),
}


def unpacked(packed, length):
    room = bytearray(length)
    Unpacker().unpack(memoryview(packed), memoryview(room))
    return bytes(room)


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS.keys())
def test_what_is_packed_comes_out_again(chunk):
    packed = Packer().pack(memoryview(chunk))
    assert len(packed) <= len(chunk) + 1 <= MAX_PACKED
    assert unpacked(packed, len(chunk)) == chunk


def test_float_parameters_shrink_by_a_tenth_at_least():
    assert len(Packer().pack(memoryview(FLOATS))) < 0.9 * len(FLOATS)


def bomb(declared):
    """A frame of a few kilobytes that unpacks to much more than ``declared`` may say."""
    zeros = bytes(64 * CHUNK)
    if declared:
        return b"\4" + zstandard.ZstdCompressor().compress(zeros)
    packer = zstandard.ZstdCompressor(write_content_size=False)
    return b"\4" + packer.compress(zeros)


BAD = {
    "nothing": b"",
    "unknown-width": b"\3" + zstandard.ZstdCompressor().compress(bytes(1000)),
    "no-zstd": b"\4" + bytes(1000),
    "shorter": b"\4" + zstandard.ZstdCompressor().compress(bytes(999)),
    "longer": b"\4" + zstandard.ZstdCompressor().compress(bytes(1001)),
    "plain-and-longer": b"\0" + bytes(1001),
    "declared-bomb": bomb(declared=True),
    "silent-bomb": bomb(declared=False),
    "cut": b"\4" + zstandard.ZstdCompressor().compress(RANDOM.bytes(1000))[:-9],
    "two-frames": b"\4" + zstandard.ZstdCompressor().compress(bytes(1000)) * 2,
}


@pytest.mark.parametrize("packed", BAD.values(), ids=BAD.keys())
def test_anything_else_is_refused(packed):
    with pytest.raises(PackingError):
        unpacked(packed, 1000)


def test_a_frame_that_lies_about_its_length_is_refused():
    honest = bytearray(zstandard.ZstdCompressor().compress(bytes(300)))
    assert honest[4] & 0xE0 == 0x60, "single segment, two bytes of length: as this test needs it"
    honest[5:7] = (1000 - 256).to_bytes(2, "little")
    assert zstandard.get_frame_parameters(honest).content_size == 1000
    with pytest.raises(PackingError):
        unpacked(b"\4" + bytes(honest), 1000)
