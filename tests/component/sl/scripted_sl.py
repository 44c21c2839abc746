"""An SL without a swarm: it plays a script over a real Bridge and merges a model with itself."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np

from services.sl.adapters.bridge import Bridge
from services.sl.adapters.handover import deliver, ingest
from services.sl.adapters.store import Store
from swarmlearning.wire import messages as m
from swarmlearning.wire.tensors import parse, read, write_into

OK = m.Status()
SECONDS = 30.0
"""Deadline of everything that is waited for in these tests."""


class ScriptedSl:
    """One SL node's end of one session."""

    def __init__(self, tmp_path):
        self.folder = tmp_path / "hpe-swarm"
        self.request, self.response = tmp_path / "request.pipe", tmp_path / "response.pipe"
        self.bridge = Bridge(self.request, self.response, self.folder)
        self.store = Store(tmp_path / "store")
        self.environment = {
            "SL_REQUEST_CHANNEL": str(self.request),
            "SL_RESPONSE_CHANNEL": str(self.response),
            "SL_WEIGHTS_DIR": str(self.folder),
        }
        self.models = []
        """Digest of each model that the ML program handed over."""
        self.losses = []
        self.epochs_done = 0
        """What the peer had reported before, as the answer to its opening says."""

    async def receive(self, kind):
        message = await asyncio.wait_for(self.bridge.receive(), SECONDS)
        assert isinstance(message, kind), message
        return message

    async def open(self):
        await self.bridge.connect(SECONDS)
        terms = await self.receive(m.SessionRequest)
        await self.bridge.send(m.SessionResponse(OK, "s-1", self.epochs_done))
        return terms

    async def take(self, kind):
        request = await self.receive(kind)
        assert request.session_id == "s-1"
        digest, _ = await asyncio.to_thread(ingest, self.folder, request.file_name, self.store)
        self.models.append(digest)
        return request

    async def load(self, request, change=None, number=1, sequence=None):
        """Have the ML program load its own model, after ``change(arrays)``."""
        source = self.store.path(self.models[-1])
        if change is not None:
            source = self.changed(source, change)
        name = await asyncio.to_thread(deliver, source, self.folder, request.file_name)
        sequence = request.sequence if sequence is None else sequence
        await self.bridge.send(m.LossRequest("s-1", sequence, number, name))
        answer = await self.receive(m.LossResponse)
        self.losses.append(answer)
        return answer

    def changed(self, source, change):
        raw = bytearray(source.read_bytes())
        layout = parse(raw)
        arrays = {name: np.array(array) for name, array in read(raw).items()}
        change(arrays)
        bfloat16 = {t.name for t in layout.tensors if t.dtype == "BF16"}
        assert set(arrays) == {t.name for t in layout.tensors} or not bfloat16
        target = source.with_suffix(".changed")
        write_into(raw, arrays, layout)
        target.write_bytes(raw)
        return target

    async def answer(self, request, interval=2, over=False):
        kind = m.SyncResponse if isinstance(request, m.SyncRequest) else m.CloseResponse
        await self.bridge.send(kind("s-1", request.sequence, OK, interval, over))

    async def play(self, change=None, interval=2):
        """Sync as often as asked, then close."""
        while True:
            request = await self.take((m.SyncRequest, m.CloseRequest))
            await self.load(request, change)
            await self.answer(request, interval)
            if isinstance(request, m.CloseRequest):
                return request


@asynccontextmanager
async def prepared(tmp_path):
    """A ScriptedSl whose pipes and files are there; closed at the end."""
    sl = ScriptedSl(tmp_path)
    sl.bridge.prepare()
    try:
        yield sl
    finally:
        sl.bridge.close()
