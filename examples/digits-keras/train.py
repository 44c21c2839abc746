"""One organisation's program in Keras: `model.fit` with SwarmCallback in its list of callbacks.

The same data as in `examples/digits`. Trains twice: first alone, to see how far its own two digits
take it, then as a part of the swarm. `--node 0` has all the data and trains alone only.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own log: errors only
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same sums on every processor

import data
import keras
import tensorflow as tf

from swarmlearning.tf import SwarmCallback

EPOCHS = int(os.environ.get("MAX_EPOCHS", "20"))
MIN_PEERS = int(os.environ.get("MIN_PEERS", "4"))
BATCH = 16
LEARNING_RATE = 0.1
SYNC_EVERY = 4  # batches


def new_model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, metrics=["accuracy"])
    return model


def accuracy(model, test):
    images, labels = test
    return float((model(images).numpy().argmax(1) == labels).mean())


def train(model, own, test, seed, swarm=None):
    """`fit`; the swarm's callback is all that Swarm Learning adds.

    Returns the accuracy on the test set over time, as [epochs, accuracy] pairs.
    """
    keras.utils.set_random_seed(seed)  # the order of images
    curve = [[0, accuracy(model, test)]]
    epoch_ended = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: curve.append([epoch + 1, accuracy(model, test)])
    )
    callbacks = [epoch_ended, swarm] if swarm else [epoch_ended]
    model.fit(*own, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    curve[-1][1] = accuracy(model, test)  # with the final merge in it
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, required=True, help="1 to 5; 0: all the data")
    node = parser.parse_args().node
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    own, test = data.load(node)

    curves = {"alone": train(new_model(), own, test, seed=node)}
    if node:
        model = new_model()
        swarm = SwarmCallback(
            syncFrequency=SYNC_EVERY,
            minPeers=MIN_PEERS,
            totalEpochs=EPOCHS,
            adsValData=tf.data.Dataset.from_tensors(test),  # (x, y) works, too, but is slower
        )
        curves["swarm"] = train(model, own, test, seed=node, swarm=swarm)
        model.save_weights(Path(os.environ.get("MODEL_DIR", "."), "model.weights.h5"))

    holds = "digits {} {}".format(*data.classes_of(node)) if node else "all the data"
    result = {"holds": holds, "curves": curves}
    result |= {way: {"accuracy": curve[-1][1]} for way, curve in curves.items()}
    Path(os.environ.get("MODEL_DIR", "."), "result.json").write_text(json.dumps(result))
    print({way: curve[-1][1] for way, curve in curves.items()})


if __name__ == "__main__":
    main()
