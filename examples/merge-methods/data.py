"""Who holds which of scikit-learn's 1797 digits, by the bias recipes of HPE's white paper.

The white paper ("Swarm Learning merge methods", October 2023) deals 5000 CIFAR-10 images per class
to five nodes; here its numbers are scaled to the 149 images per class that are not in the test set
(25 of each class, the same for everybody). `even` is ours: the same for all nodes.
"""

import numpy as np
from sklearn.datasets import load_digits

NODES = 5
TEST_PER_CLASS = 25
BIASES = ("absolute", "strong", "light", "even")

# The white paper's table for `light`, a row per class 1 to 9 and 0, in images per node. Its last
# row says 0.75 for node 4, where 750 is meant.
LIGHT = (
    (2000, 750, 750, 750, 750),
    (2000, 750, 750, 750, 750),
    (2000, 2000, 500, 250, 250),
    (750, 2000, 750, 750, 750),
    (250, 2000, 2000, 500, 250),
    (750, 750, 2000, 750, 750),
    (250, 250, 2000, 2000, 500),
    (250, 250, 500, 2000, 2000),
    (250, 250, 500, 2000, 2000),
    (250, 250, 750, 750, 2000),
)
SCALED = {2000: 58, 750: 21, 500: 15, 250: 8}

BRIGHTNESS, CONTRAST = 5.0, 3.0  # constants that come from nobody's data, as in examples/digits


def counts(bias):
    """Images per class (rows, digits 0 to 9) and node (columns)."""
    own = np.arange(10)[:, None] // 2 == np.arange(NODES)  # each node's two digits
    if bias == "absolute":
        return np.where(own, 144, 0)
    if bias == "strong":  # the white paper: 5000 of each of two classes, 100 of each other
        return np.where(own, 132, 3)
    if bias == "light":
        table = np.array([[SCALED[number] for number in row] for row in LIGHT])
        return np.roll(table, 1, axis=0)  # the table begins with class 1
    if bias == "even":
        return np.full((10, NODES), 28)
    raise ValueError(f"bias {bias!r}: one of {', '.join(BIASES)}")


def split(target, bias, seed=0):
    """Indices of each node's images, and of the test set; no image is in two of them."""
    shuffled = np.random.default_rng(seed).permutation(len(target))
    parts, test = [[] for _ in range(NODES)], []
    for digit, row in enumerate(counts(bias)):
        images = shuffled[target[shuffled] == digit]
        test.append(images[:TEST_PER_CLASS])
        ends = TEST_PER_CLASS + np.cumsum(row)
        for node, (end, number) in enumerate(zip(ends, row, strict=True)):
            parts[node].append(images[end - number : end])
    return [np.concatenate(part) for part in parts], np.concatenate(test)


def load(node, bias, seed=0):
    """Images and labels of one node (1 to 5), and of the test set."""
    pixels, target = load_digits(return_X_y=True)
    images = ((pixels - BRIGHTNESS) / CONTRAST).astype(np.float32)
    nodes, test = split(target, bias, seed)
    own = nodes[node - 1]
    return (images[own], target[own]), (images[test], target[test])
