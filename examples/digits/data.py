"""Who holds which of scikit-learn's 1797 handwritten digits.

Five organisations of 288 images each: 144 of each of two digits, and none of the other eight. The
357 images left, of all ten digits, are the test set, the same for everybody.
"""

import numpy as np
from sklearn.datasets import load_digits

ORGANISATIONS = 5
PER_CLASS = 144
SEED = 0

BRIGHTNESS, CONTRAST = 5.0, 3.0
"""Pixels are 0 to 16, mostly dark. These constants centre and scale them; they come from nobody's
data, so that there is nothing to share."""


def classes_of(node):
    """The two digits that organisation `node` (1 to 5) holds."""
    return 2 * (node - 1), 2 * (node - 1) + 1


def split(target, seed=SEED):
    """Indices of each organisation's images, and of the test set.

    Every image is in exactly one of them.
    """
    shuffled = np.random.default_rng(seed).permutation(len(target))
    by_class = [shuffled[target[shuffled] == digit] for digit in range(10)]
    organisations = [
        np.concatenate([by_class[digit][:PER_CLASS] for digit in classes_of(node)])
        for node in range(1, ORGANISATIONS + 1)
    ]
    test = np.concatenate([images[PER_CLASS:] for images in by_class])
    return organisations, test


def load(node):
    """Images and labels of one organisation (0: of all together), and of the test set."""
    pixels, target = load_digits(return_X_y=True)
    images = ((pixels - BRIGHTNESS) / CONTRAST).astype(np.float32)
    organisations, test = split(target)
    own = organisations[node - 1] if node else np.concatenate(organisations)
    return (images[own], target[own]), (images[test], target[test])
