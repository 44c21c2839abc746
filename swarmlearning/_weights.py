"""The two model files that an ML program shares with its SL: one out, one in.

Both files stay mapped between syncs and are written in place: touching fresh pages costs more than
the copy itself. The protocol makes that safe: the SL has read our file before it answers, and
rewrites its own only after we have answered.
"""

import mmap
import os
from pathlib import Path

from swarmlearning._model import ModelAdapter
from swarmlearning.errors import SwarmError
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import Layout, WireError, read, view, write_header

TRAINED = "trained_weights.safetensors"
"""What the ML program writes; HPE's client calls its pickle ``trained_weights.pkl``."""

MERGED = "merged_weights.safetensors"
"""What the SL writes."""

DEFAULT_FOLDER = "/tmp/hpe-swarm"  # noqa: S108 - HPE's fixed place, a volume shared with the SL
"""Where both lie, unless ``SL_WEIGHTS_DIR`` (ours) says otherwise."""


class _Mapping:
    """A file kept open and mapped for as long as it stays the same file of the same size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._map: mmap.mmap | None = None

    def mapped(self, size: int | None = None) -> mmap.mmap:
        """The whole file; with ``size``, made that long first (content kept where it overlaps)."""
        try:
            self._reopen_if_replaced()
            actual = os.fstat(self._fd).st_size
            if size is not None and actual != size:
                self._drop_map()
                if size > actual:
                    os.posix_fallocate(self._fd, 0, size)  # a full disk must not be a SIGBUS later
                os.ftruncate(self._fd, size)
                actual = size
            if self._map is None or len(self._map) != actual:
                self._drop_map()
                self._map = mmap.mmap(self._fd, actual)
        except OSError as exc:
            raise SwarmError(
                f"{self.path}: {exc.strerror}; this folder must be a volume that the ML and SL "
                "containers share, writable for both, with room for the model"
            ) from exc
        except ValueError as exc:  # an empty file cannot be mapped
            raise SwarmError(f"{self.path}: the SL left the file empty") from exc
        return self._map

    def close(self) -> None:
        self._drop_map()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _reopen_if_replaced(self) -> None:
        there = self.path.stat()
        if self._fd >= 0:
            ours = os.fstat(self._fd)
            if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
                return
        self.close()
        self._fd = os.open(self.path, os.O_RDWR)

    def _drop_map(self) -> None:
        self._map = None  # unmapped once no array refers to it any more


class Outbox:
    """The file of local parameters, written by us and read by the SL.

    Args:
        folder: the hand-over folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = _Mapping(folder / TRAINED)

    def write(self, model: ModelAdapter) -> None:
        """Write the model's parameters: one copy, from the model to the shared pages.

        Raises:
            SwarmError: a parameter cannot be exchanged, or the file cannot be written.
        """
        layout = model.layout()
        _save(model, layout, self._file.mapped(layout.file_size))

    def write_copy(self, inbox: "Inbox") -> None:
        """Write what the SL last handed over, for a peer that goes on as ``active``."""
        source = inbox.raw()
        target = self._file.mapped(len(source))
        memoryview(target)[:] = memoryview(source)

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._file.close()


class Inbox:
    """The file of merged parameters, written by the SL and read by us.

    Args:
        folder: the hand-over folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: _Mapping | None = None

    @property
    def received(self) -> bool:
        """A merged model was handed over in this session."""
        return self._file is not None

    def receive(self, file_name: str, model: ModelAdapter) -> None:
        """Load the file ``file_name``, which the SL just announced, into the model.

        Raises:
            SwarmError: the name is not a plain file name, the file is not a model file, or it
                holds another model.
        """
        if Path(file_name).name != file_name or not file_name.endswith(".safetensors"):
            raise SwarmError(f"the SL announced {file_name!r}, which is not a model file's name")
        path = self._folder / file_name
        if self._file is None or self._file.path != path:
            self.close()
            self._file = _Mapping(path)
        self.load_again(model)

    def load_again(self, model: ModelAdapter) -> None:
        """Load the last merged model into the model once more.

        Raises:
            SwarmError: see :meth:`receive`.
        """
        raw = self.raw()
        try:
            arrays = read(raw)
        except WireError as exc:
            raise SwarmError(f"the merged model from the SL is damaged: {exc}") from exc
        model.load(arrays)

    def raw(self) -> mmap.mmap:
        """The bytes of the last merged model."""
        assert self._file is not None, "nothing was received yet"
        return self._file.mapped()

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._file is not None:
            self._file.close()


def model_digest(model: ModelAdapter) -> str:
    """Digest of the model file that the parameters, as they are now, would make (64 hex digits).

    Equal on all peers exactly when their parameters are the same bit by bit.
    """
    layout = model.layout()
    memory = mmap.mmap(-1, layout.file_size)
    _save(model, layout, memory)
    return digest_of(memory)


def _save(model: ModelAdapter, layout: Layout, target: mmap.mmap) -> None:
    write_header(target, layout)
    model.save({tensor.name: view(target, layout, tensor) for tensor in layout.tensors})
