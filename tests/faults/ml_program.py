"""A small ML program on our client, without a framework, so that fault tests start fast.

`python ml_program.py NODE BATCHES`: "trains" by moving its parameters towards its own target; with
`--die-at N` it kills itself after N batches; with `--gates FOLDER` it waits before each tenth batch
for the file of that number.
"""

import argparse
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from swarmlearning import _options
from swarmlearning._session import Session
from swarmlearning.wire.tensors import layout_of


class Model:
    """Two tensors that move towards a target of the node's own."""

    def __init__(self, node: int) -> None:
        self.arrays = {
            "weight": np.zeros((40, 30), np.float32), "steps": np.array(0, np.int64),
        }  # fmt: skip
        self.target = np.full((40, 30), float(node), np.float32)

    def layout(self):
        return layout_of(self.arrays)

    def save(self, target):
        for name, array in self.arrays.items():
            np.copyto(target[name], array)

    def load(self, source):
        for name, array in self.arrays.items():
            np.copyto(array, source[name])

    def evaluate(self):
        loss = float(np.square(self.arrays["weight"] - self.target).mean())
        return loss, 1.0 / (1.0 + loss)

    def train(self) -> None:
        self.arrays["weight"] += 0.1 * (self.target - self.arrays["weight"])
        self.arrays["steps"] += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("node", type=int)
    parser.add_argument("batches", type=int)
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--gates", type=Path)
    arguments = parser.parse_args()
    log = logging.getLogger("SwarmCallback")
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)

    options = _options.parse(
        1, int(os.environ["MIN_PEERS"]), "defaultbb.cqdb.sml.hpe",
        {"totalEpochs": arguments.batches, **json.loads(os.environ.get("CALLBACK", "{}"))},
        (), log,
    )  # fmt: skip
    model = Model(arguments.node)
    session = Session(options, model, log)
    session.open()
    session.train_begin()
    for batch in range(arguments.batches):
        if batch == arguments.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if arguments.gates and batch and batch % 10 == 0:
            while not (arguments.gates / str(batch)).exists():
                time.sleep(0.05)  # a file has no event
        model.train()
        session.batch_end()
        session.epoch_end()
    session.train_end()
    digest = float(model.arrays["weight"].sum()), int(model.arrays["steps"])
    Path(os.environ["MODEL_DIR"], "end.json").write_text(json.dumps(digest))


if __name__ == "__main__":
    main()
