"""SwarmCallback of Keras: its arguments and logs, and ``fit`` beside a scripted SL."""

import asyncio
import logging
import re
import threading

import pytest

from swarmlearning.errors import SwarmError
from swarmlearning.wire import messages as m
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import read
from tests.component.sl.scripted_sl import SECONDS
from tests.unit.client.beside_sl import beside
from tests.unit.client.keras_models import load, log, same, saved, small, values, xy

pytestmark = pytest.mark.xdist_group("tensorflow")  # one worker imports it
keras = SwarmCallback = None


@pytest.fixture(scope="module", autouse=True)
def framework():
    global keras, SwarmCallback
    keras = load()
    from swarmlearning.tf import SwarmCallback


# --- the callback


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"ml_platform": "PYTORCH"}, "Invalid ml platform type: PYTORCH"),
        ({"mlPlatform": "PYTORCH"}, "Invalid ml platform type: PYTORCH"),
        ({"ml_platform": "TF"}, "tf and sess params are must for Tensorflow platform"),
        ({"ml_platform": "TF", "tf": 1, "sess": 1}, "ml_platform TF, training by TensorFlow 1"),
        ({"model": "x"}, "model must be a keras.Model of Keras 3, not str"),
        ({"minPeers": 0}, "minPeers have to be a positive integer"),
        ({"useAdaptiveSync": True}, "For adaptive sync, valid adsValData is mandatory"),
        ({"adsValData": iter(())}, "can be read only once"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_wrong_arguments_are_logged_once_and_raised(kwargs, error, loopback, caplog):
    caplog.set_level("ERROR")
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(1, kwargs.pop("minPeers", 1), logger=log, **kwargs)
    assert error in str(caught.value)
    assert caplog.messages == [str(caught.value)]


def test_loopback_touches_nothing_and_logs_as_documented(loopback, caplog):
    caplog.set_level("INFO")
    callback = SwarmCallback(128, 2, logger=log, ml_platform="KERAS", hfMode="full", totalEpochs=1)
    model, plain = small(), small()
    model.fit(*xy(), verbose=0, shuffle=False, callbacks=[callback])
    plain.fit(*xy(), verbose=0, shuffle=False)
    assert same(values(model), values(plain))
    stars = "*" * 52
    ours = [message for name, _, message in caplog.record_tuples if name == log.name]
    assert ours == [  # TensorFlow may warn of a retracing, which has nothing to do with us
        "SwarmCallbackBase logger is set",
        "hfMode is for Hugging Face models only, ignored",
        "***Swarm Callback Params: Inside SwarmCallbackBase at user side***",
        "syncFrequency = 128",
        "minPeers = 2",
        "trainingContract = defaultbb.cqdb.sml.hpe",
        "valBatchSize = None",
        "useAdaptiveSync = False",
        "checkinModelOnTrainEnd = CheckinModel.snapshot",
        "nodeWeightage = 1",
        "mergeMethod = SLMergeMethod.mean",
        stars,
        "***** Is Swarm callback in loopback mode: True *****",
        stars,
    ]


def test_the_default_logger_writes_hpes_format_to_stdout_once(loopback, capsys):
    for _ in range(2):
        SwarmCallback(128, 2, totalEpochs=1)
    lines = capsys.readouterr().out.splitlines()
    first = [line for line in lines if line.endswith("SwarmCallbackBase logger is set")]
    assert len(first) == 2
    assert first[0].split(" : ")[1:3] == ["SwarmCallback", "INFO"]
    logging.getLogger("SwarmCallback").handlers.clear()


def test_without_an_sl_it_says_what_is_missing(monkeypatch, caplog):
    monkeypatch.setenv("SWARM_LOOPBACK", "1")  # only `true` is
    monkeypatch.delenv("SL_REQUEST_CHANNEL", raising=False)
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(1, 1, logger=log)
    assert str(caught.value).startswith(
        "Init Swarm call to SL container failed - SL_REQUEST_CHANNEL: bad environment variable"
    )
    assert caplog.messages[-1] == str(caught.value)


def test_hooks_without_a_model_or_from_another_thread_are_refused(loopback):
    callback = SwarmCallback(1, 1, logger=log)
    with pytest.raises(SwarmError, match=r"no model is set: use model.fit"):
        callback.on_train_begin()
    with pytest.raises(SwarmError, match=r"model must be a keras.Model of Keras 3, not int"):
        callback.set_model(3)
    callback.set_model(small())
    with pytest.raises(SwarmError, match="on_train_begin has to come before on_batch_end"):
        callback.on_batch_end()
    callback.on_train_begin()
    errors = []

    def elsewhere():
        try:
            callback.on_batch_end()
        except SwarmError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "give it a list, callbacks=[callback]" in errors[0]
    callback.on_batch_end()


# --- beside an SL


def fitting(model, samples=8, epochs=1, **kwargs):
    """A user's program: batches of 2."""
    callback = SwarmCallback(kwargs.pop("sync", 2), 1, logger=log, **kwargs)
    x, y = xy(samples)
    model.fit(x, y, batch_size=2, epochs=epochs, verbose=0, callbacks=[callback])
    return callback


def ours(caplog):
    """Our lines; TensorFlow has warnings of its own, e.g. after many models in one process."""
    return [record.getMessage() for record in caplog.records if record.name == log.name]


async def test_fit_syncs_counts_and_closes_as_documented(sl, caplog):
    caplog.set_level("INFO")
    model = small(metrics=["mae"])
    batches_done = []
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batches_done.append(len(sl.models))
    )

    def program():
        callback = SwarmCallback(
            2,
            1,
            "contract-1",
            logger=log,
            nodeWeightage=7,
            totalEpochs=2,
            adsValData=xy(),
            adsValBatchSize=4,
            useAdaptiveSync=True,
            checkinModelOnTrainEnd="snapshot",
            mergeMethod="CoordMedian",
        )
        x, y = xy(16)
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback, counter])

    def change(arrays):
        arrays["0.kernel"] *= 0.5

    terms, closed, _ = await beside(sl, program, lambda: sl.play(change))
    assert terms == m.SessionRequest(2, 1, True, "snapshot", 7, "contract-1", "coordmedian")
    # 8 batches; the first sync after train begin's comes after 3, then after each 2
    assert batches_done == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(sl.models) == 1 + 3 + 1
    assert (closed.sequence, closed.weightage) == (1, 7)
    assert all(answer.loss > 0 and answer.metric > 0 for answer in sl.losses)
    assert [answer.epochs for answer in sl.losses] == [0, 0, 1, 1, 2]
    assert {answer.total_epochs for answer in sl.losses} == {2}
    final = (sl.folder / "merged_weights.safetensors").read_bytes()
    assert bytes(saved(model)) == final
    lines = ours(caplog)
    starts = lines.index("***** Is Swarm callback in loopback mode: False *****") + 2
    sync = [
        "Starting Swarm merging round ...",
        "Calculated local loss using merged parameters = *",
        "Merge Done: RVInt [cur: 2 Nxt: 2]",
    ]
    assert [re.sub(r"= \d\S+", "= *", line) for line in lines[starts:]] == [
        *(sync * 4),
        "Finished local training !!!",
        "Swarm training may continue till trainings in min peers are done!",
        "Final merging starts at training end. Waiting for other peers to complete ...",
        "Calculated local loss using merged parameters = *",
        f"Final model digest: {digest_of(final)}",
        "All peers and Swarm training rounds finished. Final Swarm model was loaded.",
    ]


