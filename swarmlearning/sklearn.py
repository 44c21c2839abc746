"""``SwarmCallback`` and ``SwarmSklearnTrainer`` for scikit-learn.

::

    model = SGDClassifier(loss="log_loss")
    callback = SwarmCallback(syncFrequency=8, minPeers=2, model=model, classes=[0, 1])
    SwarmSklearnTrainer(callback).fit(x, y, batch_size=32, epochs=5)

or in a loop of your own::

    callback = SwarmCallback(..., model=model, initData=(x[:32], y[:32]), classes=[0, 1])
    with callback:                     # on_train_begin, and at the end on_train_end
        for epoch in range(5):
            for batch in gen_batches(len(x), 32):
                model.partial_fit(x[batch], y[batch])
                callback.on_batch_end()
            callback.on_epoch_end(epoch)
"""

from functools import partial
from types import TracebackType
from typing import Any, Final

from sklearn.utils import gen_batches, shuffle

from swarmlearning._options import DEFAULT_CONTRACT, Options
from swarmlearning._sklearn_model import SklearnModel
from swarmlearning._start import open_session, read_options
from swarmlearning.errors import SwarmError

__all__ = ["SwarmCallback", "SwarmError", "SwarmSklearnTrainer"]

_PARAMETERS: Final = (
    "model",
    "initData",
    "classes",
    "lossFunction",
    "lossFunctionArgs",
    "metricFunction",
    "metricFunctionArgs",
    "hfMode",
)


