"""A user's program with a foreign client: `python -m tests.foreign.train --api 2.3 --index 1`."""

# ruff: noqa: T201 - plain prints, as HPE's client makes them

import argparse
from pathlib import Path

import numpy as np

from tests.foreign.hpe22 import Client22
from tests.foreign.hpe23 import Client23
from tests.foreign.model import Digits

CLIENTS = {"2.1": Client22, "2.2": Client22, "2.3": Client23}


def digits(index, nodes):
    """The part of the digits that node `index` (from 1) has; scaled to 0 to 1."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        random = np.random.default_rng(7)
        labels = random.integers(0, 10, 600)
        features = random.random((10, 64))[labels] + 0.1 * random.random((600, 64))
    else:
        features, labels = load_digits(return_X_y=True)
        features = features / 16
    return features[index - 1 :: nodes], labels[index - 1 :: nodes]


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", choices=sorted(CLIENTS), required=True)
    parser.add_argument("--index", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--min-peers", type=int, default=1)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--sync", type=int, default=8)
    parser.add_argument("--checkin", default="snapshot")
    parser.add_argument("--contract", default="defaultbb.cqdb.sml.hpe")
    parser.add_argument("--out", type=Path, help="folder for state.npz and merged.npz")
    return parser.parse_args()


def main():
    asked = options()
    model = Digits(*digits(asked.index, asked.nodes), asked.index)
    client = CLIENTS[asked.api](
        model, asked.sync, asked.min_peers, asked.checkin, contract=asked.contract
    )
    client.on_train_begin()
    for batch in range(asked.batches):
        model.train(batch)
        client.on_batch_end()
    client.on_epoch_end()
    client.on_train_end()
    print(f"accuracy {model.evaluate()[1]:.3f} after {client.syncs} syncs, over: {client.over}")
    if asked.out is not None:
        np.savez(asked.out / "state.npz", **model.tensors)
        np.savez(asked.out / "merged.npz", **client.merged)


if __name__ == "__main__":
    main()
