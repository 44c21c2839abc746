"""Swarm against nodes and against all the data in one place, a point per seed."""

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from examples.figure import ALONE, CENTRAL, SWARM

PARTS = (("accuracy", "accuracy"), ("auc", "area under the ROC curve"))


def draw(results, path):
    """Draw what study.py measured to a PNG file."""
    figure, panels = plt.subplots(1, len(PARTS), figsize=(10, 4.6), dpi=130, layout="constrained")
    for axes, (metric, title) in zip(panels, PARTS, strict=True):
        nodes = np.array([[node[metric] for node in r["nodes"]] for r in results])
        columns = [
            *((f"node {i + 1}\nalone", nodes[:, i], ALONE) for i in range(nodes.shape[1])),
            ("best\nnode", nodes.max(axis=1), ALONE),
            ("the\nswarm", np.array([r["swarm"][metric] for r in results]), SWARM),
            ("all in\none place", np.array([r["central"][metric] for r in results]), CENTRAL),
        ]
        for place, (_, values, color) in enumerate(columns):
            spread = np.linspace(-0.28, 0.28, len(values))
            axes.scatter(place + spread, values, s=9, color=color, alpha=0.45, linewidths=0)
            axes.hlines(values.mean(), place - 0.34, place + 0.34, color=color, linewidth=2)
        words = [f"{name}\n{values.mean():.3f}" for name, values, _ in columns]
        axes.set_xticks(range(len(columns)), words, fontsize=8)
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Breast cancer, three hospitals, {len(results)} seeds; lines are means",
        x=0.01, ha="left", fontsize=12, fontweight="bold",
    )  # fmt: skip
    figure.savefig(path)
    plt.close(figure)
