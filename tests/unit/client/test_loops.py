"""The loops of ``swarmlearning.pyt``: which calls they make, and how they end."""

import gc
import logging

import pytest
import torch

from swarmlearning.pyt import SwarmCallback

log = logging.getLogger("test.loops")


class Recorder:
    """A session that writes down its calls."""

    def __init__(self, over_after=None, fails_at=None):
        self.calls, self.resume_epoch = [], 0
        self.over_after, self.fails_at, self.ended = over_after, fails_at, False

    @property
    def over(self):
        return self.over_after is not None and self.calls.count("batch") >= self.over_after

    def _called(self, name):
        self.calls.append(name)
        if name == self.fails_at:
            raise OSError(name)

    def train_begin(self):
        self._called("begin")

    def batch_end(self):
        self._called("batch")

    def epoch_end(self):
        self._called("epoch")

    def train_end(self):
        self._called("end")
        self.ended = True

    def resume(self):
        self.calls.append("resume")

    def disconnect(self):
        self.calls.append("disconnect")


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "true")

    def make(**kwargs):
        callback = SwarmCallback(1, 1, model=torch.nn.Linear(1, 1), logger=log)
        callback._session = Recorder(**kwargs)
        return callback, callback._session

    return make


def test_all_calls_are_made_in_order(made):
    callback, session = made()
    seen = []
    with callback as swarm:
        for epoch in swarm.epochs(2):
            for batch in swarm.batches("ab"):
                seen.append((epoch, batch))
    assert seen == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    epoch = ["batch", "batch", "epoch"]
    assert session.calls == ["begin", "resume", *epoch, *epoch, "end", "disconnect"]


def test_a_batch_counts_after_its_body_and_not_before(made):
    callback, session = made()
    with callback as swarm:
        counts = [session.calls.count("batch") for _ in swarm.batches("abc")]
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("leave", ["break", "continue"])
def test_leaving_the_inner_loop_counts_the_batch_once(made, leave):
    callback, session = made()
    with callback as swarm:
        for _ in swarm.epochs(1):
            for batch in swarm.batches("abc"):
                if batch == "b" and leave == "break":
                    break
                continue
    batches = 2 if leave == "break" else 3
    assert session.calls == ["begin", "resume", *["batch"] * batches, "epoch", "end", "disconnect"]


def test_leaving_both_loops_counts_the_last_batch_but_not_the_epoch(made):
    callback, session = made()
    with callback as swarm:
        for _ in swarm.epochs(5):
            for _ in swarm.batches("abc"):
                break
            break
    assert session.calls == ["begin", "resume", "batch", "end", "disconnect"]


def test_a_program_that_ends_its_training_itself_within_with_is_not_ended_twice(made):
    callback, session = made()
    with callback as swarm:
        for _ in swarm.batches("ab"):
            pass
        swarm.on_train_end()
    assert session.calls == ["begin", "batch", "batch", "end", "disconnect"]


def test_an_exception_in_the_body_syncs_nothing_more(made):
    callback, session = made()
    with pytest.raises(ZeroDivisionError), callback as swarm:
        for _ in swarm.epochs(2):
            for _ in swarm.batches("ab"):
                raise ZeroDivisionError
    gc.collect()  # the loops' generators are gone now
    assert session.calls == ["begin", "resume", "disconnect"]


@pytest.mark.parametrize("call", ["begin", "batch", "end"])
def test_a_failed_sync_takes_leave_of_the_sl(made, call):
    callback, session = made(fails_at=call)
    with pytest.raises(OSError, match=call), callback as swarm:
        for _ in swarm.batches("a"):
            pass
    assert session.calls[-2:] == [call, "disconnect"]


def test_both_loops_end_early_when_the_swarm_is_done(made):
    callback, session = made(over_after=3)
    seen = []
    with callback as swarm:
        for epoch in swarm.epochs(10):
            seen += [(epoch, batch) for batch in swarm.batches("ab")]
    assert seen == [(0, "a"), (0, "b"), (1, "a")]
    assert session.calls[-2:] == ["end", "disconnect"]


def test_a_program_that_was_started_again_goes_on_where_it_was(made):
    callback, session = made()
    session.resume_epoch = 3
    assert callback.resume_epoch == 3
    with callback as swarm:
        assert list(swarm.epochs(5)) == [3, 4]
    assert session.calls == ["begin", "resume", "epoch", "epoch", "end", "disconnect"]
