"""One organisation's program: plain PyTorch plus the four calls of SwarmCallback.

Trains twice with the same loop: first alone, to see how far its own few digits take it, then as a
part of the swarm. `--node 0` has all the data in one place and trains alone only.

From its environment it takes MAX_EPOCHS, MIN_PEERS, MODEL_DIR (gets model.pt and result.json), and,
where `--node` is not given, its number from the end of NODE_ID, such as user-3.
"""

import argparse
import json
import os
from pathlib import Path

import data
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from swarmlearning.pyt import SwarmCallback

EPOCHS = int(os.environ.get("MAX_EPOCHS", "20"))
MIN_PEERS = int(os.environ.get("MIN_PEERS", "4"))
BATCH = 16
LEARNING_RATE = 0.1
SYNC_EVERY = 4  # batches


def new_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def accuracy(model, test):
    images, labels = test
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


def train(model, own, test, seed, swarm=None):
    """The training loop; the lines with `swarm` are all that Swarm Learning adds.

    Returns the accuracy on the test set over time, as [epochs, accuracy] pairs.
    """
    shuffle = torch.Generator().manual_seed(seed)
    batches = DataLoader(TensorDataset(*own), BATCH, shuffle=True, generator=shuffle)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_of = nn.CrossEntropyLoss()
    curve, done = [[0, accuracy(model, test)]], 0
    if swarm:
        swarm.on_train_begin()
    for epoch in range(EPOCHS):
        for number, (images, labels) in enumerate(batches):
            optimizer.zero_grad()
            loss_of(model(images), labels).backward()
            optimizer.step()
            if swarm:
                swarm.on_batch_end(number)
            done += 1
            if swarm and done > 1 and done % SYNC_EVERY == 1:  # merged just now: after 5, 9, 13...
                curve.append([done / len(batches), accuracy(model, test)])
        if swarm:
            swarm.on_epoch_end(epoch)
        else:
            curve.append([epoch + 1, accuracy(model, test)])
    if swarm:
        swarm.on_train_end()
        curve.append([EPOCHS, accuracy(model, test)])
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, help="from 1; 0: all the data; default: as in NODE_ID")
    parser.add_argument("--organisations", type=int, default=data.ORGANISATIONS, help="default 5")
    given = parser.parse_args()
    node = data.number_of(os.environ.get("NODE_ID", "")) if given.node is None else given.node
    if node is None or not 0 <= node <= given.organisations:
        parser.error(f"which node? Give --node 0 to {given.organisations}, or NODE_ID=user-1")
    torch.set_num_threads(1)
    own, test = [
        tuple(map(torch.from_numpy, part)) for part in data.load(node, given.organisations)
    ]

    curves = {"alone": train(new_model(), own, test, seed=node)}
    if node:
        model = new_model()
        swarm = SwarmCallback(
            syncFrequency=SYNC_EVERY,
            minPeers=MIN_PEERS,
            model=model,
            totalEpochs=EPOCHS,
            adsValData=DataLoader(TensorDataset(*test), len(test[0])),
            lossFunction="CrossEntropyLoss",
            lossFunctionArgs={},
            metricFunction="Accuracy",
            metricFunctionArgs={"task": "multiclass", "num_classes": 10},
        )
        curves["swarm"] = train(model, own, test, seed=node, swarm=swarm)
        torch.save(model.state_dict(), Path(os.environ.get("MODEL_DIR", "."), "model.pt"))

    digits = map(str, data.classes_of(node, given.organisations)) if node else ()
    holds = f"digits {' '.join(digits)}" if node else "all the data"
    result = {"holds": holds, "curves": curves}
    result |= {way: {"accuracy": curve[-1][1]} for way, curve in curves.items()}
    Path(os.environ.get("MODEL_DIR", "."), "result.json").write_text(json.dumps(result))
    print({way: curve[-1][1] for way, curve in curves.items()})


if __name__ == "__main__":
    main()
