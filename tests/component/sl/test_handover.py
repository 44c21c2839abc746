import errno
import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from services.common.errors import LayoutError, StorageError
from services.sl.adapters.handover import deliver, ingest
from services.sl.adapters.store import Store
from swarmlearning.wire.digest import CHUNK, digest_of
from swarmlearning.wire.tensors import layout_of, parse, read, write_into
from tests.component.sl.foreign_client import OldNumpy, model, pickled

OURS, THEIRS = "trained_weights.safetensors", "trained_weights.pkl"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "hpe-swarm"
    made.mkdir()
    for name in (OURS, THEIRS, "merged_weights.safetensors", "merged_weights.pkl"):
        (made / name).touch()
    return made


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def file_of(arrays, bfloat16=()):
    layout = layout_of(arrays, bfloat16)
    buffer = bytearray(layout.file_size)
    write_into(buffer, arrays, layout)
    return bytes(buffer)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def leftovers(store):
    return [path.name for path in store.folder.iterdir()]


def test_our_clients_file_enters_the_store_byte_by_byte(folder, store):
    raw = file_of(model())
    (folder / OURS).write_bytes(raw)
    digest, size = ingest(folder, OURS, store)
    assert (digest, size) == (digest_of(raw), len(raw))
    assert store.path(digest).read_bytes() == raw
    assert leftovers(store) == [digest]


