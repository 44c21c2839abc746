"""The merge methods there are: ours by name, and how a user's become one of them.

===============  ===================================================================================
``mean``         weighted mean: FedAvg (McMahan et al. 2017, arXiv:1602.05629); HPE's default
``coordmedian``  weighted median of each coordinate (Yin et al. 2018, arXiv:1803.01498)
``geomedian``    weighted geometric median of whole models (Pillutla et al. 2019, arXiv:1912.13445)
``normclip``     mean of updates clipped to their median norm; ours
``x-...``        a user's own (``SL_MERGE_METHODS``)
===============  ===================================================================================

``docs/merging.md`` says what each promises.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from services.common.errors import ConfigError, SwarmError
from services.sl.core.geomedian import GeoMedian
from services.sl.core.items import Array, finite
from services.sl.core.mean import Mean
from services.sl.core.median import CoordMedian
from services.sl.core.method import InputError, MergeMethod, MethodError, Piece
from services.sl.core.normclip import NormClip

Factory = Callable[[], MergeMethod]
"""Makes a merge method; one per merge: it may keep what it learnt between blocks."""

METHODS: Mapping[str, Factory] = {
    "mean": Mean,
    "coordmedian": CoordMedian,
    "geomedian": GeoMedian,
    "normclip": NormClip,
}
"""By the name that users give (``mergeMethod``)."""


def method_named(name: str, methods: Mapping[str, Factory] = METHODS) -> MergeMethod:
    """A new instance of the merge method that users call ``name``.

    Raises:
        ConfigError: there is none; the message names those there are.
        MethodError: a method of the user's cannot be made.
    """
    try:
        factory = methods[name]
    except KeyError:
        known = ", ".join(sorted(methods))
        hint = "; list it in SL_MERGE_METHODS of each SL" if name.startswith("x-") else ""
        raise ConfigError(f"unknown merge method {name!r}; known: {known}{hint}") from None
    return factory()


_UNWRITTEN = {"F16": np.nan, "BF16": 0x7FC0, "F32": np.nan, "F64": np.nan}
"""What tells that a method left items as they were; integers have no such value."""


class OwnMethod:
    """A user's merge method: what it leaves out is filled in, what it does wrong gets a name.

    Args:
        name: as users give it.
        make: the user's class or function; its result is called with a piece and the output.

    Raises:
        MethodError: it cannot be made.
    """

    finds_not_finite = False

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._method = self._guarded(make)
        if not callable(self._method):
            raise MethodError(f"merge method {name}: what it makes cannot be called")
        self.two_pass = callable(getattr(self._method, "survey", None))
        self.uses_base = bool(getattr(self._method, "uses_base", False))

    def survey(self, piece: Piece) -> None:
        """Show it a block."""
        self._guarded(self._method.survey, piece)

    def update_norms(self) -> Sequence[float]:
        """Not asked for."""
        return ()

    def __call__(self, piece: Piece, out: Array) -> None:
        """Let it merge a block, and check the result.

        ``out`` holds what the block before left there: what the method does not write must neither
        be published nor depend on how the model is cut.
        """
        out[:] = _UNWRITTEN.get(piece.dtype, 0)
        result = self._guarded(self._method, piece, out)
        if result is not None:
            raise MethodError(
                f"merge method {self._name} returned a {type(result).__name__}: it must write the "
                "merged items into its second argument (out[:] = ...) and return nothing"
            )
        if not finite(piece.dtype, out).all():
            raise MethodError(
                f"merge method {self._name} gave values that are not finite, or left some unwritten"
            )

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        try:
            with np.errstate(all="ignore"):
                return call(*arguments)
        except InputError as exc:
            count = len(arguments[0].rows) if arguments else 0
            if exc.index not in range(count):
                raise MethodError(
                    f"merge method {self._name} blames input {exc.index} of {count}"
                ) from exc
            raise
        except SwarmError:
            raise
        except Exception as exc:
            raise MethodError(
                f"merge method {self._name} failed: {type(exc).__name__}: {exc}"
            ) from exc
