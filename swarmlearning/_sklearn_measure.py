"""Loss and metric of a scikit-learn estimator, by their names in ``sklearn.metrics``."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import sklearn.metrics

from swarmlearning._options import nearest
from swarmlearning.errors import SwarmError

_PROBABILITY: Final = ("predict_proba",)
_SCORE: Final = ("predict_proba", "decision_function")

_RESPONSES: Final[Mapping[str, tuple[str, ...]]] = {
    "log_loss": _PROBABILITY,
    "d2_log_loss_score": _PROBABILITY,
    "brier_score_loss": _PROBABILITY,
    "roc_auc_score": _SCORE,
    "average_precision_score": _SCORE,
    "top_k_accuracy_score": _SCORE,
    "hinge_loss": ("decision_function",),
}
"""Functions that are not computed from predictions: the estimator's methods that serve them."""

Measure = Callable[[Any, Any, Any], float]
"""Estimator, samples and targets -> a number."""


def measure(parameter: str, extra: Mapping[str, Any], estimator: Any) -> Measure | None:  # noqa: ANN401
    """What ``lossFunction`` or ``metricFunction`` measures; None where it is not given.

    Args:
        parameter: which of the two.
        extra: the user's arguments.
        estimator: what will be measured.

    Raises:
        SwarmError: it is no function, or one that this estimator cannot serve.
    """
    given: Any = extra.get(parameter)
    arguments = extra.get(f"{parameter}Args") or {}
    if given is None:
        return None
    if not isinstance(arguments, Mapping):
        raise SwarmError(f"{parameter}Args must be a dict, not {type(arguments).__name__}")
    function: Any = given
    if isinstance(given, str):
        function = getattr(sklearn.metrics, given, None)
    if not callable(function) or isinstance(function, type):
        near = nearest(str(given), tuple(n for n in sklearn.metrics.__all__ if n.islower()))
        raise SwarmError(
            f"{parameter} {given!r} is neither a function in sklearn.metrics nor one of "
            f"(y_true, y_pred).{near}"
        )
    name: str = getattr(function, "__name__", str(given))
    if not (hasattr(sklearn.metrics, name) and getattr(sklearn.metrics, name) is function):
        return _Measure(f"{parameter} {name}", function, "predict", arguments)
    methods = _RESPONSES.get(name, ("predict",))
    method = next((method for method in methods if hasattr(estimator, method)), None)
    if method is None:
        raise SwarmError(
            f"{parameter} {name} needs {' or '.join(methods)}, which {estimator} does not have"
        )
    return _Measure(f"{parameter} {name}", function, method, arguments)


class _Measure:
    def __init__(
        self, what: str, function: Callable[..., Any], method: str, arguments: Mapping[str, Any]
    ) -> None:
        self._what, self._function, self._method = what, function, method
        self._arguments = arguments

    def __call__(self, estimator: Any, x: Any, y: Any) -> float:  # noqa: ANN401
        answer = getattr(estimator, self._method)(x)
        arguments = dict(self._arguments)
        if self._method != "predict":
            several = len(estimator.classes_) > 2
            if self._method == "predict_proba" and not several:
                answer = answer[:, 1]
            accepted = inspect.signature(self._function).parameters
            # the validation data need not have all classes
            if "labels" in accepted and (several or self._function.__name__ != "roc_auc_score"):
                arguments.setdefault("labels", estimator.classes_)
            if "multi_class" in accepted and several:
                arguments.setdefault("multi_class", "ovr")
        value = self._function(y, answer, **arguments)
        try:
            return float(value)
        except (TypeError, ValueError) as exc:
            kind = type(value).__name__
            raise SwarmError(f"{self._what} gave a {kind}, not a number") from exc
