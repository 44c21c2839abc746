"""One hospital's program: plain PyTorch plus the four calls of SwarmCallback.

Trains twice with the same loop: first alone, then as a part of the swarm. `--node 0` has all the
nodes' data in one place and trains alone only.

The measurements must be standardised in the same way everywhere, but no node may see another's
rows. So the model carries two buffers: the mean of x and the mean of x squared, of 30 numbers each.
Every node fills in its own, the first merge averages them with the rest of the model, and because
all nodes hold equally many cases (100), the average is exactly the moments of all cases together.
(Nodes of different size would give `nodeWeightage` in proportion.) Two sums per measurement is all
that a node tells about its data, and the test set has no part in it.
"""

import argparse
import json
import os
from pathlib import Path

import data
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from swarmlearning.pyt import SwarmCallback

EPOCHS = int(os.environ.get("MAX_EPOCHS", "20"))
MIN_PEERS = int(os.environ.get("MIN_PEERS", "3"))
BATCH = 10
LEARNING_RATE = 0.1
SYNC_EVERY = 4  # batches


class Standardize(nn.Module):
    """Standardises its input by the moments in its buffers, which merge like all parameters."""

    def __init__(self, cases):
        super().__init__()
        self.register_buffer("mean_of_x", cases.mean(0))
        self.register_buffer("mean_of_x_squared", (cases**2).mean(0))

    def forward(self, cases):
        variance = self.mean_of_x_squared - self.mean_of_x**2
        return ((cases - self.mean_of_x) / variance.sqrt()).float()


def new_model(cases, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        Standardize(cases), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0)
    )


def measure(model, test):
    """Accuracy and area under the ROC curve on the test set."""
    cases, malignant = test
    with torch.no_grad():
        scores = model(cases)
    right = ((scores > 0).float() == malignant).double().mean().item()
    return {"accuracy": right, "auc": float(roc_auc_score(malignant, scores))}


def train(model, own, test, seed, swarm=None):
    """The training loop; the lines with `swarm` are all that Swarm Learning adds.

    Returns the accuracy on the test set over time, as [epochs, accuracy] pairs.
    """
    shuffle = torch.Generator().manual_seed(seed)
    batches = DataLoader(TensorDataset(*own), BATCH, shuffle=True, generator=shuffle)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_of = nn.BCEWithLogitsLoss()
    curve, done = [[0, measure(model, test)["accuracy"]]], 0
    if swarm:
        swarm.on_train_begin()
    for epoch in range(EPOCHS):
        for number, (cases, malignant) in enumerate(batches):
            optimizer.zero_grad()
            loss_of(model(cases), malignant).backward()
            optimizer.step()
            if swarm:
                swarm.on_batch_end(number)
            done += 1
            if swarm and done > 1 and done % SYNC_EVERY == 1:  # merged just now: after 5, 9, 13...
                curve.append([done / len(batches), measure(model, test)["accuracy"]])
        if swarm:
            swarm.on_epoch_end(epoch)
        else:
            curve.append([epoch + 1, measure(model, test)["accuracy"]])
    if swarm:
        swarm.on_train_end()
        curve.append([EPOCHS, measure(model, test)["accuracy"]])
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, required=True, help="1 to 3; 0: all the data")
    node = parser.parse_args().node
    torch.set_num_threads(1)
    own, test = [tuple(map(torch.from_numpy, part)) for part in data.load(node)]

    model = new_model(own[0])
    result = {"curves": {"alone": train(model, own, test, seed=node)}}
    result["alone"] = measure(model, test)
    if node:
        model = new_model(own[0])
        swarm = SwarmCallback(
            syncFrequency=SYNC_EVERY,
            minPeers=MIN_PEERS,
            model=model,
            totalEpochs=EPOCHS,
            adsValData=DataLoader(TensorDataset(*test), len(test[0])),
            lossFunction="BCEWithLogitsLoss",
            lossFunctionArgs={},
            metricFunction="Accuracy",
            metricFunctionArgs={"task": "binary"},
        )
        result["curves"]["swarm"] = train(model, own, test, seed=node, swarm=swarm)
        result["swarm"] = measure(model, test)
        torch.save(model.state_dict(), Path(os.environ.get("MODEL_DIR", "."), "model.pt"))

    mix = "{} malignant, {} benign".format(*data.MIXES[node - 1])
    result["holds"] = mix if node else "all the data"
    Path(os.environ.get("MODEL_DIR", "."), "result.json").write_text(json.dumps(result))
    print({way: result[way] for way in ("alone", "swarm") if way in result})


if __name__ == "__main__":
    main()
