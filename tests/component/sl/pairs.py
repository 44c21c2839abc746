"""Real SLs in this process, each with an ML program on a thread, on a real SN: quick trainings.

The SLs are `services.sl.daemon.serve` as it is, with files, pipes and TLS; the ML programs are our
client's `Session` around a model of two tensors. In the end every SL's journal is replayed.
"""

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.common.errors import SwarmError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.sl import replay
from services.sl.daemon import serve
from services.sl.node import first_of
from services.sl.settings import SlSettings
from swarmlearning import _options
from swarmlearning._session import Session
from swarmlearning.errors import SwarmError as CallbackError
from tests.component.sn.conftest import RunningSn, Swarm
from tests.faults.ml_program import Model

SECONDS = 60.0
"""Deadline of everything that is waited for in these tests."""


class DiedError(Exception):
    """The ML program was told to die."""


@dataclass
class Program:
    """One run of an ML program."""

    batches: int
    min_peers: int
    target: float = 1.0
    """What its own data would have its parameters be."""
    die_at: int = -1
    """Batch before which it is gone without a word."""
    sync_frequency: int = 1
    contract: str = DEFAULT_CONTRACT
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the SwarmCallback."""
    loss: Callable[[int], float] | None = None
    """Of the merged model, by how many it has loaded before; None measures it."""
    weightage: Callable[[int], int] | None = None
    """Of each sync, by its number from 0."""
    before_batch: Callable[[int], None] = lambda _batch: None
    """Called on the program's thread."""
    intervals: list[int] = field(default_factory=list)
    """What each sync was answered."""
    over: bool = False
    """Whether it was told that the swarm's training is over."""
    end: float | None = None
    """Its first parameter in the end."""

    def run(self, environment: dict[str, str]) -> None:
        """Train as told. Blocks."""
        log = logging.getLogger("SwarmCallback")
        options = _options.parse(
            self.sync_frequency, self.min_peers, self.contract,
            {"totalEpochs": 1, **self.arguments}, (), log,
        )  # fmt: skip
        model = _Measured(self)
        session = Session(options, model, log, environment)
        try:
            session.open()
            self._sync(session, session.train_begin)
            for batch in range(self.batches):
                self.before_batch(batch)
                if batch == self.die_at:
                    raise DiedError
                model.train()
                self._sync(session, session.batch_end)
            self.over = session.over
            session.train_end()
        finally:
            session.disconnect()
        self.end = float(model.arrays["weight"][0, 0])

    def _sync(self, session: Session, call: Callable[[], None]) -> None:
        if self.weightage is not None:
            session._options = replace(session._options, weightage=self.weightage(session._syncs))
        before = session._syncs
        call()
        if session._syncs > before:
            self.intervals.append(session._cadence.interval)


class _Measured(Model):
    def __init__(self, program: Program) -> None:
        super().__init__(0)
        self.target[:] = program.target
        self._program, self._loads = program, 0

    def evaluate(self):
        if self._program.loss is None:
            return super().evaluate()
        self._loads += 1
        return self._program.loss(self._loads - 1), 0.5


class Pair:
    """An SL, and the ML programs that it has one after another."""

    def __init__(self, folder: Path, settings: SlSettings, environment: dict[str, str]) -> None:
        self.folder, self.settings, self.environment = folder, settings, environment
        self.sl: asyncio.Task[None] = asyncio.create_task(serve(settings))
        self.programs: list[asyncio.Task[None]] = []

    @property
    def uid(self) -> str:
        return self.settings.swarm_node_uid

    def start(self, program: Program) -> "asyncio.Task[None]":
        """Start an ML program."""
        self.programs.append(asyncio.create_task(_in_a_thread(program, self.environment)))
        return self.programs[-1]

    async def ended(self) -> None:
        """Wait for the SL's good end; its error is raised."""
        async with asyncio.timeout(SECONDS):
            await self.sl

    async def failed(self) -> SwarmError:
        """Wait for the SL's bad end."""
        async with asyncio.timeout(SECONDS):
            await asyncio.wait([self.sl])
        error = self.sl.exception()
        assert isinstance(error, ExceptionGroup), f"it ended well, or with {error}"
        found = first_of(error)
        assert isinstance(found, SwarmError)
        return found

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text())


