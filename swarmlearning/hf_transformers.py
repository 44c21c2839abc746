"""``SwarmCallback`` for the Hugging Face ``Trainer`` (HPE's import path).

::

    swarm = SwarmCallback(syncFrequency=20, minPeers=2, model=model, totalEpochs=3)
    Trainer(model=model, args=..., train_dataset=..., callbacks=[swarm]).train()

The trainer makes all calls. Batches are counted per optimizer step, so gradient accumulation
counts once. When the swarm's training is over, the trainer stops.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
import transformers
from torch.utils.data import DataLoader

from swarmlearning._options import DEFAULT_CONTRACT, Options
from swarmlearning._start import open_session, read_options
from swarmlearning._torch_measure import (
    PARAMETERS,
    device_of,
    evaluation_of,
    metric_of,
    number_of,
)
from swarmlearning._torch_model import State, TorchModel, checked, own_model, state_of
from swarmlearning.errors import SwarmError

__all__ = ["SwarmCallback", "SwarmError"]

PLATFORM: Final = "HF_TRANSFORMER"

EVALUATION_BATCH: Final = 8
"""Samples at a time where ``adsValData`` is a data set and ``adsValBatchSize`` is not given."""

_PARAMETERS: Final = ("model", "hfMode", *PARAMETERS)


class SwarmCallback(transformers.TrainerCallback):
    """Takes a Hugging Face ``Trainer`` into the swarm.

    The constructor blocks until the SL node beside this program is ready.

    Args:
        syncFrequency: optimizer steps between two merges, 1 or more.
        minPeers: peers that a merge needs, 1 or more.
        trainingContract: name of the training contract.
        **kwargs: HPE's optional arguments as in :class:`swarmlearning.pyt.SwarmCallback`, with
            these differences:

            * ``model``: the model that the trainer trains (required);
            * ``hfMode``: ``full`` (default) exchanges everything in ``model.state_dict()``;
              ``peft`` only the active adapter of a PEFT model, under the names of an adapter
              checkpoint, so that peers may call their adapters as they like;
            * ``adsValData``: a ``DataLoader``, or a data set of dicts, which then is evaluated
              with the default collator in batches of ``adsValBatchSize`` (8). Batches are what
              the model takes, ``labels`` included; the loss reported is the model's own, averaged
              as ``Trainer.evaluate`` does;
            * ``metricFunction``: name of a class in ``torchmetrics``, fed with logits and labels,
              or a function of (logits, labels) that gives a number for a batch, averaged over the
              samples;
            * ``lossFunction``, ``lossFunctionArgs``: accepted for compatibility; the loss is the
              model's own;
            * ``ml_platform``: ``HF_TRANSFORMER``.

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
        options, self.logger = read_options(
            syncFrequency, minPeers, trainingContract, kwargs, _PARAMETERS
        )
        self._model: Any = options.extra.get("model")
        self._session = open_session(options, self.logger, partial(_adapter, options), stops=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Called by the trainer: all peers start from one merged model.

        Raises:
            SwarmError: the merge failed.
        """
        self._require_shared(kwargs.get("model"))
        self._session.train_begin()
        self._stop_if_over(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Called by the trainer after each optimizer step; merges when the countdown is at 0.

        Raises:
            SwarmError: the merge failed.
        """
        self._session.batch_end()
        self._stop_if_over(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Called by the trainer after each epoch."""
        self._session.epoch_end()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Called by the trainer at the end: waits for the other peers and loads the final model.

        Raises:
            SwarmError: the final merge failed.
        """
        self._session.train_end()

    def _require_shared(self, trained: Any) -> None:  # noqa: ANN401 - the trainer's model
        """Refuse to merge a model that has nothing to do with the one that is trained."""
        if not isinstance(trained, torch.nn.Module):
            return
        ours = {id(parameter) for parameter in self._model.parameters()}
        if ours.isdisjoint(map(id, trained.parameters())):
            error = (
                "the trainer trains another model than this callback's: give both the same object "
                "(with model_init, make the model before and give the trainer model=model)"
            )
            self.logger.error(error)
            raise SwarmError(error)

    def _stop_if_over(self, control: Any) -> None:  # noqa: ANN401
        if self._session.over:
            control.should_training_stop = True


def _adapter(options: Options) -> TorchModel:
    extra = options.extra
    platform = extra.get("ml_platform", PLATFORM)
    if platform != PLATFORM:
        raise SwarmError(f"Invalid ML platform type: {platform}")
    model = own_model(extra.get("model"), "Hugging Face model is None")
    mode = extra.get("hfMode") or "full"
    if mode not in ("full", "peft"):
        raise SwarmError(f"Invalid Hugging Face model type: {mode}")
    state = partial(state_of, model, options.trainable)
    if mode == "peft":
        state = partial(_adapter_state, model)
        state()  # a wrong model is said at once
    return TorchModel(state, _evaluation(options, model))


# --- adapters


def _adapter_state(model: torch.nn.Module) -> State:
    """The active adapter, named as in an adapter checkpoint: without the adapter's own name.

    Raises:
        SwarmError: the model has no adapter or several active ones, or one whose checkpoint is
            computed from other parameters.
    """
    name = _adapter_name(model)
    try:
        from peft import get_peft_model_state_dict
    except ImportError as exc:
        raise SwarmError(
            "hfMode peft needs the package peft: add `pip install peft` to the ML image"
        ) from exc
    live = model.state_dict()
    # Embeddings that an adapter trains are part of it; asking for "auto" may look on the network.
    found = checked(
        get_peft_model_state_dict(model, live, adapter_name=name, save_embedding_layers=False)
    )
    places = {tensor.data_ptr() for tensor in live.values() if isinstance(tensor, torch.Tensor)}
    for key, tensor in found.items():
        if tensor.data_ptr() not in places:
            raise SwarmError(
                f"{key!r} of the adapter is computed when it is saved, so a merged one could not "
                "be trained on; use hfMode='full' with exchange='trainable' for this PEFT method"
            )
    if not found:
        raise SwarmError(f"the adapter {name!r} has no parameters")
    return found


def _adapter_name(model: torch.nn.Module) -> str:
    if getattr(model, "peft_config", None) is None:
        raise SwarmError(
            "hfMode peft needs a model with an adapter: peft.get_peft_model(model, config), or "
            "model.add_adapter(config)"
        )
    active: Any = getattr(model, "active_adapters", None)
    names = active() if callable(active) else active  # a method in transformers, a list in peft
    if not isinstance(names, list) or len(names) != 1:
        raise SwarmError(f"hfMode peft needs exactly one active adapter; active are: {names}")
    return str(names[0])


# --- evaluation


def _evaluation(options: Options, model: torch.nn.Module) -> Callable[[], tuple[float, float]]:
    data = options.val_data
    if data is None:
        return lambda: (0.0, 0.0)
    if not isinstance(data, DataLoader):
        data = _loader(data, options.val_batch_size)
    function = options.extra.get("metricFunction")
    metric = _Average(function) if callable(function) else metric_of(options.extra)
    return partial(_evaluate, model, data, metric)


def _loader(data: Any, size: Any) -> "DataLoader[Any]":  # noqa: ANN401 - whatever the user gave
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise SwarmError(
            f"adsValData type passed is {type(data)}, not matching with "
            "torch.utils.data.DataLoader or torch.utils.data.Dataset"
        )
    try:
        batch = EVALUATION_BATCH if size is None else int(size)
        return DataLoader(data, batch, collate_fn=transformers.default_data_collator)
    except (TypeError, ValueError) as exc:
        raise SwarmError(f"adsValBatchSize must be a positive integer, not {size!r}") from exc


def _evaluate(
    model: torch.nn.Module,
    data: "DataLoader[Any]",
    metric: Any,  # noqa: ANN401 - torchmetrics is optional
) -> tuple[float, float]:
    """The model's own loss, averaged over batches by their sizes, and the metric."""
    device, total, seen = device_of(model), 0.0, 0
    if metric is not None:
        metric.to(device)
        metric.reset()
    with evaluation_of(model):
        for batch in data:
            if not isinstance(batch, Mapping):
                raise SwarmError("adsValData must give batches that are dicts, as the model takes")
            inputs = {k: v.to(device) if hasattr(v, "to") else v for k, v in batch.items()}
            loss, logits = _answer(model(**inputs))
            size = next((len(v) for v in inputs.values() if getattr(v, "ndim", 0)), 1)
            seen += size
            total += loss * size
            if metric is not None:
                if "labels" not in inputs:
                    raise SwarmError("metricFunction needs `labels` in the batches of adsValData")
                metric.update(logits, inputs["labels"])
    measured = 0.0 if metric is None else number_of(metric)
    return (total / seen if seen else 0.0), measured


def _answer(outputs: Any) -> tuple[float, Any]:  # noqa: ANN401 - a ModelOutput or a tuple
    """Loss and logits."""
    named = isinstance(outputs, Mapping)
    loss = outputs.get("loss") if named else outputs[0]
    if not isinstance(loss, torch.Tensor) or (not named and loss.ndim):
        raise SwarmError(
            "the model gave no loss for a batch of adsValData: its batches must hold the labels, "
            "under the names that the model takes (mostly `labels`)"
        )
    logits = outputs.get("logits") if named else (*outputs, None)[1]
    return float(loss.mean()), logits


class _Average:
    """A user's function of (logits, labels) as a metric: its mean over samples."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        self._function = function
        self.reset()

    def to(self, _device: torch.device) -> None:
        """Nothing to move."""

    def reset(self) -> None:
        self._total, self._seen = 0.0, 0

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        self._total += float(self._function(logits, labels)) * len(labels)
        self._seen += len(labels)

    def compute(self) -> float:
        return self._total / self._seen if self._seen else 0.0
