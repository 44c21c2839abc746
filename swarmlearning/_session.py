"""One training run of one peer: when to sync, what to send, what to load. Framework-free.

Calls, log lines and error texts are those of HPE's client 2.3.0 (``compat/01`` sections 8, 9, 11).
"""

import os
from collections.abc import Mapping
from logging import Logger
from pathlib import Path

from swarmlearning._cadence import Cadence
from swarmlearning._channel import Channel, ChannelError, channel_paths, now, say, wait_for_file
from swarmlearning._model import ModelAdapter
from swarmlearning._options import CheckinModel, Options
from swarmlearning._weights import DEFAULT_FOLDER, MERGED, TRAINED, Inbox, Outbox, model_digest
from swarmlearning.errors import SwarmError
from swarmlearning.wire import messages as m
from swarmlearning.wire.tensors import WireError

LOOPBACK_VARIABLE = "SWARM_LOOPBACK"
FOLDER_VARIABLE = "SL_WEIGHTS_DIR"

_OVER = "Swarm training is over before local training. Exit gracefully."


class Session:
    """A peer's training run, from the constructor of its callback to the end of training.

    Args:
        options: the checked arguments.
        model: the user's model.
        log: the callback's logger; gets finished lines only, because a user's own may be anything
            with ``info(text)``.
        environment: names the pipes and the hand-over folder.
        stops: the callback ends the training loop once :attr:`over`.
    """

    def __init__(
        self,
        options: Options,
        model: ModelAdapter,
        log: Logger,
        environment: Mapping[str, str] = os.environ,
        stops: bool = False,
    ) -> None:
        self._options, self._model, self._log = options, model, log
        self._stops = stops
        self._environment = environment
        self._cadence = Cadence(options.sync_frequency)
        folder = Path(environment.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)
        self._folder, self._outbox, self._inbox = folder, Outbox(folder), Inbox(folder)
        self._channel: Channel | None = None
        self._session_id = ""
        self._syncs = self._batch_syncs = self._epochs = 0
        self.loopback = environment.get(LOOPBACK_VARIABLE, "").lower() == "true"
        """Nothing is sent: every call returns at once, as if the swarm were not there."""
        self.ended = False
        """The final model was loaded."""
        self.resume_epoch = 0
        """Epochs that this peer had reported before its program was started again; 0 where it is
        new, or the SL does not know (HPE's SL never does)."""

    @property
    def over(self) -> bool:
        """The swarm's training ended while this program still trains."""
        return self._cadence.over

    def open(self) -> None:
        """Wait for the SL, connect to it and open a session. Blocks until the SL is ready.

        Raises:
            SwarmError: the SL is not there, or refused.
        """
        stars = "*" * 52
        for line in (
            stars,
            f"***** Is Swarm callback in loopback mode: {self.loopback} *****",
            stars,
        ):
            self._log.info(line)
        if self.loopback:
            return
        try:
            self._connect()
        except (SwarmError, ChannelError, OSError, WireError) as exc:
            self.disconnect()
            raise self._failed("Init", exc) from exc
        except BaseException:
            self.disconnect()
            raise

    def train_begin(self) -> None:
        """Sync for the first time, so that all peers start from the same parameters.

        Raises:
            SwarmError: the sync failed.
        """
        if not self.loopback:
            self._sync()

    def batch_end(self) -> None:
        """Count a batch; sync when that many are done.

        Raises:
            SwarmError: the sync failed.
        """
        if self.loopback:
            return
        if self._cadence.due:
            self._sync()
            self._batch_syncs += 1
        self._cadence.count()

    def resume(self) -> None:
        """Count epochs from :attr:`resume_epoch` on: the program skips those it had done."""
        self._epochs = max(self._epochs, self.resume_epoch)

    def epoch_end(self) -> None:
        """Count an epoch; the number is reported with each loss."""
        self._epochs += 1

    def train_end(self) -> None:
        """Contribute for the last time, wait until the swarm is done, load the final model.

        Raises:
            SwarmError: the last exchange failed.
        """
        if self.loopback:
            return
        self._log.info("Finished local training !!!")
        if not self._batch_syncs:
            self._log.warning(
                "No user merge done during swarm training. "
                f"syncFrequency={self._options.sync_frequency} may be high."
            )
        self._log.info("Swarm training may continue till trainings in min peers are done!")
        try:
            if self.over:
                self._leave()
            else:
                self._close()
            digest = model_digest(self._model)
        except Exception as exc:
            raise self._failed("End", exc) from exc
        finally:
            self.disconnect()
        self.ended = True
        self._log.info(f"Final model digest: {digest}")
        self._log.info(
            "All peers and Swarm training rounds finished. Final Swarm model was loaded."
        )

    def disconnect(self) -> None:
        """Let go of pipes and files. The SL takes it as the end of this program."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None
        self._outbox.close()
        self._inbox.close()

    def _connect(self) -> None:
        channel = Channel(*channel_paths(self._environment))
        channel.require_free()
        channel.wait_for_pipes()
        for name in (TRAINED, MERGED):
            wait_for_file(self._folder / name)
        self._channel = channel
        channel.open()
        options = self._options
        channel.send(
            m.SessionRequest(
                sync_interval=options.sync_frequency,
                min_peers=options.min_peers,
                adaptive=options.adaptive,
                checkin_state=options.checkin.name,
                weightage=options.weightage,
                contract=options.contract,
                merge_method=options.merge_method.name,
            )
        )
        answer = self._receive("open-session")
        if not isinstance(answer, m.SessionResponse):
            raise ChannelError(
                f"open-session: bad response: wanted SessionResponse, got {type(answer)}"
            )
        _require_ok(answer.status)
        if not answer.session_id:
            raise ChannelError("open-session: bad response: the SL gave no session ID")
        self._session_id = answer.session_id
        self.resume_epoch = max(0, answer.epochs_done)
        if self.resume_epoch:
            self._log.info(
                f"This peer had reported {self.resume_epoch} epochs before it was started again. "
                "It goes on from the latest merged model"
            )

    def _sync(self) -> None:
        self._log.info("Starting Swarm merging round ...")
        number = self._syncs + 1
        try:
            self._announce_weights()
            self._outbox.write(self._model)
            request = m.SyncRequest(self._session_id, number, self._options.weightage, TRAINED)
            answer = self._exchange(request, f"[Sync-{number}]")
        except Exception as exc:
            self.disconnect()
            raise self._failed("Sync", exc) from exc
        except BaseException:  # Ctrl-C: the SL is in the middle of a round that we left
            self.disconnect()
            raise
        self._syncs = number
        before = self._cadence.interval
        self._cadence.synced(answer.next_interval, answer.training_over)
        self._log.info(f"Merge Done: RVInt [cur: {before} Nxt: {self._cadence.interval}]")
        if self.over:
            then = "Stopping local training" if self._stops else "Training goes on without syncs"
            self._log.info(f"Swarm training is over. {then}")

    def _close(self) -> None:
        self._log.info(
            "Final merging starts at training end. Waiting for other peers to complete ..."
        )
        self._announce_weights()
        checkin = self._options.checkin
        if checkin is CheckinModel.active and self._inbox.received:
            self._outbox.write_copy(self._inbox)
        else:
            self._outbox.write(self._model)
        weightage = 0 if checkin is CheckinModel.inactive else self._options.weightage
        request = m.CloseRequest(self._session_id, 1, weightage, TRAINED)
        self._exchange(request, "[Close-1]")

    def _leave(self) -> None:
        self._log.warning(_OVER)
        self._log.info("Loading the last merged swarm model")
        if self._inbox.received:
            self._inbox.load_again(self._model)
        self._log.info("Informing SL to shutdown gracefully")
        try:
            reason = m.Status(m.StatusCode.OK, _OVER)
            self._connected().send(m.KillSession(self._session_id, reason))
        except (ChannelError, WireError) as exc:
            self._log.info(f"Failed to inform SL. Reason - {exc}")

    def _announce_weights(self) -> None:
        """HPE's line, before anything is written; not even tried once the session has ended."""
        self._connected()
        say(f"Writing trained weights to file:{now()}")

    def _exchange(
        self, request: m.SyncRequest | m.CloseRequest, label: str
    ) -> m.SyncResponse | m.CloseResponse:
        """Send a request; load and evaluate each merged model until the round is answered."""
        self._connected().send(request)
        while True:
            answer = self._receive(label)
            say(f"Recieved response from SL {answer}:{now()}")
            if isinstance(answer, m.LossRequest):
                self._load_merged(answer, request.sequence, label)
            elif isinstance(answer, m.SyncResponse | m.CloseResponse):
                _require_ok(answer.status)
                _require_sequence(answer.sequence, request.sequence, label)
                return answer
            else:
                raise ChannelError(
                    f"{label}: bad response: wanted SyncResponse, got {type(answer)}"
                )

    def _load_merged(self, request: m.LossRequest, sequence: int, label: str) -> None:
        if request.session_id != self._session_id:
            raise ChannelError(
                f"{label}: bad session id: wanted {self._session_id}, got {request.session_id}"
            )
        _require_sequence(request.sequence, sequence, label)
        try:
            self._inbox.receive(request.file_name, self._model)
            loss, metric = self._model.evaluate()
        except Exception as exc:
            text = f"Loss computation failed. {_reason(exc)}"
            say(text)
            failed = m.Status(m.StatusCode.ERROR_IN_USER, text[:4000])
            self._connected().send(self._loss_response(request, failed, -1.0, 0.0))
            raise
        self._log.info(f"Calculated local loss using merged parameters = {loss}")
        self._connected().send(self._loss_response(request, m.Status(), loss, metric))

    def _loss_response(
        self, request: m.LossRequest, status: m.Status, loss: float, metric: float
    ) -> m.LossResponse:
        return m.LossResponse(
            session_id=self._session_id,
            sequence=request.sequence,
            loss_sequence=request.loss_sequence,
            status=status,
            loss=loss,
            metric=metric,
            epochs=self._epochs if self._syncs else max(self._epochs, self.resume_epoch),
            total_epochs=self._options.total_epochs,
        )

    def _receive(self, label: str) -> m.Message:
        """The SL's next message, unless it is a failure."""

        def waiting(seconds: int) -> None:
            self._log.info(
                f"{label}: waiting for the SL for {seconds} s now; "
                "other peers may still be training"
            )

        message = self._connected().receive(waiting)
        if isinstance(message, m.Status):
            _require_ok(message)
        return message

    def _connected(self) -> Channel:
        if self._channel is None:
            raise ChannelError(
                "this session with the SL has ended; make a new SwarmCallback in a new SL session"
            )
        return self._channel

    def _failed(self, what: str, exc: Exception) -> SwarmError:
        """The error a user sees, logged: which call failed, and why."""
        text = f"{what} Swarm call to SL container failed - {_reason(exc)}"
        self._log.error(text)
        return SwarmError(text)


def _reason(exc: Exception) -> str:
    """The error's text; with its kind where the text alone says nothing, as of a bare assert."""
    return repr(exc) if isinstance(exc, KeyError) or not str(exc) else str(exc)


def _require_ok(status: m.Status) -> None:
    if status.code is not m.StatusCode.OK:
        raise ChannelError(f"SL error: {status.text}")


def _require_sequence(got: int, wanted: int, label: str) -> None:
    if got != wanted:
        raise ChannelError(f"{label}: bad sync seq num: wanted {wanted}, got {got}")
