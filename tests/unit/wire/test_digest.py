from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest

from swarmlearning.wire.digest import CHUNK, Digester, digest_of

SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5]


def oracle(data):
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    return sha256(b"".join(sha256(chunk).digest() for chunk in chunks)).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_digest_is_sha256_over_chunk_digests_however_it_is_fed(size):
    data = np.random.default_rng(size).bytes(size)
    expected = oracle(data)
    assert digest_of(data) == expected
    for step in (CHUNK, CHUNK // 3 + 1, 3 * CHUNK):
        digester = Digester()
        for at in range(0, size, step):
            digester.update(data[at : at + step])
        assert digester.hexdigest() == expected


def test_an_empty_file_has_the_digest_of_nothing():
    assert digest_of(b"") == Digester().hexdigest() == sha256(b"").hexdigest()


def test_asking_for_the_digest_does_not_end_it():
    digester = Digester()
    digester.update(b"ab")
    assert digester.hexdigest() == digest_of(b"ab")
    digester.update(b"c")
    assert digester.hexdigest() == digest_of(b"abc")


def test_threads_give_the_same_digest():
    data = np.random.default_rng(1).bytes(5 * CHUNK + 17)
    with ThreadPoolExecutor(2) as pool:
        assert digest_of(data, pool.map) == oracle(data)


def test_arrays_are_hashed_as_their_bytes():
    array = np.arange(1000, dtype=np.float64).reshape(10, 100)
    assert digest_of(memoryview(array)) == digest_of(array.tobytes())


def test_one_changed_bit_changes_the_digest():
    data = bytearray(CHUNK + 10)
    before = digest_of(data)
    data[-1] ^= 1
    assert digest_of(data) != before
