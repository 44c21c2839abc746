"""What programs do that no manual tells them to, with PyTorch and a session over real pipes."""

import asyncio
import gc
import io

import pytest
import torch

import swarmlearning.client.swarm
from services.common.errors import MlError
from swarmlearning.pyt import SwarmCallback, SwarmError
from swarmlearning.wire import messages as m
from tests.component.sl.scripted_sl import prepared
from tests.unit.client.beside_sl import beside


class OneText:
    """A logger as HPE's manual wants it, which knows nothing of arguments to its text."""

    def __init__(self):
        self.lines = []

    def info(self, text):
        self.lines.append(text)

    debug = warning = error = info


def callback_of(logger=None, **kwargs):
    model = torch.nn.Linear(2, 1)
    return SwarmCallback(1, 1, model=model, logger=logger or OneText(), **kwargs)


async def test_any_logger_gets_finished_lines_in_hpes_order(sl):
    logger = OneText()

    def program():
        callback = callback_of(logger, unknwon=1)
        callback.on_train_begin()
        for _ in range(2):
            callback.on_batch_end()
        callback.on_train_end()

    await beside(sl, program)
    begin = logger.lines.index("***Swarm Callback Params: Inside SwarmCallbackBase at user side***")
    assert logger.lines[0] == "SwarmCallbackBase logger is set"
    assert logger.lines[1].startswith(
        "SwarmCallback does not know the argument 'unknwon', ignored."
    )
    assert logger.lines[begin + 1 : begin + 9] == [
        "syncFrequency = 1",
        "minPeers = 1",
        "trainingContract = defaultbb.cqdb.sml.hpe",
        "valBatchSize = None",
        "useAdaptiveSync = False",
        "checkinModelOnTrainEnd = CheckinModel.snapshot",
        "nodeWeightage = 1",
        "mergeMethod = SLMergeMethod.mean",
    ]
    stars = "*" * 52
    start = logger.lines.index("***** Is Swarm callback in loopback mode: False *****")
    assert logger.lines[start - 1] == logger.lines[start + 1] == stars
    merged = "Calculated local loss using merged parameters = 0.0"
    digest = next(line for line in logger.lines if line.startswith("Final model digest: "))
    assert logger.lines[start + 2 :] == [
        *["Starting Swarm merging round ...", merged, "Merge Done: RVInt [cur: 1 Nxt: 2]"],
        "Finished local training !!!",
        "No user merge done during swarm training. syncFrequency=1 may be high.",
        "Swarm training may continue till trainings in min peers are done!",
        "Final merging starts at training end. Waiting for other peers to complete ...",
        merged,
        digest,
        "All peers and Swarm training rounds finished. Final Swarm model was loaded.",
    ]


def test_an_error_is_logged_as_text_too(loopback):
    logger = OneText()
    with pytest.raises(SwarmError):
        SwarmCallback(0, 1, model=torch.nn.Linear(1, 1), logger=logger)
    assert logger.lines[-1] == "syncFrequency has to be a positive integer"


def test_the_error_is_where_hpes_client_has_it():
    assert swarmlearning.client.swarm.SwarmError is SwarmError


async def test_ctrl_c_in_a_round_leaves_it_and_a_later_call_says_so(sl, monkeypatch):
    """A program that catches Ctrl-C and ends its training then: the SL is not where it thinks."""
    callback = None

    def program():
        nonlocal callback
        callback = callback_of()
        monkeypatch.setattr(callback._session, "_load_merged", interrupted)
        with pytest.raises(KeyboardInterrupt):
            callback.on_train_begin()
        with pytest.raises(SwarmError, match="session with the SL has ended"):
            callback.on_train_end()

    def interrupted(*_args):
        raise KeyboardInterrupt

    async def other_end():
        await sl.take(m.SyncRequest)
        await sl.bridge.send(m.LossRequest("s-1", 1, 1, "merged_weights.safetensors"))
        with pytest.raises(MlError, match="ended or was killed"):
            await asyncio.wait_for(sl.bridge.receive(), 10)

    await beside(sl, program, other_end)


