"""Merging files of a store: the right bytes, the right culprit, nothing left when it ends early."""

import asyncio
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import ConfigError, NotFoundError, StorageError
from services.common.ids import Digest
from services.sl.adapters import merging
from services.sl.adapters.job import Stop
from services.sl.adapters.merging import InputError, merge_files
from services.sl.adapters.store import Store
from services.sl.core.merge import merge
from services.sl.core.methods import METHODS
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import layout_of, parse, read, write_into
from tests.component.sl.plane import DEADLINE, model_file, other_layout, put


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def arrays_file(arrays):
    layout = layout_of(arrays)
    buffer = bytearray(layout.file_size)
    write_into(buffer, arrays, layout)
    return bytes(buffer)


def model_arrays(file, factor):
    """The same model with all parameters multiplied."""
    arrays = {name: np.array(array) for name, array in read(file).items()}
    arrays["w"] = (arrays["w"] * factor).astype(np.float32)
    return arrays_file(arrays)


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


async def test_merges_and_stores_under_the_digest_of_the_bytes(store):
    files = [model_file(seed) for seed in range(3)]
    inputs = [(put(store, file), weight) for file, weight in zip(files, [1, 2, 3], strict=True)]
    merged_file = await merge_files("mean", store, inputs)
    digest, size = merged_file.digest, merged_file.size
    content = store.path(digest).read_bytes()
    assert (len(content), digest_of(content)) == (size, digest)
    models, merged = [read(file) for file in files], read(content)
    expected = (
        sum(m["w"].astype(np.float64) * w for m, w in zip(models, [1, 2, 3], strict=True)) / 6
    )
    assert (merged["w"] == expected.astype(np.float32)).all()
    assert merged["n"] == 1  # (0*1 + 1*2 + 2*3) / 6 = 1.33


async def test_the_same_inputs_give_the_same_file_whatever_their_headers_look_like(store):
    one, two = model_file(1), model_file(2)
    length = int.from_bytes(one[:8], "little")
    padded = (
        (length + 64).to_bytes(8, "little") + one[8 : 8 + length] + b" " * 64 + one[8 + length :]
    )
    plain = await merge_files("mean", store, [(put(store, one), 1), (put(store, two), 1)])
    other = await merge_files("mean", store, [(put(store, padded), 1), (put(store, two), 1)])
    assert put(store, padded) != put(store, one)
    assert plain == other


async def test_many_blocks_and_one_peer(store):
    file = model_file(5, count=100_000)
    digest = put(store, file)
    assert (await merge_files("mean", store, [(digest, 3)])).digest == digest


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (other_layout(), r"'w' is F32\[7\], expected F32\[1000\]"),
        (model_file(9, bad=np.nan), "'w' holds values that are not finite"),
        (model_file(9, bad=-np.inf), "'w' holds values that are not finite"),
        (model_file(9)[:-1], "the header describes"),
        (b"\xff" * 100, "the header claims"),
        (b"pickle", "only 6 bytes"),
        (b"", "empty"),
    ],
    ids=["layout", "nan", "inf", "truncated", "lying header", "short", "empty"],
)
async def test_a_bad_input_is_named(store, bad, message):
    contents = [model_file(1), model_file(2), bad, model_file(3)]
    inputs = [(put(store, content), 1) for content in contents]
    before = names(store)
    with pytest.raises(InputError, match=message) as caught:
        await merge_files("mean", store, inputs)
    assert caught.value.index == 2
    assert names(store) == before


async def test_the_index_counts_inputs_of_weightage_zero_too(store):
    contents = [b"not read", model_file(1), model_file(2), model_file(3, bad=np.inf)]
    inputs = [(put(store, content), int(n > 0)) for n, content in enumerate(contents)]
    with pytest.raises(InputError) as caught:
        await merge_files("mean", store, inputs)
    assert caught.value.index == 3


async def test_the_agreed_layout_decides(store):
    agreed, odd = put(store, model_file(1)), put(store, other_layout())
    assert await merge_files("mean", store, [(odd, 1)])
    with pytest.raises(InputError) as caught:
        await merge_files("mean", store, [(odd, 1)], agreed=agreed)
    assert caught.value.index == 0


async def test_unknown_method_and_missing_file(store):
    digest = put(store, model_file(1))
    with pytest.raises(ConfigError, match="unknown merge method 'best'"):
        await merge_files("best", store, [(digest, 1)])
    with pytest.raises(NotFoundError):
        await merge_files("mean", store, [(digest, 1), (Digest("0" * 64), 1)])


async def test_a_file_that_shrinks_under_the_merge_is_an_error_not_the_end(store, monkeypatch):
    digests = [put(store, model_file(seed, count=200_000)) for seed in range(2)]
    real = merging._layout

    def shrink_after_header(file):
        layout = real(file)
        os.truncate(store.path(file.digest), 1000)
        return layout

    monkeypatch.setattr(merging, "_layout", shrink_after_header)
    with pytest.raises(StorageError, match="got shorter"):
        await merge_files("mean", store, [(d, 1) for d in digests])


