"""The SL's side of a session with a foreign client: all of it real; a test plays the swarm."""

import asyncio

import numpy as np

from services.common.sn_api import PeerState
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.handover import ingest
from services.sl.adapters.ml import MlSession
from services.sl.adapters.store import Store
from services.sl.core.events import Model
from swarmlearning.wire.tensors import layout_of, read, write_into
from tests.foreign.hpe22 import Client22
from tests.foreign.hpe23 import Client23
from tests.foreign.model import Digits

SECONDS = 30.0
"""Deadline of everything that is waited for."""
MIB = 1024 * 1024


class Sl:
    """The real ML side of an SL; a test plays the swarm."""

    def __init__(self, tmp_path, limit=64 * MIB):
        self.folder = tmp_path / "hpe-swarm"
        self.request, self.response = tmp_path / "request.pipe", tmp_path / "response.pipe"
        self.bridge = Bridge(self.request, self.response, self.folder, limit)
        self.store = Store(tmp_path / "store")
        self.ml = MlSession(self.bridge, self.folder, self.store)
        self.environment = {
            "SL_REQUEST_CHANNEL": str(self.request),
            "SL_RESPONSE_CHANNEL": str(self.response),
        }
        self.asked = asyncio.Queue()
        self.slept = []
        self.sleep = self.slept.append
        self.listening = None

    def client(self, api, model, *, sync=2, **named):
        """Blocks until the session is open."""
        named |= {"environment": self.environment, "sleep": self.sleep}
        if api == "2.2":
            return Client22(model, sync, 1, **named)
        return Client23(model, sync, 1, folder=self.folder, **named)

    async def open(self):
        await self.bridge.connect(SECONDS)
        terms = await self.ml.open()
        await self.ml.accept()
        self.listening = asyncio.create_task(self.ml.listen(self._note))
        return terms

    async def _note(self, *asked):
        self.asked.put_nowait(asked)

    async def next(self):
        """The ML program's next request, or what `listen` ended with."""
        getting = asyncio.create_task(self.asked.get())
        tasks = {getting, self.listening}
        async with asyncio.timeout(SECONDS):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        getting.cancel()
        return self.listening.result()

    def merged(self, model, change):
        """A model of the store, changed and stored again, as another peer's merge would be."""
        raw = bytearray(self.store.path(model.digest).read_bytes())
        arrays = {name: np.array(array) for name, array in read(raw).items()}
        change(arrays)
        write_into(raw, arrays, layout_of(arrays))
        (self.folder / "trained_weights.safetensors").write_bytes(raw)
        return Model(*ingest(self.folder, "trained_weights.safetensors", self.store))

    async def round(self, change=lambda arrays: None, *, over=False, interval=2):
        """Serve one request; returns its sequence number, weightage and state."""
        seq, model, weightage, state = await self.next()
        perf = await self.ml.install(self.merged(model, change))
        if state is PeerState.TRAINING:
            await self.ml.answer_sync(interval, over)
        else:
            await self.ml.answer_close()
        assert 0 <= perf.metric <= 1
        return seq, weightage, state

    async def end(self):
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.wait([self.listening])
        self.bridge.close()


def digits(seed=3):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, 64)
    return Digits(random.random((10, 64))[labels], labels, seed)


def running(work, *arguments):
    return asyncio.create_task(asyncio.to_thread(work, *arguments))
