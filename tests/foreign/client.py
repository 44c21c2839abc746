"""What HPE's wheels 2.2 and 2.3 have in common: pipes, frames, sessions, callback."""

# ruff: noqa: T201 - plain prints, as HPE's client makes them

import os
import stat
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tests.foreign import schema
from tests.foreign.schema import CLOSE, KILL, LOST, OPEN, SYNC

API_VERSION = 2
OVER = "Swarm training is over before local training. Exit gracefully."


class SwarmError(Exception):
    pass


def now():
    return datetime.now().isoformat()  # noqa: DTZ005 - as HPE's


class Client:
    """SwarmCallback without a framework.

    `model` has `state()` (name -> array), `load(merged)` and `evaluate()` (loss, metric).
    """

    api = ""

    def __init__(
        self, model, sync_frequency, min_peers, checkin="snapshot", weightage=1,
        contract="defaultbb.cqdb.sml.hpe", merge_method="mean", environment=os.environ,
        sleep=time.sleep,
    ):  # fmt: skip
        self.model, self.checkin, self.weightage = model, checkin, weightage
        self.sleep = sleep
        self.incoming = self.outgoing = None
        self.messages = schema.messages(self.api)
        self.header_size = len(self.header(1, 1, 1).SerializeToString(deterministic=True))
        self.session, self.syncs, self.epochs = "", 0, 0
        self.over, self.left, self.merged = False, sync_frequency, None
        try:
            self.connect(environment)
            request = self.make(
                "SessionRequest", syncInterval=sync_frequency, minPeers=min_peers, maxPeers=0,
                useAdaptiveSync=False, checkinModelOnTrainEnd=checkin, nodeWeightage=weightage,
                trainingContract=contract, mergeMethod=merge_method,
            )  # fmt: skip
            self.send(OPEN, request)
            answer = self.expect("SessionResponse", "open-session")
            self.require_ok(answer.status)
            self.session = answer.sessionID
            assert self.session, "HPE's SL gives a session ID"
        except Exception as exc:
            raise self.failed("Init", exc) from exc

    # --- differs between the wheels

    def check_files(self):
        raise NotImplementedError

    def write_weights(self, request, arrays):
        raise NotImplementedError

    def read_weights(self, request):
        raise NotImplementedError

    # --- pipes

    def connect(self, environment):
        for variable in ("SL_REQUEST_CHANNEL", "SL_RESPONSE_CHANNEL"):
            if not environment.get(variable):
                raise RuntimeError(f"{variable}: bad environment variable; cannot create bridge")
        request = Path(environment["SL_REQUEST_CHANNEL"]).resolve()
        response = Path(environment["SL_RESPONSE_CHANNEL"]).resolve()
        for path in (request, response):
            while not path.exists():
                print(f"{now()} {path}: waiting for pipes to be created")
                self.sleep(1)
            if not stat.S_ISFIFO(path.stat().st_mode):
                raise RuntimeError(f"{path}: cannot create pipe")
        self.check_files()
        self.incoming = response.open("rb")
        self.outgoing = request.open("wb")

    def header(self, version, kind, size):
        made = self.make("Header", msgType=kind, msgSize=size)
        made.apiVersion.apiVersion = made.apiVersion.minVersion = version
        return made

    def make(self, name, **values):
        return self.messages[name](**values)

    def send(self, kind, message):
        body = message.SerializeToString(deterministic=True)
        header = self.header(API_VERSION, kind, len(body))
        self.outgoing.write(header.SerializeToString(deterministic=True))
        self.outgoing.write(body)
        self.outgoing.flush()

    def read(self, size):
        data = self.incoming.read(size)
        if len(data) != size:
            raise RuntimeError(f"wanted: {size} bytes, got {len(data)} bytes: pipe closed?")
        return data

    def receive(self):
        header = self.messages["Header"].FromString(self.read(self.header_size))
        version = header.apiVersion.apiVersion
        if version != API_VERSION:
            raise RuntimeError(
                "Mismatch in the Swarm API version between ML and SL containers. Expected version "
                f"{API_VERSION}, but the version received from the header is {version}"
            )
        if not 0 < header.msgType < 11:
            raise RuntimeError(f"unsupported message type: {header.msgType}")
        assert header.msgSize, "a body is never empty"
        name = schema.BODIES[header.msgType - 1]
        return name, self.messages[name].FromString(self.read(header.msgSize))

    def expect(self, wanted, label):
        name, message = self.receive()
        if name == "Status":
            self.require_ok(message)
        if name != wanted:
            raise RuntimeError(f"{label}: bad response: wanted {wanted}, got {name}")
        return message

    def require_ok(self, status):
        if status.code:
            raise RuntimeError(f"SL error: {status.msg}")

    # --- rounds

    def exchange(self, kind, arrays, sequence, weightage):
        label = f"[{'Close' if kind == CLOSE else 'Sync'}-{sequence}]"
        request = self.make(
            "SyncRequest", sessionID=self.session, syncSeqNum=sequence, nodeWeightage=weightage,
            numberOfNodes=1,
        )  # fmt: skip
        print(f"Writing trained weights to file:{now()}")
        self.write_weights(request, arrays)
        self.send(kind, request)
        loads = 0
        while True:
            name, answer = self.receive()
            print(f"Recieved response from SL {name}:{now()}")
            if name == "Status":
                self.require_ok(answer)
            if name == "LossRequest":
                loads += 1
                self.measure(answer, sequence, label)
            elif name == "SyncResponse":
                self.require_ok(answer.status)
                self.require_sequence(answer, sequence, label)
                assert loads, "the merged model enters the ML program only in a loss request"
                assert answer.nextSyncInterval >= 1, "0 stops this client from syncing"
                return answer
            else:
                raise RuntimeError(f"{label}: bad response: wanted SyncResponse, got {name}")

    def require_sequence(self, answer, wanted, label):
        if answer.syncSeqNum != wanted:
            raise RuntimeError(
                f"{label}: bad sync seq num: wanted {wanted}, got {answer.syncSeqNum}"
            )

    def measure(self, request, sequence, label):
        if request.sessionID != self.session:
            raise RuntimeError(f"{label}: bad session id: {request.sessionID}")
        self.require_sequence(request, sequence, label)
        answer = self.make(
            "LossResponse", sessionID=self.session, syncSeqNum=sequence,
            lossSeqNum=request.lossSeqNum, epochsdone=self.epochs,
        )  # fmt: skip
        try:
            self.merged = self.read_weights(request)
            self.model.load(self.merged)
            answer.loss, answer.metrics = self.model.evaluate()
        except Exception as exc:
            print(f"Loss computation failed. {exc}")
            answer.status.code, answer.loss = 2, -1.0
            answer.status.msg = f"Loss computation failed. {exc}"
            self.send(LOST, answer)
            raise
        answer.status.msg = "StatusOK"
        self.send(LOST, answer)

    # --- what a user's program calls

    def on_train_begin(self):
        self.sync()

    def on_batch_end(self):
        if self.left == 0 and not self.over:
            self.sync()
        self.left -= 1

    def on_epoch_end(self):
        self.epochs += 1

    def sync(self):
        self.syncs += 1
        try:
            answer = self.exchange(SYNC, self.model.state(), self.syncs, self.weightage)
        except Exception as exc:
            raise self.failed("Sync", exc) from exc
        self.left, self.over = answer.nextSyncInterval, answer.trainingOver

    def on_train_end(self):
        try:
            if self.over:
                print(OVER)
                self.model.load(self.merged)
                kill = self.make("KillSessionRequest", sessionID=self.session)
                kill.reason.msg = OVER
                self.send(KILL, kill)
            else:
                active = self.checkin == "active" and self.merged
                arrays = self.merged if active else self.model.state()
                self.exchange(CLOSE, arrays, 1, 0 if self.checkin == "inactive" else self.weightage)
        except Exception as exc:
            raise self.failed("End", exc) from exc
        print("All peers and Swarm training rounds finished. Final Swarm model was loaded.")

    def failed(self, what, exc):
        self.disconnect()
        return SwarmError(f"{what} Swarm call to SL container failed - {exc}")

    def disconnect(self):
        """What the end of the process does."""
        for pipe in (self.outgoing, self.incoming):
            if pipe is not None:
                with suppress(BrokenPipeError):  # something was left to be sent
                    pipe.close()
