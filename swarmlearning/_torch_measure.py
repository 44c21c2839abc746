"""How good a PyTorch model is on validation data: loss and metric, as classes that a user names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import Logger
from typing import Any, Final

import torch
from torch.utils.data import DataLoader

from swarmlearning import _accuracy
from swarmlearning._options import Options, nearest
from swarmlearning.errors import SwarmError

PARAMETERS: Final = ("lossFunction", "lossFunctionArgs", "metricFunction", "metricFunctionArgs")
"""Arguments of ``SwarmCallback`` that :class:`Measure` reads, beside ``adsValData``."""


class Measure:
    """Loss and metric of a model on a ``DataLoader`` of (input, target).

    Args:
        options: ``adsValData`` and :data:`PARAMETERS`.
        logger: for what the user should know.

    Raises:
        SwarmError: one of them is not what it should be.
    """

    def __init__(self, options: Options, logger: Logger) -> None:
        self._data = _data_loader(options.val_data)
        self._loss = self._metric = None
        if self._data is not None:
            self._loss = _make(torch.nn, "lossFunction", options.extra)
            self._metric = metric_of(options.extra)
            if self._loss is None:
                logger.warning("adsValData without lossFunction: the loss is reported as 0")

    def __call__(self, model: torch.nn.Module) -> tuple[float, float]:
        """Loss and metric of ``model``; 0 for what is not measured."""
        if self._data is None or (self._loss is None and self._metric is None):
            return 0.0, 0.0
        with evaluation_of(model):
            return self._measure(model, self._data)

    def _measure(self, model: torch.nn.Module, data: "DataLoader[Any]") -> tuple[float, float]:
        device = device_of(model)
        for measure in (self._loss, self._metric):
            if measure is not None:
                measure.to(device)
        if self._metric is not None:
            self._metric.reset()
        by_mean = getattr(self._loss, "reduction", "mean") in ("mean", "batchmean")
        total, seen = 0.0, 0
        for batch in data:
            inputs, targets = _pair(batch, device)
            outputs = model(inputs)
            seen += len(targets)
            if self._loss is not None:
                loss = float(self._loss(outputs, targets).sum())
                total += loss * len(targets) if by_mean else loss
            if self._metric is not None:
                self._metric.update(outputs, targets)
        samples = seen if by_mean else _length(data, seen)
        metric = 0.0 if self._metric is None else number_of(self._metric)
        return (total / samples if samples else 0.0), metric


@contextmanager
def evaluation_of(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients; each layer trains again afterwards only if it did."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the model's input has to be."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def metric_of(extra: Mapping[str, Any]) -> Any:  # noqa: ANN401 - torchmetrics is optional
    """The metric that ``metricFunction`` names; None if it names none.

    Raises:
        SwarmError: there is no such metric, or its arguments are wrong.
    """
    if extra.get("metricFunction") is None:
        return None
    if extra["metricFunction"] == "Accuracy" and _is_plain(extra.get("metricFunctionArgs")):
        return _make(_accuracy, "metricFunction", extra)
    try:
        import torchmetrics
    except ImportError as exc:
        raise SwarmError(
            "metricFunction needs the package torchmetrics: add `pip install torchmetrics` to the "
            "ML image, or leave metricFunction out"
        ) from exc
    return _make(torchmetrics, "metricFunction", extra)


def number_of(metric: Any) -> float:  # noqa: ANN401 - torchmetrics is optional
    """What the metric has measured.

    Raises:
        SwarmError: that is no single number.
    """
    value = metric.compute()
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise SwarmError(
            f"metricFunction {type(metric).__name__} gives {value}, not one number: choose "
            "metricFunctionArgs that average, e.g. average='macro'"
        ) from exc


def _data_loader(data: Any) -> "DataLoader[Any] | None":  # noqa: ANN401 - whatever the user gave
    if data is not None and not isinstance(data, DataLoader):
        raise SwarmError(
            f"adsValData type passed is {type(data)}, not matching with torch.utils.data.DataLoader"
        )
    return data


def _is_plain(arguments: Any) -> bool:  # noqa: ANN401 - whatever the user gave
    """Whether our own accuracy knows all of the arguments."""
    return isinstance(arguments, Mapping) and _accuracy.ARGUMENTS.issuperset(arguments)


def _make(module: Any, parameter: str, extra: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """An instance of the class that ``parameter`` names in ``module``; None if it names none."""
    name, arguments = extra.get(parameter), extra.get(f"{parameter}Args")
    if name is None:
        return None
    kind = getattr(module, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type):
        near = nearest(str(name), tuple(n for n in dir(module) if n[0].isupper()))
        raise SwarmError(f"{parameter} {name!r} is not a class in {module.__name__}.{near}")
    if arguments is not None and not isinstance(arguments, Mapping):
        raise SwarmError(f"{parameter}Args must be a dict, not {type(arguments).__name__}")
    try:
        return kind(**(arguments or {}))
    except (TypeError, ValueError) as exc:
        raise SwarmError(f"{parameter} {name}: {exc}; check {parameter}Args") from exc


def _pair(batch: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise SwarmError("adsValData must give batches of (input, target)")
    return batch[0].to(device), batch[1].to(device)


def _length(data: "DataLoader[Any]", seen: int) -> int:
    """Samples in the data set; those seen where it does not know its length."""
    try:
        return len(data.dataset)  # type: ignore[arg-type]  # a Dataset need not have a length
    except TypeError:
        return seen
