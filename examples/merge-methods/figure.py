"""Merge methods side by side: accuracy over epochs for each bias, and with a malicious node."""

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

COLORS = {
    "mean": "#444444", "coordmedian": "#0b6e4f", "geomedian": "#2f6db5", "normclip": "#c07a1e",
}  # fmt: skip


def draw(found, cell, methods, biases, path):
    """Draw what study.py measured to a PNG file: a panel per comparison that was run."""
    panels = [
        (f"{bias} bias", {m: found.get(cell(bias, m)) for m in methods}) for bias in biases
    ] + [("one of five malicious", {m: found.get(cell(biases[-1], m, True)) for m in methods})]
    panels = [(title, curves) for title, curves in panels if any(curves.values())]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels) + 0.6, 3.9), dpi=130, layout="constrained",
        sharey=True, squeeze=False,
    )  # fmt: skip
    for place, (title, curves) in zip(axes[0], panels, strict=True):
        for method, seeds in curves.items():
            if seeds:
                _band(place, method, seeds)
        place.set_title(title, loc="left", fontsize=10)
        place.set_xlabel("epochs")
        place.grid(axis="y", color="#e4e4e4", linewidth=0.8)
        place.spines[["top", "right"]].set_visible(False)
        place.xaxis.get_major_locator().set_params(integer=True)
        place.legend(frameon=False, fontsize=8, loc="center right")
    axes[0][0].set_ylabel("accuracy on the test set")
    axes[0][0].set_ylim(0, 1.02)
    figure.suptitle(
        "Merge methods on digits, five nodes; bands: lowest and highest of the seeds",
        x=0.01, ha="left", fontsize=12, fontweight="bold",
    )  # fmt: skip
    figure.savefig(path)
    plt.close(figure)


def _band(axes, method, seeds):
    accuracy = np.array([[point["accuracy"] for point in curve] for curve in seeds])
    epochs = np.arange(accuracy.shape[1])
    axes.plot(epochs, accuracy.mean(axis=0), color=COLORS[method], linewidth=1.8, label=method)
    axes.fill_between(
        epochs, accuracy.min(axis=0), accuracy.max(axis=0), color=COLORS[method], alpha=0.15,
        linewidth=0,
    )  # fmt: skip
