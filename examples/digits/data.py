"""Who holds which of scikit-learn's 1797 handwritten digits.

Five organisations of 288 images each: 144 of each of two digits, and none of the other eight. The
357 images left, of all ten digits, are the test set, the same for everybody. Where there are fewer
organisations, some hold more digits.
"""

import re

import numpy as np
from sklearn.datasets import load_digits

ORGANISATIONS = 5
PER_CLASS = 144
SEED = 0

BRIGHTNESS, CONTRAST = 5.0, 3.0
"""Pixels are 0 to 16, mostly dark. These constants centre and scale them; they come from nobody's
data, so that there is nothing to share."""


def number_of(name):
    """The number at the end of an organisation's name, such as user-3; None where there is none."""
    found = re.search(r"\d+$", name)
    return int(found[0]) if found else None


def classes_of(node, organisations=ORGANISATIONS):
    """The digits that organisation `node` (from 1) holds: two, if there are five of them."""
    return tuple(np.array_split(np.arange(10), organisations)[node - 1].tolist())


def split(target, seed=SEED, organisations=ORGANISATIONS):
    """Indices of each organisation's images, and of the test set.

    Every image is in exactly one of them.
    """
    shuffled = np.random.default_rng(seed).permutation(len(target))
    by_class = [shuffled[target[shuffled] == digit] for digit in range(10)]
    parts = [
        np.concatenate([by_class[digit][:PER_CLASS] for digit in classes_of(node, organisations)])
        for node in range(1, organisations + 1)
    ]
    test = np.concatenate([images[PER_CLASS:] for images in by_class])
    return parts, test


def load(node, organisations=ORGANISATIONS):
    """Images and labels of one organisation (0: of all together), and of the test set."""
    pixels, target = load_digits(return_X_y=True)
    images = ((pixels - BRIGHTNESS) / CONTRAST).astype(np.float32)
    parts, test = split(target, organisations=organisations)
    own = parts[node - 1] if node else np.concatenate(parts)
    return (images[own], target[own]), (images[test], target[test])