async def test_the_compiled_step_goes_on_from_the_merged_weights(sl):
    """All zero after each sync: what the SL gets next shows only the batches in between."""
    model = small(keras.layers.Dense(3, activation="relu"))

    def zero(arrays):
        for array in arrays.values():
            array[...] = 0

    await beside(sl, lambda: fitting(model, samples=12), lambda: sl.play(zero))
    handed = [read(sl.store.path(digest).read_bytes()) for digest in sl.models]
    assert handed[0]["0.kernel"].any()
    for later in handed[1:]:  # y is 0, so a model of zeros has no gradient
        assert not any(array.any() for array in later.values())
    assert not any(value.any() for value in values(model))


async def test_optimizer_state_and_batchnorm_go_through(sl):
    model = small()
    model.compile(keras.optimizers.Adam(), "mse")

    def change(arrays):
        arrays["4.moving_mean"][...] = 5

    moving = []

    def program():
        callback = SwarmCallback(2, 1, logger=log)
        seen = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: moving.append(values(model)[4][0])
        )
        x, y = xy(10)
        model.fit(x, y, batch_size=2, verbose=0, callbacks=[callback, seen])

    await beside(sl, program, lambda: sl.play(change))
    assert int(model.optimizer.iterations.numpy()) == 5
    assert moving[0] == pytest.approx(4.95, abs=0.05)  # merged, then one batch's momentum of 0.99
    assert [value == 5.0 for value in moving] == [False, False, True, False, True]  # merged
    assert values(model)[4].tolist() == [5.0] * 3


