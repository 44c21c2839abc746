"""The weighted geometric median of points of which only the inner products are known.

Points X_i with weights W_i; the geometric median is the M that minimises sum(W_i * |X_i - M|). It
lies in their convex hull, so it is M = sum(a_i * X_i) with a_i >= 0 and sum(a_i) = 1, and all
distances follow from the Gram matrix: after one pass over the models an iteration costs N^2.

Sums are taken in a fixed order, without BLAS: the same coefficients on any machine.
"""

from collections.abc import Sequence

import numpy as np

from services.sl.core.items import Array
from services.sl.core.spread import median_norm

TOLERANCE = 1e-6
"""The iteration ends when the estimate moves less: absolutely, as HPE's paper says, and relatively
to the points' median distance, which may be smaller than 1e-6 late in training."""
ITERATIONS = 1000
NEAR = 1e-7
"""Below this distance, relative to the median distance, the estimate is at a point: what the inner
products can tell."""
FAR = 1e3
"""Points farther from the origin than this many times the median begin with less weight."""
_NOISE = 1e-11
"""Of squared distances, relative to the points' squared distances from the reference."""


def geometric_median(gram: Array, weights: Sequence[float]) -> list[float]:
    """Coefficients of the geometric median.

    A point that pulls harder than all others together is the median itself; that is tested first
    (the iteration would approach it too slowly to arrive). Otherwise Weiszfeld's iteration from
    the weighted mean, until the estimate hardly moves, the last three moves are equally long, or it
    comes back to where it was two steps before.

    Args:
        gram: float64, inner products of the points seen from any one origin, which must be near
            most of them to keep the digits.
        weights: positive.

    Returns:
        One coefficient per point, 0 or more, that sum to 1.
    """
    pull = np.array(weights, np.float64)
    distances = _distances(gram)
    for index in range(len(pull)):
        if _resultant(gram, pull, distances, index) < _own_weight(pull, distances, index):
            return [float(i == index) for i in range(len(pull))]
    return [float(a) for a in _iterate(gram, pull)]


def _iterate(gram: Array, pull: Array) -> Array:
    at = before = _start(gram, pull)
    moves: list[float] = []
    for _ in range(ITERATIONS):
        distances = _distances_from(gram, at)
        scale = median_norm(distances.tolist(), pull.tolist())
        then = _step(gram, pull, at, distances, NEAR * scale)
        moved = _length(gram, then - at)
        moves = [*moves[-2:], moved]
        settled = moved <= TOLERANCE * min(1.0, scale)
        if settled or (then == before).all() or (len(moves) == 3 and len(set(moves)) == 1):
            return then
        before, at = at, then
    return at


def _start(gram: Array, pull: Array) -> Array:
    """The weighted mean, without what would carry it so far off that the digits do not suffice."""
    norms = np.sqrt(gram.diagonal())
    bound = FAR * median_norm(norms.tolist(), pull.tolist())
    start = pull * np.where(norms > bound, bound / np.where(norms > 0, norms, 1.0), 1.0)
    at: Array = start / _sum(start)
    return at


def _step(gram: Array, pull: Array, at: Array, distances: Array, near: float) -> Array:
    """Weiszfeld's step; where ``at`` is one of the points, Vardi and Zhang's (PNAS 2000)."""
    there = distances <= near
    strings = np.where(there, 0.0, pull) / np.where(there, 1.0, distances)
    total = _sum(strings)
    onward: Array = strings / total
    if not there.any():
        return onward
    held, force = _sum(np.where(there, pull, 0.0)), _length(gram, strings - total * at)
    stay = min(1.0, held / force) if force else 1.0
    return (1 - stay) * onward + stay * at


def _resultant(gram: Array, pull: Array, distances: Array, index: int) -> float:
    """Length of the sum of all pulls on the point ``index``; it stays if its weight is larger."""
    others = distances[index] > 0
    strings = np.where(others, pull, 0.0) / np.where(others, distances[index], 1.0)
    strings[index] = -_sum(strings)
    return _length(gram, strings)


def _own_weight(pull: Array, distances: Array, index: int) -> float:
    """Weight of the point and of all that coincide with it, less what rounding can feign."""
    return _sum(np.where(distances[index] > 0, 0.0, pull)) * (1 - 1e-9)


def _distances(gram: Array) -> Array:
    """Of each point from each; 0 where it is below what the inner products can tell."""
    squares = gram.diagonal()
    both = squares[:, None] + squares
    apart = both - 2 * gram
    distances: Array = np.sqrt(np.where(apart > _NOISE * both, apart, 0.0))
    return distances


def _distances_from(gram: Array, at: Array) -> Array:
    """Of each point from the one with the coefficients ``at`` (that sum to 1)."""
    products = _columns(gram, at)
    apart = gram.diagonal() - 2 * products + _sum(products * at)
    distances: Array = np.sqrt(np.maximum(apart, 0.0))
    return distances


def _length(gram: Array, coefficients: Array) -> float:
    """Of a combination whose coefficients sum to 0: the origin does not count."""
    square = _sum(_columns(gram, coefficients) * coefficients)
    return float(np.sqrt(max(square, 0.0)))


def _columns(gram: Array, coefficients: Array) -> Array:
    """The matrix product gram @ coefficients, summed from left to right."""
    total = np.zeros(len(coefficients))
    for column, coefficient in zip(gram.T, coefficients, strict=True):
        total += column * coefficient
    return total


def _sum(values: Array) -> float:
    total = 0.0
    for value in values.tolist():
        total += value
    return total
