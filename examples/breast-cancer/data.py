"""Who holds which of the 569 cases of the Wisconsin breast cancer data (scikit-learn's copy).

The setting of Warnat-Herresthal et al., Nature 594, 265 (2021): three nodes of exactly 100 cases,
with 50:50, 1:99 and 70:30 malignant to benign, and a global test set of 64 malignant and 107
benign cases. What is left over (27 malignant, 71 benign) is used by nobody.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer

MIXES = ((50, 50), (1, 99), (70, 30))
"""Malignant and benign cases of each node."""
TEST = (64, 107)
SEED = 0


def split(malignant, seed=SEED):
    """Indices of each node's cases, and of the test set; no case is in two of them.

    `malignant` has a 1 for each malignant case, else 0.
    """
    shuffled = np.random.default_rng(seed).permutation(len(malignant))
    bad, good = shuffled[malignant[shuffled] == 1], shuffled[malignant[shuffled] == 0]
    parts = []
    for bad_cases, good_cases in (TEST, *MIXES):
        parts.append(np.concatenate([bad[:bad_cases], good[:good_cases]]))
        bad, good = bad[bad_cases:], good[good_cases:]
    return parts[1:], parts[0]


def load(node, seed=SEED):
    """Raw measurements and labels (1: malignant) of one node (0: all nodes), and of the test."""
    measurements, benign = load_breast_cancer(return_X_y=True)
    malignant = 1 - benign
    nodes, test = split(malignant, seed)
    own = nodes[node - 1] if node else np.concatenate(nodes)
    labels = malignant.astype(np.float32)
    return (measurements[own], labels[own]), (measurements[test], labels[test])