async def _in_a_thread(program: Program, environment: dict[str, str]) -> None:
    """A thread of its own: those of the loop's executor are the SLs'."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            program.run(environment)
        except BaseException as exc:  # noqa: BLE001 - it is raised below
            errors.append(exc)
        with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody asks any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()
    if errors:
        raise errors[0]


class Pairs:
    """Starts pairs at one SN; stops and replays them all in the end."""

    def __init__(self, swarm: Swarm, sn: RunningSn) -> None:
        self.swarm, self.sn = swarm, sn
        self.pairs: list[Pair] = []
        self.client = swarm.client(sn, kind=NodeKind.SWCI)

    def sl(self, index: int, **changes: Any) -> Pair:
        """Start an SL; each index has a certificate, a folder and a uid of its own."""
        name = str(index)
        own = self.swarm.folder / f"pair-{name}"
        own.mkdir(exist_ok=True)
        channels = {
            "SL_REQUEST_CHANNEL": str(own / "request"),
            "SL_RESPONSE_CHANNEL": str(own / "response"),
            "SL_WEIGHTS_DIR": str(own / "handover"),
        }
        files = self.swarm.pki.files(NodeKind.SL, name)
        port = free_port()
        given = {
            **{key.lower(): value for key, value in {**files, **channels}.items()},
            "this_node_ip": "127.0.0.1", "swarm_bind_ip": "127.0.0.1",
            "sn_node_ip": "127.0.0.1", "sn_api_server_port": self.sn.endpoint.split(":")[1],
            "sl_fs_port": port, "sl_fs_listen_port": port, "sl_store_dir": own / "store",
            "sl_result_file": own / "result.json", "sl_journal_file": own / "journal.jsonl",
            "sl_wait_for_full_quorum_seconds": 3.0, "swarm_node_uid": f"{index:032x}",
        }  # fmt: skip
        pair = Pair(own, SlSettings(**{**given, **changes}), channels)
        self.pairs.append(pair)
        return pair

    def start(self, programs: list[Program], **changes: Any) -> list[Pair]:
        """One pair for each program."""
        pairs = [self.sl(index, **changes) for index in range(1, len(programs) + 1)]
        for pair, program in zip(pairs, programs, strict=True):
            pair.start(program)
        return pairs

    async def view(self, contract: str = DEFAULT_CONTRACT):
        return (await self.client.state(contract)).view

    async def until(self, condition: Callable[[Any], bool], contract: str = DEFAULT_CONTRACT):
        """Wait until a contract's view is as wanted; the view."""
        cursor = ""
        async with asyncio.timeout(SECONDS):
            while True:
                state = await self.client.watch(contract, cursor, 5.0)
                if condition(state.view):
                    return state.view
                cursor = state.cursor

    async def events(self, kind: str, contract: str = DEFAULT_CONTRACT) -> list[dict[str, Any]]:
        """All events of a kind, from the beginning."""
        state = await self.client.watch(contract, "0", 0.0)
        return [event.data for event in state.events if event.kind == kind]

    async def close(self) -> None:
        for pair in self.pairs:
            pair.sl.cancel()
        tasks = [task for pair in self.pairs for task in (pair.sl, *pair.programs)]
        if tasks:
            await asyncio.wait(tasks, timeout=SECONDS)
        for task in tasks:
            if not task.cancelled() and isinstance(task.exception(), AssertionError):
                task.result()
        for path in self.journals():
            report = replay.check(path)
            assert report.difference is None, report

    def journals(self) -> Iterator[Path]:
        return (pair.folder / "journal.jsonl" for pair in self.pairs)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def all_well(pairs: list[Pair]) -> str:
    """Wait until all pairs ended well; the digest of the one model that they ended with."""
    for pair in pairs:
        await pair.ended()
        async with asyncio.timeout(SECONDS):
            await pair.programs[-1]
    digests = {pair.result["final_digest"] for pair in pairs}
    assert len(digests) == 1, digests
    return digests.pop()


def words_of(task: "asyncio.Task[None]") -> str:
    """What an ML program ended with."""
    error = task.exception()
    assert isinstance(error, CallbackError), error
    return str(error)
