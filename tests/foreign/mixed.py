"""A node of a mixed swarm: `python -m tests.foreign.mixed INDEX FOLDER`; the first one is ours."""

import sys
from pathlib import Path

import numpy as np
import torch

from swarmlearning.pyt import SwarmCallback
from tests.foreign.model import CLASSES, PIXELS, Digits
from tests.foreign.train import digits

NODES = 3


class Net(torch.nn.Module):
    """The same tensors as `Digits` has."""

    def __init__(self, like):
        super().__init__()
        self.linear = torch.nn.Linear(PIXELS, CLASSES)
        self.norm = torch.nn.Module()
        self.norm.register_buffer("num_batches_tracked", torch.tensor(0))
        for name in ("scale", "mask", "halves", "seen"):
            self.register_buffer(name, torch.tensor(like.tensors[name]))

    def forward(self, x):
        self.norm.num_batches_tracked += 1
        return self.linear(x)


def main():
    index, folder = int(sys.argv[1]), Path(sys.argv[2])
    features, labels = digits(index, NODES)
    net = Net(Digits(features, labels, index))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    x, y = torch.tensor(features, dtype=torch.float32), torch.tensor(labels)
    with SwarmCallback(syncFrequency=8, minPeers=NODES, model=net, totalEpochs=1) as callback:
        for batch in range(20):
            rows = slice(batch * 32 % len(x), batch * 32 % len(x) + 32)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
            callback.on_batch_end()
    assert Path("/tmp/hpe-swarm/merged_weights.safetensors").stat().st_size
    np.savez(folder / "state.npz", **{name: t.numpy() for name, t in net.state_dict().items()})


if __name__ == "__main__":
    main()