def test_a_file_of_many_chunks_has_the_digest_of_its_bytes(folder, store):
    raw = file_of({"w": np.random.default_rng(0).random(2 * CHUNK // 8 + 1000)})
    (folder / OURS).write_bytes(raw)
    digest, _ = ingest(folder, OURS, store)
    assert digest == digest_of(raw)
    assert store.path(digest).read_bytes() == raw


def test_bfloat16_stays_what_it_is(folder, store):
    raw = file_of({"x": np.array([0x3F80, 0xC000], "u2")}, {"x"})
    (folder / OURS).write_bytes(raw)
    digest, _ = ingest(folder, OURS, store)
    assert store.path(digest).read_bytes() == raw


def test_a_file_of_the_safetensors_library_is_rewritten_in_our_form(folder, store):
    arrays = {name: np.asarray(a, order="C") for name, a in model().items()}
    (folder / OURS).write_bytes(safetensors.numpy.save(arrays, metadata={"format": "pt"}))
    digest, size = ingest(folder, OURS, store)
    stored = store.path(digest).read_bytes()
    assert (digest, size) == (digest_of(stored), len(stored))
    same(read(stored), arrays)
    layout = parse(stored)
    assert layout.data_offset % 64 == 0
    assert leftovers(store) == [digest]


@pytest.mark.parametrize("protocol", [0, 3, 4, 5], ids=["numpy 1", "3", "4", "5"])
def test_a_pickle_becomes_the_same_file_as_our_client_writes(folder, store, protocol):
    raw = pickle.dumps(model(), protocol) if protocol else pickled(model())
    (folder / THEIRS).write_bytes(raw)
    digest, size = ingest(folder, THEIRS, store)
    assert store.path(digest).read_bytes() == file_of(model())
    assert size == store.size(digest)


def test_a_large_pickle_is_read_on_all_its_chunks(folder, store):
    arrays = {"w": np.random.default_rng(0).random(2 * CHUNK // 8 + 1000), "n": np.array(3)}
    (folder / THEIRS).write_bytes(pickled(arrays))
    digest, _ = ingest(folder, THEIRS, store)
    assert digest == digest_of(file_of(arrays))


def lying(header_change):
    raw = bytearray(file_of({"x": np.zeros(4, "f4")}))
    return bytes(raw).replace(*header_change)


REFUSED = {
    "empty": (OURS, b"", "left trained_weights.safetensors empty"),
    "empty pickle": (THEIRS, b"", "left trained_weights.pkl empty"),
    "garbage": (OURS, b"\xff" * 100, "the header claims"),
    "truncated": (OURS, file_of(model())[:-1], "bytes of data but the file has"),
    "longer": (OURS, file_of(model()) + b"x", "bytes of data but the file has"),
    "lying shape": (OURS, lying((b'"shape":[4]', b'"shape":[9]')), "does not fit"),
    "lying dtype": (OURS, lying((b"F32", b"F64")), "does not fit"),
    "unknown dtype": (OURS, lying((b"F32", b"F31")), "is not one of"),
    "huge header": (OURS, (2**60).to_bytes(8, "little"), "the header claims"),
    "no parameters": (OURS, file_of({}), "no parameters"),
    "nan": (OURS, file_of({"good": np.ones(3), "w": np.array([1, np.nan])}), "'w' holds values"),
    "inf": (OURS, file_of({"w": np.array([np.inf], "f4")}), "'w' holds values"),
    "nan in half": (OURS, file_of({"h": np.array([np.nan], "f2")}), "'h' holds values"),
    "inf in bfloat16": (OURS, file_of({"x": np.array([0x7F80], "u2")}, {"x"}), "'x' holds values"),
    "odd booleans": (
        OURS,
        file_of({"b": np.array([2], "u1")}).replace(b'"U8"', b'"BOOL"').replace(b" " * 2, b"", 1),
        "booleans other than",
    ),
    "nan in a pickle": (THEIRS, pickle.dumps({"w": np.array([np.nan])}), "'w' holds values"),
    "a pickle that calls": (
        THEIRS,
        b"cos\nsystem\n(S'touch hacked'\ntR.",
        "wants to use 'os.system'",
    ),
    "a pickle that calls in protocol 4": (
        THEIRS,
        b"\x80\x04cposix\nsystem\n\x8c\x0ctouch hacked\x85R.",
        "wants to use 'posix.system'",
    ),
    "an object array": (THEIRS, pickle.dumps({"w": np.array([print])}), "are not numbers"),
    "a pickle in our name": (OURS, pickled(model()), "the header claims"),
    "our file in a pickle's name": (THEIRS, file_of(model()), "opcode"),
}


@pytest.mark.parametrize(("name", "raw", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_files_are_refused_with_the_reason_and_leave_nothing(
    folder, store, name, raw, reason, monkeypatch
):
    monkeypatch.chdir(folder)
    (folder / name).write_bytes(raw)
    with pytest.raises(LayoutError) as caught:
        ingest(folder, name, store)
    assert reason in str(caught.value)
    assert leftovers(store) == []
    assert not (folder / "hacked").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../trained_weights.pkl",
        "/etc/passwd",
        "merged_weights.pkl",
        "trained_weights.npz",
        "trained_weights",
        "trained_weights.pkl\0",
        "x" * 5000 + ".pkl",
    ],
)
def test_only_the_two_names_are_read(folder, store, name):
    with pytest.raises(LayoutError, match="this SL reads") as caught:
        ingest(folder, name, store)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_links_are_not_followed(folder, store, tmp_path, link):
    secret = tmp_path / "secret"
    secret.write_bytes(file_of(model()))
    for name in (OURS, "merged_weights.safetensors"):
        (folder / name).unlink()
        getattr(folder / name, link)(secret)
    with pytest.raises(StorageError):
        ingest(folder, OURS, store)
    (tmp_path / "source").write_bytes(file_of({"x": np.ones(1)}))
    with pytest.raises(StorageError):
        deliver(tmp_path / "source", folder, OURS)
    assert secret.read_bytes() == file_of(model())


def test_a_pipe_in_place_of_the_file_does_not_block(folder, store):
    (folder / OURS).unlink()
    os.mkfifo(folder / OURS)
    with pytest.raises(StorageError, match="is not the file that the SL made"):
        ingest(folder, OURS, store)


def test_a_missing_file_is_an_error_that_names_it(folder, store):
    (folder / OURS).unlink()
    with pytest.raises(StorageError, match="trained_weights"):
        ingest(folder, OURS, store)


def test_a_file_that_shrinks_while_it_is_read_is_refused(folder, store, monkeypatch):
    (folder / OURS).write_bytes(file_of({"w": np.zeros(CHUNK // 2)}))
    read = os.preadv

    def shorten(fd, buffers, offset):
        if offset > CHUNK:
            os.truncate(folder / OURS, CHUNK)
        return read(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", shorten)
    with pytest.raises(LayoutError, match="got shorter"):
        ingest(folder, OURS, store)
    assert leftovers(store) == []


@pytest.mark.parametrize("place", [0, CHUNK // 8, CHUNK // 4 + 5, 3 * CHUNK // 4 - 1])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(folder, store, place):
    arrays = {"n": np.arange(9), "w": np.zeros(3 * CHUNK // 4, np.float32)}
    arrays["w"][place] = np.nan
    (folder / OURS).write_bytes(file_of(arrays))
    with pytest.raises(LayoutError, match="tensor 'w' holds values that are not finite"):
        ingest(folder, OURS, store)
    assert leftovers(store) == []


def test_a_header_longer_than_a_chunk(folder, store):
    arrays = {f"{i:0100}": np.full(3, i, np.float32) for i in range(30_000)}
    raw = file_of(arrays)
    (folder / OURS).write_bytes(raw)
    digest, size = ingest(folder, OURS, store)
    assert (size, store.path(digest).read_bytes()) == (len(raw), raw)
    arrays[f"{0:0100}"][1] = np.inf
    (folder / OURS).write_bytes(file_of(arrays))
    with pytest.raises(LayoutError, match="not finite"):
        ingest(folder, OURS, store)


def test_delivery_where_the_kernel_cannot_copy(folder, tmp_path, monkeypatch):
    (tmp_path / "source").write_bytes(file_of(model()))

    def cannot(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    name = deliver(tmp_path / "source", folder, OURS)
    assert (folder / name).read_bytes() == (tmp_path / "source").read_bytes()


def test_a_stored_file_that_shrinks_while_it_is_delivered_is_an_error(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "source").write_bytes(file_of(model()))

    def cannot(*_):
        os.truncate(tmp_path / "source", 10)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    monkeypatch.setattr(os, "pread", pread_at_most(100))
    with pytest.raises(StorageError, match="got shorter"):
        deliver(tmp_path / "source", folder, OURS)


def pread_at_most(times):
    """Turns an endless loop into a failure."""
    read, calls = os.pread, iter(range(times))

    def counted(*arguments):
        assert next(calls, None) is not None, "it never ends"
        return read(*arguments)

    return counted


def test_a_full_disk_is_said_and_leaves_nothing(folder, store, monkeypatch):
    (folder / OURS).write_bytes(file_of(model()))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="free some space"):
        ingest(folder, OURS, store)
    assert leftovers(store) == []


HUGE_CLAIM = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
from services.common.errors import LayoutError
from services.sl.adapters.handover import ingest
from services.sl.adapters.store import Store
try:
    ingest(Path(sys.argv[1]), sys.argv[2], Store(Path(sys.argv[3])))
except LayoutError as exc:
    status = Path("/proc/self/status").read_text()
    peak = status.split("VmHWM:")[1].split()[0]  # KiB; ru_maxrss would count pytest's own pages
    print("refused:", exc, peak)
"""


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        (THEIRS, b"\x80\x05}\x8c\x01x\x96" + (2**40).to_bytes(8, "little") + b"data"),
        (THEIRS, b"\x80\x04}r\xff\xff\xff\x7f."),
        (OURS, (2**24).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[1099511627776]'),
    ],
)
def test_huge_claims_cost_no_memory(folder, tmp_path, name, raw):
    (folder / name).write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", HUGE_CLAIM, str(folder), name, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("refused:"), done.stderr
    assert int(done.stdout.split()[-1]) < 400_000  # KiB: what the imports take


def test_delivery_to_our_client_is_the_stored_file_and_reuses_its_pages(folder, tmp_path):
    source, target = tmp_path / "source", folder / "merged_weights.safetensors"
    inode = target.stat().st_ino
    for arrays in (model(), {"large": np.ones(CHUNK)}, {"small": np.ones(1)}):
        source.write_bytes(file_of(arrays))
        assert deliver(source, folder, OURS) == target.name
        assert target.read_bytes() == source.read_bytes()
        assert target.stat().st_ino == inode


def test_delivery_to_hpes_client_is_a_pickle_of_numpy_1(folder, tmp_path):
    bfloat = {"bf": np.array([0x3F80, 0xC000], "u2"), "bf0": np.array(0x4000, "u2")}
    source, target = tmp_path / "source", folder / "merged_weights.pkl"
    source.write_bytes(file_of({**model(), **bfloat}, bfloat))
    target.write_bytes(b"a longer file of the last sync" * 1000)
    assert deliver(source, folder, THEIRS) == target.name
    found = OldNumpy(io.BytesIO(target.read_bytes())).load()
    counter = found.pop("bn.num_batches_tracked")
    assert (counter.dtype.kind, counter.shape, counter) == ("f", (), 7)
    assert found.pop("bf").tolist() == [1, -2]
    assert (found["bf0"].dtype, found.pop("bf0")) == (np.float32, 2)
    expected = model()
    del expected["bn.num_batches_tracked"]
    same(found, expected)
    assert target.stat().st_size < 2000


def test_a_full_volume_on_delivery_is_said(folder, tmp_path, monkeypatch):
    (tmp_path / "source").write_bytes(file_of(model()))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="shared with the ML program"):
        deliver(tmp_path / "source", folder, OURS)
