"""A swarm inside one process: a thread for each organisation, the SL's own merging, no network.

For studies that train hundreds of swarms. It merges at the same batches as a real swarm in which
all take part in each round (`swarmlearning._cadence`), and by the same function as an SL
(`services.sl.core.merge`), so that it ends with the same parameters, byte for byte; `nature`
checks that against real processes.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from services.sl.core.merge import merge
from swarmlearning._cadence import Cadence
from swarmlearning.wire.tensors import layout_of, read, write_into


def train_together(models, programs, sync_every, method="mean"):
    """Run one training program per model, as members of one swarm.

    Args:
        models: torch modules with float parameters and buffers, in the order in which they are
            to be merged (a real swarm's is that of the node ids).
        programs: functions that take a member, on which they make the four calls of SwarmCallback.
        sync_every: batches.
        method: merge method.

    Returns:
        What the programs returned.
    """
    rounds = _Rounds(models, method)
    barrier = threading.Barrier(len(models), action=rounds.merge)

    def run(program):
        try:
            return program(Member(barrier, sync_every))
        except BaseException:
            barrier.abort()  # the others must not wait for this one
            raise

    with ThreadPoolExecutor(len(programs)) as pool:
        futures = [pool.submit(run, program) for program in programs]
    errors = [error for error in (future.exception() for future in futures) if error]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    return [future.result() for future in futures]


class Member:
    """What a program sees of the swarm: the calls of SwarmCallback."""

    def __init__(self, barrier, sync_every):
        self._barrier, self._cadence = barrier, Cadence(sync_every)

    def on_train_begin(self):
        self._sync()

    def on_batch_end(self, batch=None):
        if self._cadence.due:
            self._sync()
        self._cadence.count()

    def on_epoch_end(self, epoch=None):
        pass

    def on_train_end(self):
        self._barrier.wait()

    def _sync(self):
        self._barrier.wait()
        self._cadence.synced(self._cadence.interval, over=False)


class _Rounds:
    """Merges the models' states, round after round."""

    def __init__(self, models, method):
        self._models, self._method = models, method
        self._merged = None  # data section of the last round's merge

    def merge(self):
        """Give all models the merge of their states."""
        files = [_as_file(model) for model in self._models]
        layout = files[0][1]
        merged = bytearray(layout.file_size)
        sections = [memoryview(file)[layout.data_offset :] for file, _ in files]
        output = memoryview(merged)[layout.data_offset :]
        merge(self._method, layout, sections, [1] * len(files), output, self._merged)
        self._merged = output
        arrays = read(merged, layout)
        with torch.no_grad():
            for model in self._models:
                for name, tensor in model.state_dict().items():
                    tensor.copy_(torch.from_numpy(np.array(arrays[name])))


def _as_file(model):
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    layout = layout_of(arrays, frozenset())
    file = bytearray(layout.file_size)
    write_into(file, arrays, layout)
    return file, layout
