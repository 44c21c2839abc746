"""One organisation's program in scikit-learn: `partial_fit` plus the calls of SwarmCallback.

The same data as in `examples/digits`. Trains twice with the same loop: first alone, to see how far
its own two digits take it, then as a part of the swarm. `--node 0` has all the data and trains
alone only. Without the accuracies in between, `SwarmSklearnTrainer(swarm).fit(images, labels,
batch_size=16, epochs=20)` is all that a program needs.
"""

import argparse
import json
import os
from pathlib import Path

import data
import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.utils import gen_batches, shuffle

from swarmlearning.sklearn import SwarmCallback

EPOCHS = int(os.environ.get("MAX_EPOCHS", "20"))
MIN_PEERS = int(os.environ.get("MIN_PEERS", "4"))
BATCH = 16
LEARNING_RATE = 0.1
SYNC_EVERY = 4  # batches
DIGITS = list(range(10))  # all that any organisation holds


def new_model(own):
    model = MLPClassifier(
        (64,), solver="sgd", learning_rate_init=LEARNING_RATE, momentum=0, random_state=0
    )
    return model.partial_fit(own[0][:BATCH], own[1][:BATCH], classes=DIGITS)


def train(model, own, test, seed, swarm=None):
    """The training loop; the lines with `swarm` are all that Swarm Learning adds.

    Returns the accuracy on the test set over time, as [epochs, accuracy] pairs.
    """
    images, labels = own
    curve = [[0, model.score(*test)]]
    if swarm:
        swarm.on_train_begin()
    for epoch in range(EPOCHS):
        images, labels = shuffle(images, labels, random_state=seed + epoch)
        for batch in gen_batches(len(images), BATCH):
            model.partial_fit(images[batch], labels[batch])
            if swarm:
                swarm.on_batch_end()
        curve.append([epoch + 1, model.score(*test)])
        if swarm:
            swarm.on_epoch_end(epoch)
    if swarm:
        swarm.on_train_end()
        curve[-1][1] = model.score(*test)
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, required=True, help="1 to 5; 0: all the data")
    node = parser.parse_args().node
    own, test = data.load(node)
    folder = Path(os.environ.get("MODEL_DIR", "."))

    curves = {"alone": train(new_model(own), own, test, seed=node)}
    if node:
        model = new_model(own)
        swarm = SwarmCallback(
            syncFrequency=SYNC_EVERY,
            minPeers=MIN_PEERS,
            model=model,
            totalEpochs=EPOCHS,
            adsValData=test,
            lossFunction="log_loss",
            metricFunction="accuracy_score",
        )
        curves["swarm"] = train(model, own, test, seed=node, swarm=swarm)
        np.savez(folder / "model.npz", *model.coefs_, *model.intercepts_)

    holds = "digits {} {}".format(*data.classes_of(node)) if node else "all the data"
    result = {"holds": holds, "curves": curves}
    result |= {way: {"accuracy": curve[-1][1]} for way, curve in curves.items()}
    (folder / "result.json").write_text(json.dumps(result))
    print({way: curve[-1][1] for way, curve in curves.items()})


if __name__ == "__main__":
    main()
