"""Speed of the hand-over between ML program and SL, and of the digest.

``python -m tests.bench.bench_handover [MB]`` prints each stage beside a warm copy of the same bytes
(the limit) and beside pickle 5 (what HPE's client does), and SHA-256 on one and two threads. Wall
and CPU seconds: on a busy machine, compare the latter.
"""

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np

from services.common.ids import Digest
from services.sl.adapters.handover import MERGED, TRAINED, deliver, ingest
from services.sl.adapters.store import Store
from swarmlearning._weights import Inbox, Outbox
from swarmlearning.wire.digest import digest_of
from tests.bench import naive
from tests.bench.bench_dataplane import medians, timed
from tests.bench.round_program import NumpyModel

REPEATS = 9
SUFFIX = ".safetensors"


def works(folder: Path, size: int) -> dict[str, Callable[[], object]]:
    """What is measured, by name.

    Args:
        folder: empty.
        size: bytes of the model.
    """
    model, store = NumpyModel(size, 0), Store(folder / "store")
    for stem in (TRAINED, MERGED):
        (folder / (stem + SUFFIX)).touch()
    outbox, inbox = Outbox(folder), Inbox(folder)
    outbox.write(model)
    digest, _ = ingest(folder, TRAINED + SUFFIX, store)
    source = folder / "merged"
    source.write_bytes(store.path(digest).read_bytes())
    flat = np.concatenate(list(model.arrays.values()))
    warm, whole = np.zeros_like(flat), source.read_bytes()
    pool = ThreadPoolExecutor(2)
    room = memoryview(bytearray(1 << 18))

    def take() -> None:
        store.collect({Digest("")})
        ingest(folder, TRAINED + SUFFIX, store)

    def read_only() -> None:
        with (folder / (TRAINED + SUFFIX)).open("rb", buffering=0) as file:
            while file.readinto(room):
                pass

    def give() -> None:
        inbox.receive(deliver(source, folder, TRAINED + SUFFIX), model)

    def pickled() -> None:
        naive.save(model.arrays, folder / "pickle")
        naive.load(folder / "pickle")

    return {
        "warm memcpy (limit)": lambda: np.copyto(warm, flat),
        "ML writes, in place": lambda: outbox.write(model),
        "SL reads it once, nothing else": read_only,
        "SL takes it: read, hash, check, store": take,
        "SL delivers the merged model": lambda: deliver(source, folder, TRAINED + SUFFIX),
        "SL delivers, ML loads": give,
        "pickle 5, dump and load (baseline)": pickled,
        "SHA-256, plain, one thread": lambda: sha256(whole).digest(),
        "digest, one thread": lambda: digest_of(whole),
        "digest, two threads": lambda: digest_of(whole, pool.map),
    }


def main() -> None:
    """Measure and print."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else "100") * 1_000_000
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        measured = works(Path(name), size)
        runs: dict[str, list[tuple[float, float]]] = {}
        for turn in range(REPEATS + 1):
            for what, work in measured.items():
                if turn:
                    runs.setdefault(what, []).append(timed(work))
                else:
                    work()
    limit = medians(runs["warm memcpy (limit)"])
    print(f"{size // 10**6} MB, medians of {REPEATS}, in turn")
    print(f"{'':42}{'s':>8}{'CPU s':>8}{'of memcpy':>11}{'by CPU':>8}")
    for what, measurements in runs.items():
        wall, cpu = medians(measurements)
        print(f"{what:42}{wall:8.3f}{cpu:8.3f}{limit[0] / wall:11.2f}{limit[1] / cpu:8.2f}")
    copies = [
        medians(runs[what]) for what in ("ML writes, in place", "SL reads it once, nothing else")
    ]
    pickled = medians(runs["pickle 5, dump and load (baseline)"])
    alone, by_cpu = (sum(each[i] for each in copies) for i in (0, 1))
    print(f"hand-over alone (write, and one read): {limit[0] / alone:.2f} of memcpy, "
          f"{limit[1] / by_cpu:.2f} by CPU (target 0.6); {pickled[0] / alone:.1f} x pickle 5 "
          f"(target 4), {pickled[1] / by_cpu:.1f} by CPU")  # fmt: skip


if __name__ == "__main__":
    main()
