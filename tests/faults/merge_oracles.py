"""Merges by plain numpy, whole models at a time, to compare what SLs publish (I3).

Nothing here is shared with the product. Models are dicts of arrays as `light_ml` has them: one
integer, and floats.
"""

from typing import Any

import numpy as np

Model = dict[str, Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]

NEARLY = ("geomedian", "normclip")
"""Methods whose result is compared by :func:`close`: an oracle need not round as they do."""
TOLERANCE = 1e-4
"""Of the distance between inputs that are near each other."""


def merge_again(method: str, models: list[Model], weights: list[int], base: Model | None) -> Model:
    """What the merge of a round must be.

    Args:
        method: name of the merge method.
        models: weighted contributions, in the order of the ledger.
        weights: theirs.
        base: the merged model of the round before; None in the first round.
    """
    whole = "mean" if method == "mean" else "coordmedian"
    made = {
        name: ONE_BY_ONE[whole]([model[name] for model in models], weights)
        for name in models[0]
        if method in ONE_BY_ONE or models[0][name].dtype.kind != "f"
    }
    left = [name for name in models[0] if name not in made]
    if left:
        points = np.stack([_flat(model, left) for model in models])
        pull = np.array(weights, np.float64)
        middle = {name: _median([m[name] for m in models], weights) for name in left}
        start = _flat(middle if base is None else base, left)
        merged = _geomedian(points, pull) if method == "geomedian" else _clip(points, pull, start)
        at = 0
        for name in left:
            like = models[0][name]
            made[name] = merged[at : at + like.size].astype(like.dtype).reshape(like.shape)
            at += like.size
    return {name: made[name] for name in models[0]}


def close(found: Model, expected: Model, models: list[Model]) -> bool:
    """Whether a merge is as near to the oracle's as the distance of the inputs lets expect."""
    names = [name for name in models[0] if models[0][name].dtype.kind == "f"]
    points = np.stack([_flat(model, names) for model in models])
    apart = [np.linalg.norm(one - other) for one in points for other in points]
    scale = min((d for d in apart if d), default=0.0) + 1e-3 * np.linalg.norm(points, axis=1).min()
    off = np.linalg.norm(_flat(found, names) - _flat(expected, names))
    same = all(np.array_equal(found[n], expected[n]) for n in models[0] if n not in names)
    return bool(same and off <= TOLERANCE * scale)


def _flat(model: Model, names: list[str]) -> Floats:
    return np.concatenate([model[name].ravel().astype(np.float64) for name in names])


def _rounded(numerator: int, divisor: int) -> int:
    """To nearest, a half to even."""
    whole, rest = divmod(numerator, divisor)
    return whole + bool(2 * rest > divisor or (2 * rest == divisor and whole % 2))


def _mean(arrays: list[Any], weights: list[int]) -> Any:
    """Weighted mean, summed in the order of the ledger."""
    divisor, first = np.gcd.reduce(weights), arrays[0]
    weights = [weight // int(divisor) for weight in weights]
    if first.dtype.kind == "i":
        exact = sum(w * int(a) for a, w in zip(arrays, weights, strict=True))
        return np.array(_rounded(exact, sum(weights)), first.dtype)
    total = np.zeros(first.shape)
    for array, weight in zip(arrays, weights, strict=True):
        total = total + array.astype(np.float64) * weight
    return (total / sum(weights)).astype(first.dtype)


def _median(arrays: list[Any], weights: list[int]) -> Any:
    """The middle of a list in which each value stands as often as it weighs."""
    rows = np.sort(np.repeat(np.stack(arrays), weights, axis=0), axis=0)
    low, high = rows[(len(rows) - 1) // 2], rows[len(rows) // 2]
    if low.dtype.kind == "i":
        return np.array(_rounded(int(low) + int(high), 2), low.dtype)
    return ((low.astype(np.float64) + high) / 2 + 0.0).astype(low.dtype)


ONE_BY_ONE = {"mean": _mean, "coordmedian": _median}
"""Methods that treat each tensor by itself."""


def _geomedian(points: Floats, pull: Floats) -> Floats:
    """A point at which the pulls cancel out, or, failing that, the input that holds against all."""
    for point in points:
        away = np.linalg.norm(points - point, axis=1)
        there = away == 0
        strings = (pull / np.where(there, 1.0, away))[:, None] * (points - point)
        if np.linalg.norm(strings.sum(axis=0)) < pull[there].sum() * (1 - 1e-9):
            return point
    order = np.sort(np.linalg.norm(points, axis=1))[(len(points) - 1) // 2]
    size = np.maximum(np.linalg.norm(points, axis=1), 1e-300)
    at = (points * (np.minimum(1.0, 100 * order / size) * pull)[:, None]).sum(axis=0) / pull.sum()
    for _ in range(20_000):
        strings = pull / np.maximum(np.linalg.norm(points - at, axis=1), 1e-30)
        then = (strings[:, None] * points).sum(axis=0) / strings.sum()
        if np.linalg.norm(then - at) <= 1e-12 * np.linalg.norm(at):
            break
        at = then
    return at


def _clip(points: Floats, pull: Floats, start: Floats) -> Floats:
    """Mean of the changes from ``start``, none longer than the median one."""
    changes = points - start
    lengths = np.linalg.norm(changes, axis=1)
    moved = np.sort(np.repeat(lengths, pull.astype(int)))
    moved = moved[moved > 0]
    limit = moved[(len(moved) - 1) // 2] if len(moved) else 0.0
    factors = np.minimum(1.0, limit / np.maximum(lengths, 1e-300)) * pull
    return start + (changes * factors[:, None]).sum(axis=0) / pull.sum()
