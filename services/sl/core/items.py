"""Items of model files as numbers: what a dtype means for a merge, and how results are rounded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FLOATS = ("F16", "BF16", "F32", "F64")
"""Dtypes of parameters; the others are counters, masks and the like."""


def finite(dtype: str, row: Array) -> Array:
    """Which items are neither infinite nor NaN.

    Args:
        dtype: of the items, a key of ``wire.tensors.DTYPES``.
        row: 1-d; BF16 items are bit patterns.
    """
    if dtype == "BF16":
        good: Array = (row & 0x7F80) != 0x7F80
    elif dtype in FLOATS:
        good = np.isfinite(row)
    else:
        good = np.ones(len(row), np.bool_)
    return good


def widened(dtype: str, row: Array) -> Array:
    """Items as numpy numbers that can be added: BF16 and F16 as float32, all others as they are."""
    if dtype == "BF16":
        return (row.astype("<u4") << 16).view("<f4")
    return row.astype("<f4") if dtype == "F16" else row


def round_into(out: Array, dtype: str, values: Array) -> None:
    """Write finite float64 values as items of a floating point dtype, to nearest even.

    BF16 by way of float32, as bit patterns.
    """
    if dtype != "BF16":
        np.copyto(out, values, casting="same_kind")
        return
    bits = values.astype("<f4").view("<u4")
    np.copyto(out, (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16, casting="same_kind")