async def test_a_full_disk_leaves_nothing_and_the_next_merge_works(store):
    inputs = [(put(store, model_file(seed, count=200_000)), 1) for seed in range(2)]
    before, limits = names(store), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="disk is full"):
            await merge_files("mean", store, inputs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(store) == before
    await merge_files("mean", store, inputs)


async def test_cancelling_stops_between_blocks_and_leaves_nothing(store, monkeypatch):
    inputs = [(put(store, model_file(seed, count=200_000)), 1) for seed in range(2)]
    before = names(store)
    started, go_on, merged = threading.Event(), threading.Event(), []
    real = merging.merge_block

    def slow(*arguments):
        merged.append(arguments[2])
        started.set()
        assert go_on.wait(DEADLINE)
        real(*arguments)

    told = Stop.set

    def set_and_go_on(stop):
        told(stop)
        go_on.set()

    monkeypatch.setattr(merging, "merge_block", slow)
    monkeypatch.setattr(Stop, "set", set_and_go_on)
    task = asyncio.create_task(merge_files("mean", store, inputs))
    assert await asyncio.to_thread(started.wait, DEADLINE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(merged) == 1
    assert names(store) == before


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_the_file_is_what_the_merge_in_memory_gives_in_large_and_in_small_blocks(
    store, method
):
    files = [model_file(seed, count=70_000) for seed in range(4)]
    base, weights = model_file(9, count=70_000), [3, 1, 2, 2]
    layout = parse(base)
    sections = [memoryview(file)[layout.data_offset :] for file in files]
    expected = bytearray(layout.data_size)
    merge(method, layout, sections, weights, expected, base[layout.data_offset :])
    inputs = [(put(store, file), weight) for file, weight in zip(files, weights, strict=True)]
    agreed = put(store, base)
    results = [
        await merge_files(method, store, inputs, agreed, ram_intensive=large)
        for large in (True, False)
    ]
    assert results[0] == results[1]
    content = store.path(results[0].digest).read_bytes()
    assert content[layout.data_offset :] == bytes(expected)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("with_base", [False, True], ids=["first round", "later"])
async def test_each_inputs_update_is_compared(store, method, with_base):
    files = [model_file(seed) for seed in range(5)]
    wild = model_arrays(files[3], factor=1000.0)
    inputs = [(put(store, file), 1) for file in [*files[:3], wild, files[4]]]
    inputs[1] = (inputs[1][0], 0)
    agreed = put(store, model_arrays(files[0], factor=0.0)) if with_base else None
    merged = await merge_files(method, store, inputs, agreed)
    assert merged.updates[1] is None
    assert [u is not None and u.is_outlier for u in merged.updates] == [False] * 3 + [True, False]
    assert merged.updates[3].ratio == pytest.approx(1000, rel=0.3)


async def test_models_without_parameters_cannot_be_compared(store):
    files = [arrays_file({"n": np.array(n)}) for n in (1, 5)]
    merged = await merge_files("normclip", store, [(put(store, file), 1) for file in files])
    assert merged.updates == (None, None)
    assert read(store.path(merged.digest).read_bytes())["n"] == 3


async def test_without_the_base_only_methods_that_measure_from_it_refuse(store):
    inputs = [(put(store, model_file(seed)), 1) for seed in range(3)]
    gone = Digest("0" * 64)
    for method in ("mean", "coordmedian"):
        assert await merge_files(method, store, inputs, gone) == await merge_files(
            method, store, inputs
        )
    for method in ("geomedian", "normclip"):
        with pytest.raises(NotFoundError):
            await merge_files(method, store, inputs, gone)


MEMORY = """
import asyncio, sys
from pathlib import Path
from services.sl.adapters.merging import merge_files
from services.sl.adapters.store import Store
from services.sl.core.methods import METHODS

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

store = Store(Path(sys.argv[1]))
inputs = [(path.name, number) for number, path in enumerate(sorted(store.folder.iterdir()), 1)]
for name, _ in inputs:
    assert store.has(name)
agreed = inputs[0][0]
for method in METHODS:
    asyncio.run(merge_files(method, store, inputs[:2], agreed))
before = peak()
for method in METHODS:
    asyncio.run(merge_files(method, store, inputs[:4], agreed))
four = peak()
for method in METHODS:
    asyncio.run(merge_files(method, store, inputs, agreed))
print(four - before, peak() - before)
"""


def test_memory_does_not_grow_with_the_models_and_hardly_with_the_number_of_peers(store):
    """16 models of 8 MB, all methods: a few blocks of each (KiB in the output)."""
    for seed in range(16):
        put(store, model_file(seed, count=2_000_000))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(store.folder)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    four, sixteen = map(int, done.stdout.split())
    assert four < 8 * 1024
    assert sixteen < 9 * 1024  # 1.1 models
