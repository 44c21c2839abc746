"""``SwarmCallback`` for Keras 3 (HPE's import path).

::

    callback = SwarmCallback(syncFrequency=128, minPeers=2, adsValData=(x_test, y_test))
    model.fit(x, y, epochs=5, callbacks=[callback])

In a loop of your own call what ``fit`` calls: ``set_model(model)``, ``on_train_begin()``,
``on_batch_end()`` after each batch, ``on_epoch_end()``, ``on_train_end()``; or, with less to
forget, ``with SwarmCallback(..., model=model) as callback:`` around the loop. Several ``fit`` calls
inside such a ``with`` are one training for the swarm.

Written against Keras alone: TensorFlow is tested, and so is ``KERAS_BACKEND=torch``.
"""

import threading
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn

import keras  # type: ignore[import-untyped]

from swarmlearning._keras_model import KerasModel
from swarmlearning._options import DEFAULT_CONTRACT, Options
from swarmlearning._start import open_session, read_options
from swarmlearning.errors import SwarmError

__all__ = ["SwarmCallback", "SwarmError"]

if int(keras.__version__.split(".")[0]) < 3:
    raise ImportError(
        f"swarmlearning.tf needs Keras 3, not {keras.__version__}: "
        "install TensorFlow 2.16 or newer, without TF_USE_LEGACY_KERAS"
    )

_PARAMETERS: Final = ("model", "tf", "sess", "hfMode")


class SwarmCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Takes a Keras training into the swarm.

    The constructor blocks until the SL node beside this program is ready. Every weight of every
    layer is exchanged, in its own dtype: trainable or not, BatchNorm's statistics, nested models
    and custom layers included. The state of random generators, metrics and the optimizer stay this
    program's own. Merged weights are assigned to the existing variables.

    Put it last in the list of callbacks: one after it that changes weights at the end of training
    (``EarlyStopping(restore_best_weights=True)``) would change the final swarm model. With
    ``steps_per_execution`` N, Keras ends N batches at once, and they count as one.

    Args:
        syncFrequency: batches between two merges, 1 or more.
        minPeers: peers that a merge needs, 1 or more.
        trainingContract: name of the training contract.
        **kwargs: HPE's optional arguments:

            * ``ml_platform``: ``KERAS``. ``TF``, HPE's training by TensorFlow 1 sessions with
              ``tf`` and ``sess``, is refused;
            * ``totalEpochs``: for progress display;
            * ``nodeWeightage``: 1 to 100, this peer's weight in merges (1);
            * ``mergeMethod``: ``mean`` (default), ``coordmedian``, ``geomedian``, ``normclip``,
              or the ``x-...`` of a method that the SL nodes have;
            * ``checkinModelOnTrainEnd``: ``snapshot`` (default), ``active``, ``inactive``;
            * ``useAdaptiveSync``: let the swarm choose the interval; needs ``adsValData``;
            * ``adsValData``: what merged models are evaluated on with ``model.evaluate``: a tuple
              or list ``(x, y)`` or ``(x, y, sample_weight)``, or one object that holds both, such
              as a ``keras.utils.PyDataset`` or a ``tf.data.Dataset`` (the fastest: arrays, Keras
              prepares anew for each evaluation, in some 60 ms). The loss reported is the first
              score, the metric the second: 0 where the model is compiled without metrics;
            * ``adsValBatchSize``: batch size of that evaluation, where the data has none itself;
            * ``model``: ours; the model, for training without ``fit``;
            * ``exchange``: ours; ``all`` (default), or ``trainable`` to leave frozen layers at home
              (transfer learning): weights with ``trainable`` are merged, and the statistics of
              their layers, such as those of a trained BatchNorm. All peers must choose alike;
            * ``logger``: anything with ``info``, ``debug``, ``error`` and ``warning``.

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
        super().__init__()
        self._thread = 0
        self._within = False
        options, self.logger = read_options(
            syncFrequency, minPeers, trainingContract, kwargs, _PARAMETERS
        )
        self._session = open_session(
            options, self.logger, partial(self._adapter, options), stops=True
        )

    @property
    def resume_epoch(self) -> int:
        """Epochs this peer had reported before its program was started again; 0 if not known.

        ``model.fit(..., epochs=5, initial_epoch=callback.resume_epoch)`` goes on from there.
        """
        return self._session.resume_epoch

    def set_model(self, model: Any) -> None:  # noqa: ANN401 - whatever the user gave
        """Name the model that is trained; ``fit`` does it itself.

        Args:
            model: a ``keras.Model``.

        Raises:
            SwarmError: it is something else.
        """
        try:
            self._set(model)
        except SwarmError as exc:
            self._refuse(str(exc))

    def on_train_begin(self, logs: object = None) -> None:
        """Before the first batch: all peers start from one merged model.

        Args:
            logs: not used.

        Raises:
            SwarmError: the merge failed, or there is no model.
        """
        if self.model is None:
            self._refuse(
                "no model is set: use model.fit(..., callbacks=[callback]), or call "
                "callback.set_model(model) before a loop of your own"
            )
        self._thread = threading.get_ident()
        if not self._within:
            self._session.train_begin()
        self._stop_if_over()

    def on_batch_end(self, batch: object = None, logs: object = None) -> None:
        """After each batch; merges when the countdown is at 0.

        Keras calls it through ``on_train_batch_end``: call one of them, not both.

        Args:
            batch: not used; calls are counted.
            logs: not used.

        Raises:
            SwarmError: the merge failed.
        """
        if not self._thread:
            self._refuse("on_train_begin has to come before on_batch_end")
        if self._thread != threading.get_ident():
            self._refuse(
                "on_batch_end came from another thread than on_train_begin. Keras may do that "
                "with callbacks=callback: give it a list, callbacks=[callback]"
            )
        self._session.batch_end()
        self._stop_if_over()

    def on_epoch_begin(self, epoch: object = None, logs: object = None) -> None:
        """Before each epoch.

        Args:
            epoch: its number, from 0; that of :attr:`resume_epoch` counts on from there.
            logs: not used.
        """
        if epoch == self._session.resume_epoch:
            self._session.resume()

    def on_epoch_end(self, epoch: object = None, logs: object = None) -> None:
        """After each epoch.

        Args:
            epoch: not used; calls are counted.
            logs: not used.
        """
        self._session.epoch_end()

    def on_train_end(self, logs: object = None) -> None:
        """After the last batch: waits for the other peers and loads the final model.

        Args:
            logs: not used.

        Raises:
            SwarmError: the final merge failed.
        """
        if not self._within:
            self._session.train_end()

    def __enter__(self) -> "SwarmCallback":
        try:
            self.on_train_begin()
        except BaseException:
            self._session.disconnect()
            raise
        self._within = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._within = False
        if error is None:
            self.on_train_end()
        else:
            self._session.disconnect()

    def _adapter(self, options: Options) -> KerasModel:
        extra = options.extra
        platform = extra.get("ml_platform", "KERAS")
        if platform not in ("KERAS", "TF"):
            raise SwarmError(f"Invalid ml platform type: {platform}")
        if platform == "TF":
            if extra.get("tf") is None or extra.get("sess") is None:
                raise SwarmError("tf and sess params are must for Tensorflow platform")
            raise SwarmError(
                "ml_platform TF, training by TensorFlow 1 sessions, is not supported: make the "
                "model a keras.Model and leave ml_platform out; in a loop of your own, call "
                "callback.set_model(model) and the on_... methods"
            )
        if extra.get("hfMode") is not None:
            self.logger.info("hfMode is for Hugging Face models only, ignored")
        if extra.get("model") is not None:
            self._set(extra["model"])
        return KerasModel(lambda: self.model, options, self.logger)

    def _set(self, model: Any) -> None:  # noqa: ANN401 - whatever the user gave
        super().set_model(model)
        if not isinstance(self.model, keras.Model):
            raise SwarmError(f"model must be a keras.Model of Keras 3, not {type(model).__name__}")

    def _stop_if_over(self) -> None:
        if self._session.over:
            self.model.stop_training = True

    def _refuse(self, error: str) -> NoReturn:
        self.logger.error(error)
        raise SwarmError(error)