class SwarmCallback:
    """Takes a training by ``partial_fit`` into the swarm.

    The constructor blocks until the SL node beside this program is ready. Exchanged are ``coef_``
    and ``intercept_`` of linear models (``SGDClassifier``, ``SGDRegressor``, ``SGDOneClassSVM``
    with its ``offset_``, ``Perceptron``, the passive-aggressive ones), or ``coefs_`` and
    ``intercepts_`` of ``MLPClassifier`` and ``MLPRegressor``. They are copied in place, so that an
    MLP's optimizer goes on. All peers need the same classes: the swarm refuses a peer with others.

    Args:
        syncFrequency: batches between two merges, 1 or more.
        minPeers: peers that a merge needs, 1 or more.
        trainingContract: name of the training contract.
        **kwargs: optional arguments:

            * ``model``: the estimator (required);
            * ``initData``: (x, y), a few samples of the shape and dtype of the rest, for a model
              that has not been fitted: its parameters begin with a ``partial_fit`` on them. Not
              needed with :class:`SwarmSklearnTrainer`, which begins with its first batch;
            * ``classes``: for a classifier that has not been fitted, all labels that any peer has;
            * ``totalEpochs``: for progress display;
            * ``nodeWeightage``: 1 to 100, this peer's weight in merges (1);
            * ``mergeMethod``: ``mean`` (default), ``coordmedian``, ``geomedian``, ``normclip``,
              or the ``x-...`` of a method that the SL nodes have;
            * ``checkinModelOnTrainEnd``: ``snapshot`` (default), ``active``, ``inactive``;
            * ``useAdaptiveSync``: let the swarm choose the interval; needs ``adsValData``;
            * ``adsValData``: (x, y) on which merged models are evaluated;
            * ``lossFunction``, ``metricFunction``: name of a function in ``sklearn.metrics``
              (those of probabilities or scores get them), or a function of (y_true, y_pred);
            * ``lossFunctionArgs``, ``metricFunctionArgs``: their further arguments (dict);
            * ``logger``: anything with ``info``, ``debug``, ``error`` and ``warning``;
            * ``adsValBatchSize``, ``ml_platform`` (``SKLEARN``) and ``exchange`` (all parameters
              are trainable): accepted, not needed.

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

    @property
    def resume_epoch(self) -> int:
        """Epochs this peer had reported before its program was started again; 0 if not known."""
        return self._session.resume_epoch

    @property
    def training_over(self) -> bool:
        """The swarm's training ended while this program still trains: it may stop."""
        return self._session.over

    def on_train_begin(self) -> None:
        """Call before the first batch: all peers start from one merged model.

        Raises:
            SwarmError: the merge failed, or the model has no parameters yet.
        """
        self._session.train_begin()

    def on_batch_end(self, batch: object = None) -> None:
        """Call after each ``partial_fit``; merges when the countdown is at 0.

        Args:
            batch: not used; calls are counted.

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
                self.on_train_end()
        finally:
            self._session.disconnect()

    def _adapter(self, options: Options) -> SklearnModel:
        platform = options.extra.get("ml_platform", "SKLEARN")
        if platform != "SKLEARN":
            raise SwarmError(f"Invalid ml platform type: {platform}")
        if options.extra.get("hfMode") is not None:
            self.logger.info("hfMode is for Hugging Face models only, ignored")
        self._model = SklearnModel(options, self.logger)
        return self._model


class SwarmSklearnTrainer:
    """The training loop: batches of ``partial_fit``, with the callback's calls between them.

    Args:
        swarmCallback: with the model; for one training.
    """

    def __init__(self, swarmCallback: SwarmCallback) -> None:
        self._callback = swarmCallback

    def fit(
        self,
        x: Any,  # noqa: ANN401 - arrays, data frames, sparse matrices
        y: Any,  # noqa: ANN401
        batch_size: int = 32,
        epochs: int = 1,
        classes: Any = None,  # noqa: ANN401
        seed: int | None = 0,
    ) -> Any:  # noqa: ANN401 - the user's estimator
        """Train in the swarm; ends early where the swarm's training is over before.

        After a crash of this program it starts at the callback's ``resume_epoch``.

        Args:
            x: samples (rows).
            y: targets, as many.
            batch_size: samples of each ``partial_fit``; the last batch of an epoch may be smaller.
            epochs: how often all samples are used.
            classes: all labels that any peer has, where the callback does not know them.
            seed: of the order of samples, which changes with each epoch; None: as given.

        Returns:
            The model, with the final parameters of the swarm.

        Raises:
            SwarmError: an argument is wrong, or a merge failed.
        """
        callback, model = self._callback, self._callback._model
        try:
            batches = list(gen_batches(_rows(x, y), _positive("batch_size", batch_size)))
            epochs = _positive("epochs", epochs)
            if model.fitted:
                model.check_classes(classes)
            else:
                model.begin(x[batches[0]], y[batches[0]], classes)
        except SwarmError as exc:
            callback.logger.error(str(exc))  # noqa: TRY400 - one line, then raised
            raise
        with callback:
            callback._session.resume()
            for epoch in range(callback.resume_epoch, epochs):
                if seed is not None:
                    x, y = shuffle(x, y, random_state=seed + epoch)
                if not self._epoch(x, y, batches):
                    callback.logger.info("SwarmSklearnTrainer stops local training")
                    break
                callback.on_epoch_end(epoch)
        return model.estimator

    def _epoch(self, x: Any, y: Any, batches: list[slice]) -> bool:  # noqa: ANN401
        """Whether to go on afterwards."""
        for batch in batches:
            if self._callback.training_over:
                return False
            self._callback._model.estimator.partial_fit(x[batch], y[batch])
            self._callback.on_batch_end()
        return True


def _rows(x: Any, y: Any) -> int:  # noqa: ANN401 - whatever the user gave
    rows, targets = [part.shape[0] if hasattr(part, "shape") else len(part) for part in (x, y)]
    if rows != targets or not rows:
        raise SwarmError(f"x has {rows} samples and y {targets}: both need the same, 1 or more")
    return int(rows)


def _positive(name: str, value: Any) -> int:  # noqa: ANN401 - whatever the user gave
    if not isinstance(value, int) or value < 1:
        raise SwarmError(f"{name} has to be a positive integer, not {value!r}")
    return value
