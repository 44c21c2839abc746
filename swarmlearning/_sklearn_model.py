"""A scikit-learn estimator as a :class:`swarmlearning._model.ModelAdapter`."""

import hashlib
from collections.abc import Mapping, Sequence
from logging import Logger
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from swarmlearning._model import Arrays, check_same
from swarmlearning._options import Options
from swarmlearning._sklearn_measure import Measure, measure
from swarmlearning.errors import SwarmError
from swarmlearning.wire.tensors import Layout, layout_of

_ARRAYS: Final = ("coef_", "intercept_", "offset_")
_LISTS: Final = ("coefs_", "intercepts_")

_SUPPORTED: Final = (
    "use SGDClassifier, SGDRegressor, Perceptron, MLPClassifier or MLPRegressor (solver sgd or "
    "adam), or another estimator with partial_fit and coef_ and intercept_"
)


class SklearnModel:
    """A linear model or a multi-layer perceptron that trains by ``partial_fit``.

    Args:
        options: with ``model``, ``initData``, ``classes``, loss and metric.
        logger: for what the user should know.

    Raises:
        SwarmError: the model cannot be trained in a swarm, or an argument is wrong.
    """

    def __init__(self, options: Options, logger: Logger) -> None:
        extra = options.extra
        self.estimator = _checked(extra.get("model"))
        self._classes = extra.get("classes")
        self._data = _pair("adsValData", options.val_data)
        self._loss: Measure | None = None
        self._metric: Measure | None = None
        if self._data is not None:
            self._loss = measure("lossFunction", extra, self.estimator)
            self._metric = measure("metricFunction", extra, self.estimator)
            if self._loss is None:
                logger.warning("adsValData without lossFunction: the loss is reported as 0")
        data = _pair("initData", extra.get("initData"))
        if self.fitted:
            self.check_classes(self._classes)
            if data is not None:
                logger.info("The model has been fitted before, initData is not used")
        elif data is not None:
            self.begin(*data)
        if getattr(self.estimator, "random_state", 0) is None and hasattr(self.estimator, "solver"):
            logger.warning(
                "the model has no random_state, so each peer starts from other parameters; give "
                "all peers the same, e.g. random_state=0"
            )

    @property
    def fitted(self) -> bool:
        """Whether the model has parameters yet."""
        return any(hasattr(self.estimator, name) for name in (*_ARRAYS, *_LISTS))

    def begin(self, x: Any, y: Any, classes: Any = None) -> None:  # noqa: ANN401 - the user's data
        """Give a new model its parameters, by a first ``partial_fit`` on a few samples.

        Args:
            x: samples.
            y: their targets.
            classes: all labels that any peer has; the constructor's where None.

        Raises:
            SwarmError: the classes are not known, or scikit-learn refuses the data.
        """
        known: dict[str, Any] = {}
        if is_classifier(self.estimator):
            known["classes"] = self._classes if classes is None else classes
            if known["classes"] is None:
                raise SwarmError(
                    "a classifier needs classes=[...]: all labels that any peer has, the same for "
                    "all peers"
                )
        kind = type(self.estimator).__name__
        try:
            self.estimator.partial_fit(x, y, **known)
        except (TypeError, ValueError) as exc:
            raise SwarmError(f"{kind}.partial_fit refuses the first samples: {exc}") from exc
        if not self.fitted:
            raise SwarmError(f"{kind} has no coef_ and intercept_ to merge: {_SUPPORTED}")

    def check_classes(self, classes: Any) -> None:  # noqa: ANN401 - whatever the user gave
        """Compare with the classes of a model that has been fitted.

        Raises:
            SwarmError: they are others.
        """
        own = getattr(self.estimator, "classes_", None)
        if classes is not None and own is not None and not np.array_equal(np.unique(classes), own):
            raise SwarmError(
                f"classes is {list(classes)}, but the model was fitted with {own.tolist()}"
            )

    def layout(self) -> Layout:
        """See :class:`ModelAdapter`."""
        return layout_of(self._parameters())

    def save(self, target: Arrays) -> None:
        """See :class:`ModelAdapter`."""
        for name, array in self._parameters().items():
            np.copyto(target[name], array)

    def load(self, source: Arrays) -> None:
        """See :class:`ModelAdapter`."""
        check_same(self.layout(), source)
        for name, array in self._parameters().items():
            np.copyto(array, source[name])

    def evaluate(self) -> tuple[float, float]:
        """See :class:`ModelAdapter`."""
        if self._data is None:
            return 0.0, 0.0
        x, y = self._data
        loss, metric = [
            0.0 if of is None else of(self.estimator, x, y) for of in (self._loss, self._metric)
        ]
        return loss, metric

    def _parameters(self) -> dict[str, NDArray[Any]]:
        """The arrays that the estimator computes with, by name, and its classes.

        Classes are an empty array whose name lists them: peers with other classes have another
        model, which the swarm refuses by name.
        """
        if not self.fitted:
            raise SwarmError(
                "the model has not been fitted yet, so it has no parameters: give initData=(x, y) "
                "of a few samples, for a classifier with classes=[...] of all peers, or call "
                "partial_fit before"
            )
        found = {
            name: getattr(self.estimator, name) for name in _ARRAYS if hasattr(self.estimator, name)
        }
        for name in _LISTS:
            for place, array in enumerate(getattr(self.estimator, name, ())):
                found[f"{name}.{place}"] = array
        for name, array in found.items():
            if not isinstance(array, np.ndarray):
                raise SwarmError(f"{name} is no dense array: call densify() before training")
        if hasattr(self.estimator, "classes_"):
            found[f"classes_: {_listed(self.estimator.classes_)}"] = np.empty(0, np.uint8)
        return found


def _listed(classes: Sequence[Any]) -> str:
    text = ", ".join(str(label) for label in np.asarray(classes).tolist())
    if len(text) <= 100:
        return text
    return f"{len(classes)}, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _checked(model: Any) -> Any:  # noqa: ANN401 - whatever the user gave
    if model is None:
        raise SwarmError("Scikit-learn model is None")
    kind = type(model).__name__
    if isinstance(model, type):
        raise SwarmError(f"model is the class {model.__name__}: give an object, {model.__name__}()")
    if not hasattr(model, "partial_fit"):
        raise SwarmError(f"{kind} has no partial_fit, so it cannot train in steps: {_SUPPORTED}")
    if getattr(model, "average", False):
        raise SwarmError(
            f"{kind} with average={model.average} predicts with a running average that a merge "
            "would not change: leave average out; the swarm averages"
        )
    return model


def _pair(name: str, data: Any) -> tuple[Any, Any] | None:  # noqa: ANN401 - whatever the user gave
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) != 2:
        kind = data.keys() if isinstance(data, Mapping) else type(data).__name__
        raise SwarmError(f"{name} has to be (x, y), not {kind}")
    return data[0], data[1]
