"""A small ML program on our client, for tests of SWOP.

    ml_program.py train SYNCS   train that many batches, sync after each, save the model
    ml_program.py crash         fail with a traceback before any session
    ml_program.py copy FILE     copy a file to copy.txt, without a session
    ml_program.py loopback      end well without a session
    ml_program.py flood MIB     print that much, then fail
    ml_program.py wait FILE N   end with exit code N once a file is there
    ml_program.py stubborn      never end, not even when told to
    ml_program.py idle          never open a session, never end; leaves a grandchild behind

Environment: MIN_PEERS, CONTRACT, NODE; GATE: a file in the working directory; where it is set, the
second batch waits until it is there.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from swarmlearning import _options
from swarmlearning._session import Session
from swarmlearning.wire.tensors import layout_of


class Model:
    """One tensor that moves towards a target of the node's own."""

    def __init__(self, node):
        self.arrays = {"weight": np.zeros(1000, np.float32)}
        self.target = np.float32(node)

    def layout(self):
        return layout_of(self.arrays)

    def save(self, target):
        np.copyto(target["weight"], self.arrays["weight"])

    def load(self, source):
        np.copyto(self.arrays["weight"], source["weight"])

    def evaluate(self):
        loss = float(np.square(self.arrays["weight"] - self.target).mean())
        return loss, 1.0 / (1.0 + loss)

    def train(self):
        self.arrays["weight"] += np.float32(0.5) * (self.target - self.arrays["weight"])


def train(syncs):
    log = logging.getLogger("SwarmCallback")
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
    options = _options.parse(
        1, int(os.environ["MIN_PEERS"]), os.environ["CONTRACT"], {"totalEpochs": 1}, (), log
    )
    model = Model(int(os.environ["NODE"]))
    session = Session(options, model, log)
    session.open()
    session.train_begin()
    for batch in range(syncs + 1):
        gate = os.environ.get("GATE")
        while batch and gate and not Path(gate).exists():
            time.sleep(0.02)
        model.train()
        session.batch_end()
    session.train_end()
    Path(f"model-{os.environ['NODE']}.txt").write_text(str(float(model.arrays["weight"][0])))


def crash():
    raise ValueError("there is no data in /nowhere")


def flood(mebibytes):
    for _ in range(int(mebibytes)):
        sys.stdout.write("x" * (1024 * 1024 - 1) + "\n")
    sys.stdout.write("the end")
    sys.exit(3)


def wait(path, code):
    while not Path(path).exists():
        time.sleep(0.02)
    sys.exit(int(code))


def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("stubborn").touch()
    time.sleep(1000)


def idle():
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    Path(f"grandchild-{os.environ['NODE']}.txt").write_text(str(child.pid))
    time.sleep(1000)


MODES = {
    "train": lambda syncs: train(int(syncs)), "crash": crash, "flood": flood, "wait": wait,
    "copy": lambda path: shutil.copyfile(path, "copy.txt"), "loopback": lambda: None,
    "stubborn": stubborn, "idle": idle,
}  # fmt: skip


if __name__ == "__main__":
    MODES[sys.argv[1]](*sys.argv[2:])
