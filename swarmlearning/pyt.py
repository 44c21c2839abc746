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

or the same with nothing to forget (ours)::

    with SwarmCallback(syncFrequency=128, minPeers=2, model=model, totalEpochs=5) as swarm:
        for epoch in swarm.epochs(5):
            for batch in swarm.batches(loader):
                ...                   # forward, backward, optimizer.step()

``with`` makes the first sync, and the last one if the loop ends well; after an exception it only
takes leave of the SL. ``epochs`` and ``batches`` are optional: within ``with``, the loop may call
``on_batch_end`` and ``on_epoch_end`` itself, e.g. once per optimizer step.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

from swarmlearning._options import DEFAULT_CONTRACT, Options
from swarmlearning._start import open_session, read_options
from swarmlearning._torch_measure import PARAMETERS, Measure
from swarmlearning._torch_model import TorchModel, own_model, state_of
from swarmlearning.errors import SwarmError

__all__ = ["SwarmCallback", "SwarmError"]

PLATFORM: Final = "PYTORCH"

_PARAMETERS: Final = ("model", "hfMode", *PARAMETERS)

Batch = TypeVar("Batch")


class SwarmCallback:
    """Takes a PyTorch training loop into the swarm.

    The constructor blocks until the SL node beside this program is ready. Everything in
    ``model.state_dict()`` is exchanged, in its own dtype (BatchNorm counters, float64, bool and
    bfloat16 included), and merged parameters are copied into the existing tensors, on whatever
    device they are, so an optimizer keeps working. A model in ``torch.compile`` or data parallel
    wrappers is exchanged under its own names.

    Args:
        syncFrequency: batches between two merges, 1 or more.
        minPeers: peers that a merge needs, 1 or more.
        trainingContract: name of the training contract.
        **kwargs: HPE's optional arguments, and ``exchange``, which is ours:

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
            * ``exchange``: ``all`` (default), or ``trainable`` to leave frozen parameters at home
              (transfer learning): only parameters with ``requires_grad`` are merged, and the
              buffers that go with them, such as the running statistics of a trained BatchNorm.
              Put frozen layers into ``eval()`` mode, so that their own buffers do not drift. All
              peers must choose alike;
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
        options, self.logger = read_options(
            syncFrequency, minPeers, trainingContract, kwargs, _PARAMETERS
        )
        self._session = open_session(options, self.logger, partial(self._adapter, options))
        self._uncounted = False
        """A batch was handed out by :meth:`batches` and is not counted yet."""

    @property
    def resume_epoch(self) -> int:
        """Epochs this peer had reported before its program was started again; 0 if not known."""
        return self._session.resume_epoch

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

    def epochs(self, count: int) -> Iterator[int]:
        """Epochs to train, each counted when its body is done.

        Ends early when the swarm's training is over: what is trained afterwards is dropped for the
        final model. After a crash of this program it starts at :attr:`resume_epoch`.

        Args:
            count: epochs in all.

        Yields:
            The epoch's number, from 0.

        Raises:
            SwarmError: a merge failed.
        """
        self._session.resume()
        for epoch in range(self.resume_epoch, count):
            if self._session.over:
                return
            yield epoch
            self._count()  # where the body left batches() by `break`
            self._session.epoch_end()

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """What ``loader`` gives, each batch counted, and a merge done when due, after its body.

        Ends early when the swarm's training is over. A ``break`` in the body is fine.

        Args:
            loader: a ``DataLoader``, or anything else to iterate.

        Yields:
            Its batches.

        Raises:
            SwarmError: a merge failed.
        """
        for batch in loader:
            self._uncounted = True
            yield batch
            self._count()
            if self._session.over:
                return

    def __enter__(self) -> "SwarmCallback":
        try:
            self.on_train_begin()
        except BaseException:
            self._session.disconnect()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and not self._session.ended:
                self._count()
                self.on_train_end()
        finally:
            self._session.disconnect()

    def _count(self) -> None:
        if self._uncounted:
            self._uncounted = False
            self.on_batch_end()

    def _adapter(self, options: Options) -> TorchModel:
        platform = options.extra.get("ml_platform", PLATFORM)
        if platform != PLATFORM:
            raise SwarmError(f"Invalid ml platform type: {platform}")
        if options.extra.get("hfMode") is not None:
            self.logger.info("hfMode is for Hugging Face models only, ignored")
        model = own_model(options.extra.get("model"), "Pytorch model is None")
        measure = Measure(options, self.logger)
        return TorchModel(partial(state_of, model, options.trainable), partial(measure, model))
