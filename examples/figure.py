"""Accuracy over epochs: everybody alone, the swarm, and all the data in one place."""

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

SWARM, ALONE, CENTRAL = "#0b6e4f", "#c0564b", "#444444"
LABEL_GAP = 0.045  # of the accuracy axis


def draw(title, nodes, central, path):
    """Draw the curves that the programs wrote (see train.py) to a PNG file."""
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=130, layout="constrained")
    for result in nodes:
        _curve(axes, result, "alone", color=ALONE, alpha=0.7, linewidth=1.2)
    _curve(axes, central, "alone", color=CENTRAL, linewidth=1.4, linestyle=(0, (5, 2)))
    for result in nodes:
        _curve(axes, result, "swarm", color=SWARM, alpha=0.9, linewidth=2.2)
    for height, at, name, color in _apart(_ends(nodes, central)):
        axes.annotate(
            f"{name}  {height:.3f}", (1.0, at), xycoords=("axes fraction", "data"),
            xytext=(6, 0), textcoords="offset points", va="center", color=color, fontsize=9,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=12)
    axes.set_xlabel("epochs")
    axes.set_ylabel("accuracy on the test set")
    axes.set_ylim(0, 1.02)
    axes.margins(x=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def _curve(axes, result, way, **style):
    points = result.get("curves", {}).get(way, [])
    if points:
        axes.plot(*zip(*points, strict=True), **style)


def _ends(nodes, central):
    """Accuracy, name and colour at the end of each curve; five of a kind get one name."""
    alone = [
        (node["alone"]["accuracy"], f"node {index} alone", ALONE)
        for index, node in enumerate(nodes, start=1)
        if "alone" in node
    ]
    if alone and max(alone)[0] - min(alone)[0] < LABEL_GAP:
        mean = sum(end[0] for end in alone) / len(alone)
        alone = [(mean, "each alone, on average", ALONE)]
    swarm = [(node["swarm"]["accuracy"], "swarm", SWARM) for node in nodes if "swarm" in node]
    whole = [(central["alone"]["accuracy"], "all data in one place", CENTRAL)]
    return alone + swarm[:1] + (whole if "alone" in central else [])


def _apart(ends):
    """Each end with a height for its name, so that no two names meet and none leaves the top."""
    placed, ceiling = [], float("inf")
    for height, name, color in sorted(ends, reverse=True):
        ceiling = min(height, ceiling - LABEL_GAP)
        placed.append((height, ceiling, name, color))
    return placed
