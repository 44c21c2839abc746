"""One node's program: the digits example with a merge method and a bias to choose, and one liar.

With `--poison` the node sends its update sign-flipped and ten times as large: where its training
moved the parameters by u since the last merge, it sends the merged parameters minus 10 u.
"""

import argparse
import json
import os
from pathlib import Path

import data
import torch
from sklearn.metrics import f1_score
from torch import nn

from swarmlearning.pyt import SwarmCallback

EPOCHS = int(os.environ.get("MAX_EPOCHS", "10"))
BATCHES, BATCH = 16, 16  # batches per epoch: the same for all nodes, however many images they have
LEARNING_RATE = 0.1
SYNC_EVERY = 4  # batches
POISON = -10.0


def new_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def measure(model, test):
    """Loss, accuracy and mean F1 over the classes on the test set."""
    images, labels = test
    with torch.no_grad():
        scores = model(images)
    found = scores.argmax(1)
    return {
        "loss": float(nn.functional.cross_entropy(scores, labels)),
        "accuracy": float((found == labels).double().mean()),
        "f1": float(f1_score(labels, found, average="macro", zero_division=0)),
    }


def copy_of(model):
    return [tensor.clone() for tensor in model.state_dict().values()]


def poison(model, merged):
    """Put what a malicious node sends into the model."""
    with torch.no_grad():
        for tensor, base in zip(model.state_dict().values(), merged, strict=True):
            tensor.copy_(base + POISON * (tensor - base))


def train(model, own, test, seed, swarm, poisoned=False):
    """The training loop. Returns the measures after each epoch, beginning with none."""
    images, labels = own
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_of = nn.CrossEntropyLoss()
    swarm.on_train_begin()
    curve, done, merged = [measure(model, test)], 0, copy_of(model)
    for epoch in range(EPOCHS):
        shuffled = torch.randperm(len(images), generator=order)[: BATCHES * BATCH]
        for batch in shuffled.split(BATCH):
            optimizer.zero_grad()
            loss_of(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            done += 1
            merges = done > 1 and done % SYNC_EVERY == 1  # at the calls after 5, 9, 13... batches
            if poisoned and merges:
                poison(model, merged)
            swarm.on_batch_end()
            if merges:
                merged = copy_of(model)
                latest = measure(model, test)
        swarm.on_epoch_end(epoch)
        curve.append(latest)
    if poisoned:
        poison(model, merged)
    swarm.on_train_end()
    curve[-1] = measure(model, test)
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, required=True, help="1 to 5")
    parser.add_argument("--bias", choices=data.BIASES, default="absolute")
    parser.add_argument("--method", default="mean", help="mergeMethod")
    parser.add_argument("--poison", type=int, default=0, help="number of the malicious node")
    given = parser.parse_args()
    torch.set_num_threads(1)
    own, test = [tuple(map(torch.from_numpy, part)) for part in data.load(given.node, given.bias)]
    model = new_model()
    swarm = SwarmCallback(
        syncFrequency=SYNC_EVERY,
        minPeers=data.NODES,
        model=model,
        totalEpochs=EPOCHS,
        mergeMethod=given.method,
    )
    curve = train(model, own, test, given.node, swarm, given.node == given.poison)
    folder = Path(os.environ.get("MODEL_DIR", "."))
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "result.json").write_text(json.dumps({"curve": curve}))
    print(curve[-1])


if __name__ == "__main__":
    main()
