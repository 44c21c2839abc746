"""A small ML program on our client whose every step the test decides.

It reads lines from its standard input: ``sync`` trains a batch and syncs, ``end`` ends the
training. All models that it hands over or gets are kept in KEPT, each in a file named by its
digest, so that the test can merge them again.

Environment: those of the client, and NODE (what it trains towards), ITEMS (size of its model),
MIN_PEERS, CONTRACT, CALLBACK (JSON, more arguments of the callback), KEPT.
"""

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np

from swarmlearning import _options
from swarmlearning._session import Session
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import layout_of, write_into


def model_file(arrays):
    """The bytes that a model is on its way."""
    layout = layout_of(arrays)
    buffer = bytearray(layout.file_size)
    write_into(buffer, arrays, layout)
    return bytes(buffer)


def keep(folder, content):
    """Keep a model file under its digest; the digest."""
    digest = digest_of(content)
    path = Path(folder, digest)
    if not path.exists():
        draft = path.with_name(f".{digest}.{os.getpid()}")
        draft.write_bytes(content)
        draft.rename(path)
    return digest


class Model:
    """Two tensors; the large one moves towards a target of the node's own."""

    def __init__(self, node, items, kept):
        self.arrays = {
            "weight": np.zeros(items, np.float32), "steps": np.array(0, np.int64),
        }  # fmt: skip
        self.target = np.random.default_rng(node).standard_normal(items).astype(np.float32)
        self.kept = kept

    def layout(self):
        return layout_of(self.arrays)

    def save(self, target):
        for name, array in self.arrays.items():
            np.copyto(target[name], array)
        keep(self.kept, model_file(self.arrays))

    def load(self, source):
        for name, array in self.arrays.items():
            np.copyto(array, source[name])
        keep(self.kept, model_file(self.arrays))

    def evaluate(self):
        loss = float(np.square(self.arrays["weight"] - self.target).mean())
        return loss, 1.0 / (1.0 + loss)

    def train(self):
        self.arrays["weight"] += np.float32(0.1) * (self.target - self.arrays["weight"])
        self.arrays["steps"] += 1


def main() -> None:
    environment = os.environ
    log = logging.getLogger("SwarmCallback")
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
    options = _options.parse(
        1, int(environment["MIN_PEERS"]), environment["CONTRACT"],
        {"totalEpochs": 100, **json.loads(environment.get("CALLBACK", "{}"))}, (), log,
    )  # fmt: skip
    model = Model(int(environment["NODE"]), int(environment["ITEMS"]), environment["KEPT"])
    session = Session(options, model, log)
    session.open()
    begun = False
    for line in iter(sys.stdin.readline, "end\n"):
        if line != "sync\n":
            sys.exit(f"{line!r} is no command")
        model.train()
        if begun:
            session.batch_end()
        else:
            session.train_begin()
            session.batch_end()  # the first batch of a training is never due
            begun = True
    session.train_end()


if __name__ == "__main__":
    main()
