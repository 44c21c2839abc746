"""``SwarmCallback`` for PyTorch training loops (HPE's import path).

::

    callback = SwarmCallback(syncFrequency=128, minPeers=2, model=model, totalEpochs=5)
    callback.on_train_begin()
    for epoch in range(5):
        for batch in loader:
            ...                       # forward, backward, optimizer.step()
            callback.on_batch_end()
        callback.on_epoch_end(epoch)
    callback.on_train_end()

or, the same with less to forget, ``with SwarmCallback(...) as callback:`` around the loop: that
calls ``on_train_begin`` and, if the loop ends well, ``on_train_end``.
"""

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from swarmlearning import _accuracy
from swarmlearning._model import Arrays
from swarmlearning._options import DEFAULT_CONTRACT, Options, describe, nearest, parse
from swarmlearning._session import Session
from swarmlearning.errors import SwarmError
from swarmlearning.wire.tensors import DTYPES, Layout, arrange

__all__ = ["SwarmCallback", "SwarmError"]

PLATFORM: Final = "PYTORCH"

_PARAMETERS: Final = (
    "model",
    "lossFunction",
    "lossFunctionArgs",
    "metricFunction",
    "metricFunctionArgs",
    "hfMode",
)

_WIRE: Final = {
    getattr(torch, name): wire
    for name, wire in {
        "bool": "BOOL",
        "uint8": "U8",
        "int8": "I8",
        "uint16": "U16",
        "int16": "I16",
        "uint32": "U32",
        "int32": "I32",
        "uint64": "U64",
        "int64": "I64",
        "float16": "F16",
        "bfloat16": "BF16",
        "float32": "F32",
        "float64": "F64",
    }.items()
    if hasattr(torch, name)  # torch before 2.3 lacks the wider unsigned ones
}
"""torch dtype -> dtype in the model file."""


class SwarmCallback:
    """Takes a PyTorch training loop into the swarm.

    The constructor blocks until the SL node beside this program is ready. Everything in
    ``model.state_dict()`` is exchanged, in its own dtype (BatchNorm counters, float64, bool and
    bfloat16 included), and merged parameters are copied into the existing tensors, so an optimizer
    keeps working.

    Args:
        syncFrequency: batches between two merges, 1 or more.
        minPeers: peers that a merge needs, 1 or more.
        trainingContract: name of the training contract.
        **kwargs: HPE's optional arguments:

            * ``model``: the ``torch.nn.Module`` (required);
            * ``totalEpochs``: for progress display;
            * ``nodeWeightage``: 1 to 100, this peer's weight in merges (1);
            * ``mergeMethod``: ``mean`` (default), ``coordmedian``, ``geomedian``, ``normclip``,
              or the ``x-...`` of a method that the SL nodes have;
            * ``checkinModelOnTrainEnd``: ``snapshot`` (default), ``active``, ``inactive``;
            * ``useAdaptiveSync``: let the swarm choose the interval; needs ``adsValData``;
            * ``adsValData``: a ``DataLoader`` of (input, target) on which merged models are
              evaluated;
            * ``lossFunction``, ``lossFunctionArgs``: name of a class in ``torch.nn``, and its
              arguments (dict). The loss reported is, with ``reduction='sum'``, the sum over the
              batches divided by ``len(dataset)`` (as documented by HPE); with
              ``reduction='mean'`` the mean of the batches weighted by their sizes, so that both
              give the loss per sample;
            * ``metricFunction``, ``metricFunctionArgs``: name of a class in ``torchmetrics``, and
              its arguments (dict). May be left out; plain ``Accuracy`` (``task``,
              ``num_classes``, ``threshold``) works without the package, too;
            * ``logger``: anything with ``info``, ``debug``, ``error`` and ``warning``;
            * ``adsValBatchSize`` and ``ml_platform`` (``PYTORCH``): accepted for compatibility.

    Raises:
        SwarmError: an argument is wrong, or the SL node cannot be reached or refuses.
    """

    def __init__(
        self,
        syncFrequency: int,
        minPeers: int,
        trainingContract: str = DEFAULT_CONTRACT,
        **kwargs: Any,  # noqa: ANN401 - checked in _options
    ) -> None:
        given = kwargs.get("logger")
        self.logger: logging.Logger = _own_logger() if given is None else given
        self.logger.info("SwarmCallbackBase logger is set")
        try:
            options = parse(
                syncFrequency, minPeers, trainingContract, kwargs, _PARAMETERS, self.logger
            )
            model = _TorchModel(options, self.logger)
        except SwarmError as exc:
            self.logger.error("%s", exc)  # noqa: TRY400 - one line, then raised
            raise
        describe(options, self.logger)
        self._session = Session(options, model, self.logger)
        self._session.open()

    def on_train_begin(self) -> None:
        """Call before the first batch: all peers start from one merged model.

        Raises:
            SwarmError: the merge failed.
        """
        self._session.train_begin()

    def on_batch_end(self, batch: object = None) -> None:
        """Call after each batch, after ``optimizer.step()``; merges when the countdown is at 0.

        Args:
            batch: not used.

        Raises:
            SwarmError: the merge failed.
        """
        self._session.batch_end()

    def on_epoch_end(self, epoch: object = None) -> None:
        """Call after each epoch.

        Args:
            epoch: not used; calls are counted.
        """
        self._session.epoch_end()

    def on_train_end(self) -> None:
        """Call after the last batch: waits for the other peers and loads the final model.

        Raises:
            SwarmError: the final merge failed.
        """
        self._session.train_end()

    def __enter__(self) -> "SwarmCallback":
        self.on_train_begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.on_train_end()
        else:
            self._session.disconnect()


