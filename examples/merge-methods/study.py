"""Merge methods compared: three kinds of biased data, and one malicious node of five.

Reproduces, on digits, two comparisons: HPE's white paper on merge methods (October 2023; mean,
coordinate median and geometric median on data with absolute, strong and light bias), and what
`docs/merging.md` promises when a node sends its update sign-flipped and ten times as large.

Every cell runs once as a real swarm of real processes, and then with more seeds in one process
with the SL's own merging (`examples/together.py`); the real run's parameters must be those of
seed 0 there, byte for byte.

    make demo EXAMPLE=merge-methods
    python -m examples.run merge-methods --seeds 3 --only absolute
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import data
import figure
import numpy as np
import torch
import train

from compose import run_folder
from compose.output import TextOutput
from compose.plan import Request
from compose.session import Options, run_session
from compose.status import columns
from examples.together import train_together
from services.common.errors import SwarmError

HERE = Path(__file__).resolve().parent
METHODS = ("mean", "coordmedian", "geomedian", "normclip")
LIAR = data.NODES
EPOCHS_SHOWN = (2, 5, 10)

WHITE_PAPER = {("strong", 5): 33.5 - 29, ("strong", 10): 36 - 34, ("light", 10): 40 - 44}
"""F1 points by which the coordinate median is ahead of the mean in the white paper's charts
(CIFAR-10, five nodes; read from the picture, within a point or so)."""


@dataclass(frozen=True)
class Cell:
    """One training to compare with others."""

    bias: str
    method: str
    poisoned: bool = False

    @property
    def name(self):
        return f"{self.bias}-{self.method}" + ("-poisoned" if self.poisoned else "")


CELLS = (
    *(Cell(bias, method) for bias in data.BIASES[:3] for method in METHODS[:3]),
    *(Cell("even", method, poisoned) for poisoned in (False, True) for method in METHODS),
)


class FailuresOnly:
    """A composition's output, of which only a failed run's last words are shown."""

    def say(self, text):
        pass

    def progress(self, text, now):
        pass

    def status(self, state):
        pass

    def finish(self, result, layout):
        if result.exit_code:
            TextOutput(sys.stdout).finish(result, layout)


def run_real(cell, folder, sns):
    """Train the cell as a real swarm; gives the outcome and the order in which its nodes merge."""
    words = ["python", str(HERE / "train.py"), "--node", "{index}", "--bias", cell.bias]
    words += ["--method", cell.method, *(["--poison", str(LIAR)] if cell.poisoned else [])]
    request = Request(data.NODES, data.NODES, tuple(words), sns=sns)
    outcome = asyncio.run(run_session(Options(request, folder), FailuresOnly()))
    if outcome.exit_code:
        return outcome, ()
    nodes = json.loads((folder / "results.json").read_text())["nodes"]
    uids = {node["uid"]: int(name.removeprefix("sl-")) for name, node in nodes.items()}
    return outcome, tuple(uids[uid] for uid in sorted(uids))


def run_seed(cell, seed, order=range(1, data.NODES + 1)):
    """Train the cell in one process; gives the curve and the final state, of an honest node."""
    sets = {
        node: [tuple(map(torch.from_numpy, part)) for part in data.load(node, cell.bias, seed)]
        for node in order
    }
    models = {node: train.new_model(seed) for node in order}

    def program(node):
        own, test = sets[node]
        liar = cell.poisoned and node == LIAR
        return lambda swarm: train.train(models[node], own, test, node + 1000 * seed, swarm, liar)

    programs = [program(node) for node in order]
    curves = train_together(list(models.values()), programs, train.SYNC_EVERY, cell.method)
    return curves[list(order).index(1)], models[1].state_dict()


def same(state, path):
    """Whether a saved model is this one, bit by bit."""
    saved = torch.load(path, weights_only=True)
    return saved.keys() == state.keys() and all(torch.equal(saved[n], state[n]) for n in state)


def run_cell(cell, folder, seeds, sns):
    """Run a cell; gives its curves by seed, or None where the real swarm failed or differs."""
    outcome, order = run_real(cell, folder, sns)
    if outcome.exit_code:
        return None
    curve, state = run_seed(cell, 0, order)
    if not same(state, folder / "nodes" / "ml-1" / "model.pt"):
        print(f"ERROR: {cell.name}: one process came to other parameters than the real swarm")
        return None
    curves = [curve, *(run_seed(cell, seed)[0] for seed in range(1, seeds))]
    last = np.array([c[-1]["accuracy"] for c in curves])
    print(
        f"{cell.name:26} {outcome.rounds} rounds  accuracy {last[0]:.3f}; "
        f"{seeds} seeds {last.mean():.3f} ({last.min():.3f} to {last.max():.3f})",
        flush=True,
    )
    return curves


def values(curves, metric, epochs):
    """A measure after so many epochs, by seed."""
    return np.array([curve[epochs][metric] for curve in curves])


def bias_table(found):
    """The white paper's form: rows by bias and epochs; accuracy and F1 by method, in percent."""
    rows = [["bias", "epochs", *(f"{m} {w}" for w in ("acc", "F1") for m in METHODS[:3])]]
    for bias in data.BIASES[:3]:
        cells = [found.get(Cell(bias, method)) for method in METHODS[:3]]
        if None in cells:
            continue
        for epochs in EPOCHS_SHOWN:
            rows.append([bias, str(epochs)] + [
                f"{100 * values(curves, metric, epochs).mean():.1f}"
                for metric in ("accuracy", "f1") for curves in cells
            ])  # fmt: skip
    return columns(rows) if len(rows) > 1 else []


