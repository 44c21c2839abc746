"""Is the swarm as good as its best hospital? The breast-cancer setting over many seeds.

Warnat-Herresthal et al. (Nature 594, 265, 2021) repeated each of their settings many times and
counted how often the swarm beat its nodes. This does the same for the example `breast-cancer`: each
seed deals the cases anew, and draws new initial parameters and orders of batches.

The first seed runs as a real swarm of real processes. The others run in one process, with the
SL's own merging (`examples/together.py`); that this is the same is checked with the first seed,
whose parameters must be equal, byte for byte.

    make demo EXAMPLE=nature            or, with fewer seeds:
    python -m examples.run nature --seeds 20
"""

import argparse
import asyncio
import json
import math
import sys
import time
from datetime import datetime
from pathlib import Path

import data
import numpy as np
import torch
import train

from compose import run_folder
from compose.output import TextOutput
from compose.session import run_session
from compose.status import columns
from examples.nature import figure
from examples.run import options_of
from examples.together import train_together
from services.common.errors import SwarmError

PAPER = {"best": 0.78, "mean": 0.95}
"""The paper's values, pooled over its settings: P(swarm >= best node), P(swarm > mean of nodes)."""
METRICS = ("accuracy", "auc")
NODES = len(data.MIXES)
Z = 1.96  # 95 %
SAY_SECONDS = 10.0


def run_seed(seed, order=(1, 2, 3)):
    """Train each node alone, all together, and the swarm; gives the measures and the swarm's model.

    `order` is that in which the swarm merges its nodes.
    """
    sets = [_tensors(data.load(node, seed)) for node in range(NODES + 1)]
    test = sets[0][1]

    def new_model(node):
        return train.new_model(sets[node][0][0], seed)

    def batches_of(node):
        return node + 1000 * seed  # of seed 0: as the example itself has it

    alone = []
    for node in range(NODES + 1):
        model = new_model(node)
        train.train(model, sets[node][0], test, batches_of(node))
        alone.append(train.measure(model, test))
    models = [new_model(node) for node in order]

    def program(model, node):
        return lambda swarm: train.train(model, sets[node][0], test, batches_of(node), swarm)

    programs = [program(model, node) for model, node in zip(models, order, strict=True)]
    train_together(models, programs, train.SYNC_EVERY)
    return {
        "seed": seed, "nodes": alone[1:], "central": alone[0],
        "swarm": train.measure(models[0], test),
    }, models[0].state_dict()  # fmt: skip


def _tensors(parts):
    return [tuple(map(torch.from_numpy, part)) for part in parts]


def proportion(hits):
    """How often, with its 95 % interval (Wilson)."""
    n, p = len(hits), sum(hits) / len(hits)
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return {"value": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def mean(values):
    """The mean, with its 95 % interval (normal approximation)."""
    spread = Z * np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    value = float(np.mean(values))
    return {"value": value, "low": value - spread, "high": value + spread}


def compare(results, metric):
    """The study's three figures for one metric."""
    swarm = np.array([r["swarm"][metric] for r in results])
    nodes = np.array([[node[metric] for node in r["nodes"]] for r in results])
    central = np.array([r["central"][metric] for r in results])
    return {
        "swarm >= best node": proportion(list(swarm >= nodes.max(axis=1))),
        "swarm > mean of nodes": proportion(list(swarm > nodes.mean(axis=1))),
        "swarm - central": mean(swarm - central),
        "swarm": mean(swarm),
        "best node": mean(nodes.max(axis=1)),
        "mean of nodes": mean(nodes.mean(axis=1)),
        "central": mean(central),
    }


def real_swarm(folder, sns):
    """Seed 0 as real processes; gives the outcome and the order in which its nodes merge."""
    outcome = asyncio.run(
        run_session(options_of("breast-cancer", folder, sns), TextOutput(sys.stdout))
    )
    if outcome.exit_code:
        return outcome, ()
    state = json.loads((folder / "results.json").read_text())
    uids = {node["uid"]: int(name.split("-")[1]) for name, node in state["nodes"].items()
            if name.startswith("sl-")}  # fmt: skip
    return outcome, tuple(uids[uid] for uid in sorted(uids))


def same(state, path):
    """Whether a saved model is this one, bit by bit."""
    saved = torch.load(path, weights_only=True)
    return saved.keys() == state.keys() and all(
        torch.equal(saved[name], state[name]) and saved[name].dtype == state[name].dtype
        for name in state
    )


def table(figures):
    """The figures with their intervals, and the paper's."""
    rows = [["", *METRICS, "paper, pooled"]]
    for name in figures["accuracy"]:
        cells = ["{value:.3f} ({low:.3f} to {high:.3f})".format(**figures[m][name])
                 for m in METRICS]  # fmt: skip
        paper = {"swarm >= best node": PAPER["best"], "swarm > mean of nodes": PAPER["mean"]}
        known = paper.get(name)
        label = f"P({name})" if known else name
        rows.append([label, *cells, f"{known:.2f}" if known else ""])
    return columns(rows)


def main():
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many; default 100")
    parser.add_argument("--sns", type=int, default=1, help="SN nodes of the real swarm; default 1")
    parser.add_argument(
        "--run-dir", type=Path, help="new or empty folder; default runs/<time>-nature"
    )
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds must be 1 or more")
    torch.set_num_threads(1)
    run_dir = given.run_dir or run_folder.default_path("nature", datetime.now().astimezone())
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        outcome, order = real_swarm(run_dir / "seed-0", given.sns)
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    if outcome.exit_code:
        return outcome.exit_code

    first, state = run_seed(0, order)
    equal = same(state, run_dir / "seed-0" / "nodes" / "ml-1" / "model.pt")
    print(
        "seed 0 in one process: the real swarm's parameters, byte for byte" if equal
        else "ERROR: seed 0 in one process has other parameters than the real swarm"
    )  # fmt: skip
    results, said = [first], time.monotonic()
    for seed in range(1, given.seeds):
        results.append(run_seed(seed)[0])
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            print(f"{seed + 1} of {given.seeds} seeds", flush=True)
    figures = {metric: compare(results, metric) for metric in METRICS}
    (run_dir / "study.json").write_text(json.dumps({"figures": figures, "seeds": results}))
    figure.draw(results, run_dir / "nature.png")
    print("", *table(figures), "", sep="\n")
    print(f"95 % intervals in brackets, {given.seeds} seeds; every seed: "
          f"{run_folder.shown(run_dir / 'study.json')}")  # fmt: skip
    print(f"picture: {run_folder.shown(run_dir / 'nature.png')}")
    short = {
        metric: {name: round(value["value"], 4) for name, value in found.items()}
        for metric, found in figures.items()
    }
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"example": "nature", "seeds": given.seeds, "same_as_real": equal, **short,
                      "seconds": seconds, "run_dir": str(run_dir)}))  # fmt: skip
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