async def test_calls_after_the_end_say_so_and_write_nothing(sl):
    written = []

    def program():
        callback = callback_of()
        callback.on_train_begin()
        callback.on_train_end()
        file = sl.folder / "trained_weights.safetensors"
        before = file.stat().st_mtime_ns
        for call in (callback.on_train_end, callback.on_train_begin):
            with pytest.raises(SwarmError, match="make a new SwarmCallback in a new SL session"):
                call()
        written.append(file.stat().st_mtime_ns != before)

    await beside(sl, program)
    assert written == [False]


async def test_a_second_callback_on_the_same_pipes_is_refused_and_the_first_goes_on(sl):
    def program():
        first = callback_of()
        with pytest.raises(SwarmError, match="has a session with this SL already"):
            callback_of()
        first.on_train_begin()
        first.on_train_end()

    _, closed, _ = await beside(sl, program)
    assert isinstance(closed, m.CloseRequest)


async def test_a_callback_that_is_dropped_takes_leave_of_the_sl(sl):
    def program():
        callback_of()
        gc.collect()

    async def other_end():
        with pytest.raises(MlError, match="ended or was killed"):
            await asyncio.wait_for(sl.bridge.receive(), 10)

    await beside(sl, program, other_end)


async def test_a_model_in_training_can_be_saved_and_changed(sl):
    """Neither the callback nor the session sits in the model."""
    raw = io.BytesIO()

    def program():
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
        callback = SwarmCallback(1, 1, model=model, logger=OneText())
        callback.on_train_begin()
        torch.save(model, raw)
        model.double()
        callback.on_train_end()
        return model

    *_, model = await beside(sl, program)
    assert model[0].weight.dtype == torch.float64
    raw.seek(0)
    assert len(torch.load(raw, weights_only=False)) == 2


def test_a_metric_that_gives_several_numbers_says_what_to_do(loopback):
    data = torch.utils.data.TensorDataset(torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]))
    callback = SwarmCallback(
        1, 1, model=torch.nn.Linear(2, 3), logger=OneText(),
        adsValData=torch.utils.data.DataLoader(data), metricFunction="F1Score",
        metricFunctionArgs={"task": "multiclass", "num_classes": 3, "average": None},
    )  # fmt: skip
    with pytest.raises(SwarmError, match="not one number: choose metricFunctionArgs that average"):
        callback._session._model.evaluate()


def test_every_kind_of_mean_is_a_loss_per_sample(loopback):
    """Of batches of 3 and 1: their means must not count alike, nor be divided by 4 once more."""
    model = torch.nn.LogSoftmax(dim=1)
    inputs = torch.arange(8.0).reshape(4, 2) ** 2
    targets = torch.tensor([[0.5, 0.5], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), 3)
    losses = [
        SwarmCallback(
            1, 1, model=model, logger=OneText(), adsValData=data,
            lossFunction="KLDivLoss", lossFunctionArgs={"reduction": reduction},
        )._session._model.evaluate()[0]
        for reduction in ("batchmean", "sum")
    ]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] > 0


def test_processes_started_after_the_callback_are_noticed(loopback, monkeypatch):
    callback = callback_of()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(SwarmError, match="2 processes"):
        callback._session._model.layout()


async def test_two_callbacks_of_one_program_train_beside_two_sls(sl, tmp_path, monkeypatch):
    """Each constructor reads the environment as it is then."""

    async def opened(at, contract):
        for name, value in at.environment.items():
            monkeypatch.setenv(name, value)
        made = asyncio.to_thread(
            SwarmCallback, 1, 1, contract, model=torch.nn.Linear(2, 1), logger=OneText()
        )
        callback, terms = await asyncio.gather(made, at.open())
        assert terms.contract == contract
        return callback

    async with prepared(tmp_path / "other") as other:
        callbacks = [await opened(sl, "one"), await opened(other, "two")]
        for at, callback in zip((other, sl), reversed(callbacks), strict=True):

            def program(callback=callback):
                callback.on_train_begin()
                callback.on_train_end()

            await asyncio.gather(asyncio.to_thread(program), at.play())
    assert len(sl.models) == len(other.models) == 2