def against_white_paper(found):
    """Where the coordinate median is ahead of the mean, or behind, there and here."""
    lines = []
    for (bias, epochs), there in WHITE_PAPER.items():
        mean, median = found.get(Cell(bias, "mean")), found.get(Cell(bias, "coordmedian"))
        if mean is None or median is None:
            continue
        here = 100 * (values(median, "f1", epochs) - values(mean, "f1", epochs))
        margin = 1.96 * here.std(ddof=1) / len(here) ** 0.5 if len(here) > 1 else float("inf")
        verdict = "within the noise" if abs(here.mean()) <= margin else (
            "agrees" if here.mean() * there > 0 else "the other way round"
        )  # fmt: skip
        lines.append(
            f"{bias} bias, {epochs} epochs: coordinate median minus mean, F1 points: "
            f"white paper {there:+.1f}, here {here.mean():+.1f} (+/- {margin:.1f}): {verdict}"
        )
    return lines


def poison_table(found):
    """Accuracy with all nodes honest, and with one malicious."""
    rows = [["method", "all honest", "one of five malicious"]]
    for method in METHODS:
        pair = [found.get(Cell("even", method, poisoned)) for poisoned in (False, True)]
        if None not in pair:
            cells = [values(curves, "accuracy", train.EPOCHS).mean() for curves in pair]
            rows.append([method, *(f"{cell:.3f}" for cell in cells)])
    return columns(rows) if len(rows) > 1 else []


def main():
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8, help="seeds of each cell; default 8")
    parser.add_argument("--only", default="", help="cells whose name has this in it, e.g. poisoned")
    parser.add_argument("--sns", type=int, default=1, help="SN nodes of each swarm; default 1")
    parser.add_argument("--run-dir", type=Path, help="folder; default runs/<time>-merge-methods")
    given = parser.parse_args()
    cells = [cell for cell in CELLS if given.only in cell.name]
    if given.seeds < 1 or not cells:
        names = ", ".join(cell.name for cell in CELLS)
        parser.error(f"--seeds must be 1 or more, and --only part of one of: {names}")
    torch.set_num_threads(1)
    name = "merge-methods"
    run_dir = given.run_dir or run_folder.default_path(name, datetime.now().astimezone())
    run_dir.mkdir(parents=True, exist_ok=True)
    print(f"{len(cells)} swarms of {data.NODES} nodes, one after the other", flush=True)
    found = {}
    for cell in cells:
        try:
            found[cell] = run_cell(cell, run_dir / cell.name, given.seeds, given.sns)
        except SwarmError as exc:
            print(f"error: {exc}", file=sys.stderr)
            return exc.exit_code
        if found[cell] is None:
            return 1
    for lines in (bias_table(found), against_white_paper(found), poison_table(found)):
        if lines:
            print("", *lines, sep="\n")
    figure.draw(found, Cell, METHODS, data.BIASES, run_dir / "merge-methods.png")
    (run_dir / "study.json").write_text(json.dumps({c.name: found[c] for c in cells}))
    print("", f"picture: {run_folder.shown(run_dir / 'merge-methods.png')}", sep="\n")
    final = {
        cell.name: round(float(values(curves, "accuracy", train.EPOCHS).mean()), 4)
        for cell, curves in found.items()
    }
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"example": name, "seeds": given.seeds, "same_as_real": True,
                      "accuracy": final, "seconds": seconds, "run_dir": str(run_dir)}))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
