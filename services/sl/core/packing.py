"""Chunks of model files, packed for slow links: bytes of equal place side by side, then zstd.

Float parameters hardly compress as they are (0.92); with all first bytes of the items first, then
all second bytes, and so on, the exponents do (0.84, ``docs/performance-data.md``). A packed chunk
is one byte, the items' width, and then a zstd frame; or the byte 0 and the chunk itself, where
packing gains nothing.
"""

import numpy as np
import zstandard

from swarmlearning.wire.digest import CHUNK

CODING = "swarm-zstd"
"""Our name for it as an HTTP content coding."""

MAX_PACKED = CHUNK + 1
"""Longest packed chunk (bytes): one that does not shrink is sent as it is."""

LEVEL = 1
"""Of zstd; higher ones pack slower and no better."""

_WIDTHS = (1, 2, 4, 8)
_SAMPLE = 64 * 1024
_PLAIN = b"\0"


class PackingError(ValueError):
    """Bytes that are not a packed chunk of the length expected."""


class Packer:
    """Packs chunk after chunk; not to be shared between threads."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=LEVEL)

    def pack(self, chunk: memoryview) -> bytes:
        """The packed form of at most 4 MiB."""
        width = min(_WIDTHS, key=lambda width: self._length(chunk[:_SAMPLE], width))
        packed = bytes([width]) + self._zstd.compress(_by_place(chunk, width))
        return packed if len(packed) <= len(chunk) else _PLAIN + bytes(chunk)

    def _length(self, sample: memoryview, width: int) -> int:
        return len(self._zstd.compress(_by_place(sample, width)))


class Unpacker:
    """Unpacks chunk after chunk; not to be shared between threads."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=2 * CHUNK)

    def unpack(self, packed: memoryview, room: memoryview) -> None:
        """Fill ``room`` with the chunk. Needs twice its length of memory, whatever comes in.

        Raises:
            PackingError: it is no packed chunk, or one of another length.
        """
        width, body = packed[:1], packed[1:]
        if width == _PLAIN:
            if len(body) != len(room):
                raise PackingError(f"a chunk of {len(body)} bytes came instead of {len(room)}")
            room[:] = body
            return
        if not width or width[0] not in _WIDTHS:
            raise PackingError("not a packed chunk")
        _spread(self._decompress(body, len(room)), width[0], room)

    def _decompress(self, body: memoryview, length: int) -> bytes:
        try:
            declared = zstandard.get_frame_parameters(body).content_size
            if declared != length:
                raise PackingError(f"a chunk of {declared} bytes came instead of {length}")
            plain = self._zstd.decompress(body, max_output_size=length, allow_extra_data=False)
        except zstandard.ZstdError as exc:
            raise PackingError(f"not a packed chunk: {exc}") from exc
        if len(plain) != length:
            raise PackingError(f"a chunk of {len(plain)} bytes came instead of {length}")
        return plain


def _by_place(chunk: memoryview, width: int) -> bytes:
    """First bytes of all items, then second bytes, ...; a rest that is no item comes last."""
    whole = len(chunk) // width * width
    items = np.frombuffer(chunk[:whole], np.uint8).reshape(-1, width)
    return items.T.tobytes() + bytes(chunk[whole:])


def _spread(plain: bytes, width: int, room: memoryview) -> None:
    """Undo :func:`_by_place`."""
    whole = len(room) // width * width
    items = np.frombuffer(room[:whole], np.uint8).reshape(-1, width)
    by_place = np.frombuffer(plain, np.uint8, whole).reshape(width, -1)
    for place in range(width):
        items[:, place] = by_place[place]
    room[whole:] = plain[whole:]
