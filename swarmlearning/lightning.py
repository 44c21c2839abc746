"""``SwarmCallback`` for the Lightning ``Trainer`` (ours; HPE has none).

::

    swarm = SwarmCallback(syncFrequency=20, minPeers=2, totalEpochs=3)
    trainer = lightning.pytorch.Trainer(max_epochs=3, callbacks=[swarm])
    trainer.fit(module, loader)

Works with the packages ``lightning`` and ``pytorch_lightning``: with the former where both are
installed, unless the program has imported ``pytorch_lightning`` before.

Batches are counted per optimizer step, so gradient accumulation counts once (a batch in which
several optimizers step counts once, too). When the swarm's training is over, the trainer stops
(not before its ``min_epochs`` or ``min_steps``). The final model is in the module when ``fit``
returns; checkpoints that Lightning wrote during training hold earlier ones.
"""

import sys
from functools import partial
from logging import Logger
from typing import TYPE_CHECKING, Any, Final

from swarmlearning._options import DEFAULT_CONTRACT, Options
from swarmlearning._session import Session
from swarmlearning._start import open_session, read_options
from swarmlearning._torch_measure import PARAMETERS, Measure
from swarmlearning._torch_model import TorchModel, own_model, state_of
from swarmlearning.errors import SwarmError

if TYPE_CHECKING:
    Callback = object
else:
    try:
        if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
            from pytorch_lightning import Callback
        else:
            from lightning.pytorch import Callback
    except ImportError:
        from pytorch_lightning import Callback

__all__ = ["SwarmCallback", "SwarmError"]

PLATFORM: Final = "PYTORCH"

_PARAMETERS: Final = ("model", *PARAMETERS)


class SwarmCallback(Callback):
    """Takes a Lightning ``Trainer`` into the swarm.

    ``trainer.fit`` blocks at its start until the SL node beside this program is ready.

    Args:
        syncFrequency: optimizer steps between two merges, 1 or more.
        minPeers: peers that a merge needs, 1 or more.
        trainingContract: name of the training contract.
        **kwargs: as in :class:`swarmlearning.pyt.SwarmCallback`. ``model`` may be left out: then
            the whole ``LightningModule`` is exchanged; give a part of it to exchange only that,
            and evaluate only that on ``adsValData``.

    Raises:
        SwarmError: an argument is wrong.
    """

    def __init__(
        self,
        syncFrequency: int,
        minPeers: int,
        trainingContract: str = DEFAULT_CONTRACT,
        **kwargs: Any,  # noqa: ANN401 - checked in _options
    ) -> None:
        self._options, self.logger = read_options(
            syncFrequency, minPeers, trainingContract, kwargs, _PARAMETERS
        )
        self._session: Session | None = None
        self._steps = 0
        """Optimizer steps that the trainer had done when we last looked."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Called by the trainer, with the model on its device: opens the session with the SL.

        Raises:
            SwarmError: the SL node cannot be reached or refuses, or the trainer has several
                processes.
        """
        make = partial(_adapter, self._options, self.logger, trainer, pl_module)
        self._session = open_session(self._options, self.logger, make, stops=True)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Called by the trainer: all peers start from one merged model.

        Raises:
            SwarmError: the merge failed.
        """
        self._steps = trainer.global_step
        self._opened().train_begin()
        self._stop_if_over(trainer)

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Called by the trainer; merges when that many optimizer steps were done.

        Raises:
            SwarmError: the merge failed.
        """
        if trainer.global_step != self._steps:
            self._steps = trainer.global_step
            self._opened().batch_end()
            self._stop_if_over(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Called by the trainer after each epoch."""
        self._opened().epoch_end()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Called by the trainer at the end: waits for the other peers and loads the final model.

        Raises:
            SwarmError: the final merge failed.
        """
        self._opened().train_end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ANN401
        """Called by the trainer when training fails: takes leave of the SL."""
        if self._session is not None:
            self._session.disconnect()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ANN401
        """Called by the trainer last: takes leave of the SL where there was nothing to train."""
        if self._session is not None:
            self._session.disconnect()

    def _opened(self) -> Session:
        assert self._session is not None, "the trainer calls on_fit_start first"
        return self._session

    def _stop_if_over(self, trainer: Any) -> None:  # noqa: ANN401
        if self._opened().over:
            trainer.should_stop = True


def _adapter(options: Options, logger: Logger, trainer: Any, module: Any) -> TorchModel:  # noqa: ANN401
    platform = options.extra.get("ml_platform", PLATFORM)
    if platform != PLATFORM:
        raise SwarmError(f"Invalid ml platform type: {platform}")
    if trainer.world_size > 1:
        raise SwarmError(
            f"this trainer has {trainer.world_size} processes, but a peer of a swarm is one "
            "process: use Trainer(devices=1, num_nodes=1)"
        )
    given = options.extra.get("model")
    model = own_model(module if given is None else given, "Pytorch model is None")
    measure = Measure(options, logger)
    return TorchModel(partial(state_of, model, options.trainable), partial(measure, model))
