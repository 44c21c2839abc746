"""An ML program that does nothing but sync a numpy model, and says how long each sync took.

``bench_round`` starts one per SL. All programs ask at the same moment, so that no time is spent
waiting for a slow one; what they print is read from the ``times.json`` that each leaves behind.
"""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np

from swarmlearning._model import Arrays
from swarmlearning._options import CheckinModel, Options, SLMergeMethod
from swarmlearning._session import Session
from swarmlearning.wire.tensors import Layout, layout_of

TENSORS = 20
CONTRACT = "defaultbb.cqdb.sml.hpe"


class NumpyModel:
    """A model of float32 arrays that remembers when it was handed out and in.

    Args:
        size: bytes.
        seed: of its values.
    """

    def __init__(self, size: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        count = size // 4 // TENSORS
        self.arrays = {
            f"layer{i}.weight": random.standard_normal(count, dtype=np.float32)
            for i in range(TENSORS)
        }
        self.loaded = self.saved = 0.0

    def layout(self) -> Layout:
        """See ``ModelAdapter``; so for the others."""
        return layout_of(self.arrays)

    def save(self, target: Arrays) -> None:
        for name, array in self.arrays.items():
            np.copyto(target[name], array)
        self.saved = time.monotonic()

    def load(self, source: Arrays) -> None:
        for name, array in self.arrays.items():
            np.copyto(array, source[name])
        self.loaded = time.monotonic()

    def evaluate(self) -> tuple[float, float]:
        return 1.0, 0.0

    def change(self, by: float) -> None:
        """What training does: other values."""
        for array in self.arrays.values():
            array[:: 1 << 10] += np.float32(by)


def meet(folder: Path, me: int, peers: int, number: int) -> None:
    """Wait until all programs are here for the ``number``-th time."""
    (folder / f"meet-{number}-{me}").touch()
    while any(not (folder / f"meet-{number}-{i}").exists() for i in range(1, peers + 1)):
        time.sleep(0.001)


def main() -> None:
    """Arguments: folder to meet in, own number, peers, bytes of the model, syncs."""
    folder, me, peers, size, syncs = Path(sys.argv[1]), *map(int, sys.argv[2:])
    options = Options(
        sync_frequency=1, min_peers=peers, contract=CONTRACT, total_epochs=0,
        checkin=CheckinModel.snapshot, weightage=1, merge_method=SLMergeMethod.mean,
        adaptive=False, val_data=None, val_batch_size=None, extra={},
    )  # fmt: skip
    model = NumpyModel(size, me)
    session = Session(options, model, logging.getLogger("bench"))
    session.open()
    times = []
    for number in range(syncs):
        model.change(number + me)
        meet(folder, me, peers, number)
        began = time.monotonic()
        session.train_begin()
        times.append(
            {"asked": began, "saved": model.saved, "loaded": model.loaded, "on": time.monotonic()}
        )
    session.train_end()
    (folder / f"times-{me}.json").write_text(json.dumps(times))


if __name__ == "__main__":
    main()