class _TorchModel:
    """A ``torch.nn.Module`` as a :class:`swarmlearning._model.ModelAdapter`."""

    def __init__(self, options: Options, logger: logging.Logger) -> None:
        extra = options.extra
        platform = extra.get("ml_platform", PLATFORM)
        if platform != PLATFORM:
            raise SwarmError(f"Invalid ml platform type: {platform}")
        if extra.get("model") is None:
            raise SwarmError("Pytorch model is None")
        if not isinstance(extra["model"], torch.nn.Module):
            kind = type(extra["model"]).__name__
            raise SwarmError(f"model must be a torch.nn.Module, not {kind}")
        if extra.get("hfMode") is not None:
            logger.info("hfMode is for Hugging Face models only, ignored")
        self._model: torch.nn.Module = extra["model"]
        self._data = _data_loader(options.val_data)
        self._loss = self._metric = None
        if self._data is not None:
            self._loss = _make(torch.nn, "lossFunction", extra)
            self._metric = _metric(extra)
            if self._loss is None:
                logger.warning("adsValData without lossFunction: the loss is reported as 0")

    def layout(self) -> Layout:
        return arrange(
            (name, _dtype(name, tensor), tuple(tensor.shape))
            for name, tensor in self._tensors().items()
        )

    def save(self, target: Arrays) -> None:
        tensors = self._tensors()
        _copy(
            [_as_tensor(target[name], tensor.dtype) for name, tensor in tensors.items()],
            list(tensors.values()),
        )

    def load(self, source: Arrays) -> None:
        tensors = self._tensors()
        missing, unexpected = tensors.keys() - source.keys(), source.keys() - tensors.keys()
        if missing or unexpected:
            raise SwarmError(
                "the merged model is not this program's model: "
                f"missing {sorted(missing)[:5]}, unexpected {sorted(unexpected)[:5]}; "
                "all peers must train the same model"
            )
        for name, tensor in tensors.items():
            array, wanted = source[name], DTYPES[_dtype(name, tensor)]
            if array.shape != tuple(tensor.shape) or array.dtype != wanted:
                raise SwarmError(
                    f"the merged model is not this program's model: {name!r} is "
                    f"{array.dtype}{list(array.shape)}, not {wanted}{list(tensor.shape)}; "
                    "all peers must train the same model"
                )
        _copy(
            list(tensors.values()),
            [_as_tensor(source[name], tensor.dtype) for name, tensor in tensors.items()],
        )

    def evaluate(self) -> tuple[float, float]:
        if self._data is None or (self._loss is None and self._metric is None):
            return 0.0, 0.0
        training = [module for module in self._model.modules() if module.training]
        self._model.eval()
        try:
            with torch.no_grad():
                return self._measure(self._data)
        finally:
            for module in training:
                module.training = True

    def _measure(self, data: "DataLoader[Any]") -> tuple[float, float]:
        parameter = next(self._model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        for measure in (self._loss, self._metric):
            if measure is not None:
                measure.to(device)
        if self._metric is not None:
            self._metric.reset()
        by_mean = getattr(self._loss, "reduction", "mean") == "mean"
        total, seen = 0.0, 0
        for batch in data:
            inputs, targets = _pair(batch, device)
            outputs = self._model(inputs)
            seen += len(targets)
            if self._loss is not None:
                loss = float(self._loss(outputs, targets).sum())
                total += loss * len(targets) if by_mean else loss
            if self._metric is not None:
                self._metric.update(outputs, targets)
        samples = seen if by_mean else _length(data, seen)
        metric = 0.0 if self._metric is None else float(self._metric.compute())
        return (total / samples if samples else 0.0), metric

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Every entry of the state, sharing memory with the model; refused if it is no tensor."""
        found: dict[str, torch.Tensor] = {}
        for name, value in self._model.state_dict().items():
            if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
                raise SwarmError(
                    f"{name!r} in the model's state_dict() is not a dense tensor and cannot be "
                    "merged; keep it out of the state_dict, e.g. as a buffer with persistent=False"
                )
            found[name] = value.detach()
        return found


def _copy(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
    """Copy tensor by tensor in place, in one call where this torch has it."""
    with torch.no_grad():
        if targets and hasattr(torch, "_foreach_copy_"):
            torch._foreach_copy_(targets, sources)
            return
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)


def _as_tensor(array: NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
    """A tensor that shares memory with ``array``; bit patterns become bfloat16 again."""
    if not array.flags.aligned:
        array = array.copy()
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _dtype(name: str, tensor: torch.Tensor) -> str:
    wire = _WIRE.get(tensor.dtype)
    if wire is None:
        raise SwarmError(
            f"{name!r} has dtype {tensor.dtype}, which cannot be merged; "
            "convert it, or keep it out of the state_dict"
        )
    return wire


def _data_loader(data: Any) -> "DataLoader[Any] | None":  # noqa: ANN401 - whatever the user gave
    if data is not None and not isinstance(data, DataLoader):
        raise SwarmError(
            f"adsValData type passed is {type(data)}, not matching with torch.utils.data.DataLoader"
        )
    return data


def _metric(extra: Mapping[str, Any]) -> Any:  # noqa: ANN401 - torchmetrics is optional
    if extra.get("metricFunction") is None:
        return None
    try:
        import torchmetrics
    except ImportError as exc:
        if extra["metricFunction"] == "Accuracy" and _is_plain(extra.get("metricFunctionArgs")):
            return _make(_accuracy, "metricFunction", extra)
        raise SwarmError(
            "metricFunction needs the package torchmetrics: add `pip install torchmetrics` to the "
            "ML image, or leave metricFunction out"
        ) from exc
    return _make(torchmetrics, "metricFunction", extra)


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


def _own_logger() -> logging.Logger:
    """HPE's default: INFO on stdout, as ``time : SwarmCallback : level : message``."""
    logger = logging.getLogger("SwarmCallback")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s : %(name)s : %(levelname)s : %(message)s"))
    logger.handlers[:] = [handler]
    return logger
