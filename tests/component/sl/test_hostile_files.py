"""S5: whatever bytes an ML program hands over, they become a good model file or a refusal.

Mutations of good files, thousands of them at `SWARM_SOAK=N`; the hostile files made by hand are in
`test_handover.py` and, against whole SL processes, in `tests/faults/test_sl_ml.py`.
"""

import os
import random
import tracemalloc

import numpy as np
import pytest

from services.common.errors import LayoutError
from services.sl.adapters.handover import TRAINED, ingest
from services.sl.adapters.store import Store
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import layout_of, read, write_into
from tests.component.sl.foreign_client import pickled

MUTANTS = 300 * int(os.environ.get("SWARM_SOAK", "1"))
ARRAYS = {
    "layer.weight": np.arange(60, dtype=np.float32).reshape(12, 5),
    "layer.bias": np.ones(12, np.float64),
    "steps": np.array(7, np.int64),
    "mask": np.array([True, False, True]),
}
MOST_MEMORY = 8 * 1024 * 1024
"""Bytes that a refusal may cost; the files have two kilobytes."""


def safetensors():
    layout = layout_of(ARRAYS)
    buffer = bytearray(layout.file_size)
    write_into(buffer, ARRAYS, layout)
    return bytes(buffer)


GOOD = {".safetensors": safetensors(), ".pkl": pickled(ARRAYS)}
DIGITS = b"0123456789"


def other_bit(raw, at, chance):
    raw[at] ^= 1 << chance.randrange(8)


def other_byte(raw, at, chance):
    raw[at] = chance.randrange(256)


def other_numbers(raw, _at, chance):
    places = [i for i, byte in enumerate(raw[:400]) if byte in DIGITS]
    for place in chance.sample(places, min(3, len(places))):
        raw[place] = chance.choice(DIGITS)


def hole(raw, at, chance):
    del raw[at : at + chance.randint(1, 40)]


def noise(raw, at, chance):
    raw[at:at] = chance.randbytes(chance.randint(1, 40))


def repetition(raw, at, chance):
    raw[at:at] = raw[at : at + chance.randint(1, 200)]


def end(raw, at, _chance):
    del raw[at:]


CHANGES = (other_bit, other_byte, other_numbers, hole, noise, repetition, end)


def mutant(content, chance):
    """The file with one to three things wrong with it, most of them in its header."""
    raw = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(min(len(raw), 400) if chance.random() < 0.8 else len(raw))
        chance.choice(CHANGES)(raw, at, chance)
        raw = raw or bytearray(1)
    return bytes(raw)


@pytest.mark.parametrize("suffix", list(GOOD))
def test_a_mutated_file_is_taken_whole_or_refused(tmp_path, suffix):
    chance = random.Random(suffix)
    store = Store(tmp_path / "store")
    path = tmp_path / (TRAINED + suffix)
    taken = refused = 0
    tracemalloc.start()
    try:
        for number in range(MUTANTS):
            raw = mutant(GOOD[suffix], chance)
            path.write_bytes(raw)
            tracemalloc.reset_peak()
            try:
                digest, size = ingest(tmp_path, path.name, store)
            except LayoutError as exc:
                assert str(exc), number
                refused += 1
            else:
                content = store.path(digest).read_bytes()
                assert digest_of(content) == digest
                assert len(content) == size
                assert all(
                    np.isfinite(array).all() for array in read(content).values() if array.size
                )
                taken += 1
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY, number
            assert store.collect(()) <= 1, "nothing else is left"
            assert not list(store.folder.iterdir())
    finally:
        tracemalloc.stop()
    assert refused > MUTANTS / 3
    assert taken > 0
