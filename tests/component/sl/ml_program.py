"""A user's PyTorch program: trains for as many batches as told, prints what it ends with."""

import json
import sys

import torch

from swarmlearning.pyt import SwarmCallback


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.register_buffer("f64", torch.tensor([1 / 3, 1e300], dtype=torch.float64))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("bf", torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
        self.register_buffer("big", torch.tensor(2**60 + 1))

    def forward(self, x):
        return self.norm(self.linear(x))


def main():
    batches, arguments = int(sys.argv[1]), json.loads(sys.argv[2])
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    if arguments.pop("validate", False):
        data = torch.utils.data.TensorDataset(torch.randn(5, 4), torch.zeros(5, 3))
        arguments["adsValData"] = torch.utils.data.DataLoader(data, batch_size=2)
    with SwarmCallback(minPeers=1, model=net, totalEpochs=1, **arguments) as callback:
        for _ in range(batches):
            optimizer.zero_grad()
            net(torch.randn(8, 4)).square().sum().backward()
            optimizer.step()
            callback.on_batch_end()
        callback.on_epoch_end()
    state = net.state_dict()
    values = {name: [str(t.dtype), t.double().tolist()] for name, t in state.items()}
    sys.stdout.write(f"STATE {json.dumps(values)}\n")


if __name__ == "__main__":
    main()