@pytest.mark.parametrize("over_at", ["train begin", "a batch"])
async def test_training_over_stops_fit_and_loads_the_last_merged_model(sl, caplog, over_at):
    caplog.set_level("INFO")
    model = small()

    async def play():
        request = await sl.take(m.SyncRequest)
        await sl.load(request)
        if over_at == "a batch":
            await sl.answer(request, 1)
            request = await sl.take(m.SyncRequest)
            await sl.load(request, lambda arrays: arrays["0.kernel"].fill(9))
        await sl.answer(request, 1, over=True)
        return await sl.receive(m.KillSession)

    _, kill, _ = await beside(sl, lambda: fitting(model, samples=100, sync=1), play)
    assert kill.reason.text == "Swarm training is over before local training. Exit gracefully."
    lines = ours(caplog)
    assert lines.count("Swarm training is over. Stopping local training") == 1
    tail = lines[-5:]
    assert tail[0] == "Swarm training is over before local training. Exit gracefully."
    assert tail[1:3] == [
        "Loading the last merged swarm model",
        "Informing SL to shutdown gracefully",
    ]
    assert tail[4] == "All peers and Swarm training rounds finished. Final Swarm model was loaded."
    assert int(model.optimizer.iterations.numpy()) == (1 if over_at == "train begin" else 2)
    assert (values(model)[0] == 9).all() == (over_at == "a batch")


async def test_a_failing_evaluation_is_told_to_the_sl_and_ends_fit(sl):
    x, y = xy()

    async def play():
        request = await sl.take(m.SyncRequest)
        return await sl.load(request)

    running = asyncio.create_task(
        asyncio.to_thread(fitting, small(), adsValData=(x, y[:, :1].repeat(3, 1)))
    )
    await sl.open()
    answer = await play()
    assert answer.status.code is m.StatusCode.ERROR_IN_USER
    assert answer.status.text.startswith("Loss computation failed. ")
    assert answer.loss == -1
    with pytest.raises(SwarmError, match="Sync Swarm call to SL container failed - "):
        await asyncio.wait_for(running, SECONDS)


async def test_a_loop_of_ones_own_calls_the_hooks(sl):
    model = small()

    def program():
        callback = SwarmCallback(2, 1, logger=log)
        callback.set_model(model)
        callback.on_train_begin()
        for batch in range(5):
            model.train_on_batch(*xy())
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(0)
        callback.on_train_end()

    await beside(sl, program)
    assert len(sl.models) == 1 + 2 + 1  # after batches 3 and 5
    assert [answer.epochs for answer in sl.losses] == [0, 0, 0, 1]


async def test_several_fits_inside_a_with_are_one_training(sl):
    model = small()

    def program():
        with SwarmCallback(2, 1, logger=log, model=model) as callback:
            for _ in range(3):
                model.fit(*xy(), batch_size=4, verbose=0, callbacks=[callback])

    await beside(sl, program)
    assert len(sl.models) == 1 + 2 + 1  # of 6 batches: after 3 and 5
    assert [answer.epochs for answer in sl.losses] == [0, 1, 2, 3]


@pytest.mark.parametrize("skips", [True, False])
async def test_a_program_that_was_started_again_goes_on_where_it_was(sl, skips):
    sl.epochs_done = 2
    trained = []

    def program():
        model, callback = small(), SwarmCallback(2, 1, logger=log)
        first = callback.resume_epoch if skips else 0
        done = model.fit(
            *xy(), batch_size=4, verbose=0, epochs=3, initial_epoch=first, callbacks=[callback]
        )
        trained.extend(done.epoch)

    await beside(sl, program)
    assert trained == ([2] if skips else [0, 1, 2])
    assert sl.losses[-1].epochs == 3


async def test_a_with_that_fails_leaves_the_sl(sl):
    def program():
        with SwarmCallback(2, 1, logger=log, model=small()):
            raise ZeroDivisionError

    async def play():
        request = await sl.take(m.SyncRequest)
        await sl.load(request)
        await sl.answer(request)

    running = asyncio.create_task(asyncio.to_thread(program))
    await sl.open()
    await play()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(running, SECONDS)
    with pytest.raises(Exception, match="ended or was killed"):
        await asyncio.wait_for(sl.bridge.receive(), SECONDS)
