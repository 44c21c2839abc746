"""Estimators of scikit-learn, and their training beside a scripted SL."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import (
    LinearRegression,
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor

from swarmlearning._options import parse
from swarmlearning._sklearn_model import SklearnModel
from swarmlearning.errors import SwarmError
from swarmlearning.sklearn import _PARAMETERS, SwarmCallback, SwarmSklearnTrainer
from swarmlearning.wire import messages as m
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import parse as parse_file
from swarmlearning.wire.tensors import read, view, write_header
from tests.component.sl.scripted_sl import SECONDS
from tests.unit.client.beside_sl import beside

log = logging.getLogger("test.sklearn")


def xy(classes=2, samples=30, dtype="f8"):
    """Blobs, one of each class in turn; labels are given in order."""
    labels = np.arange(samples) % classes
    x = np.random.default_rng(0).normal(size=(samples, 4)) / 4
    x[:, 0] += labels
    return x.astype(dtype), labels


def adapter(model, **kwargs):
    return SklearnModel(parse(1, 1, "c", {"model": model, **kwargs}, _PARAMETERS, log), log)


def fitted(make, classes=2, dtype="f8", steps=2):
    model, (x, y) = make(), xy(classes, dtype=dtype)
    keywords = {"classes": range(classes)} if is_classifier(model) else {}
    for _ in range(steps):
        model.partial_fit(x, y, **keywords)
    return model


def saved(model):
    ours = adapter(model)
    layout = ours.layout()
    buffer = bytearray(layout.file_size)
    write_header(buffer, layout)
    ours.save({t.name: view(buffer, layout, t) for t in layout.tensors})
    return bytes(buffer)


# --- parameters in and out

ESTIMATORS = {
    "SGDClassifier": lambda: SGDClassifier(random_state=0),
    "log loss": lambda: SGDClassifier(loss="log_loss", random_state=0, fit_intercept=False),
    "Perceptron": lambda: Perceptron(random_state=0),
    "SGDRegressor": lambda: SGDRegressor(random_state=0),
    "SGDOneClassSVM": lambda: SGDOneClassSVM(random_state=0),
    "MLPClassifier": lambda: MLPClassifier((5, 3), solver="sgd", momentum=0, random_state=0),
    "MLPRegressor": lambda: MLPRegressor(
        hidden_layer_sizes=(5,), solver="sgd", momentum=0, random_state=0
    ),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loaded_model_predicts_and_trains_on_as_the_saved_one(name, classes, dtype):
    source = fitted(ESTIMATORS[name], classes, dtype, steps=3)
    target = fitted(ESTIMATORS[name], classes, dtype, steps=1)
    places = {key: id(getattr(target, key)) for key in vars(target) if key.startswith("coef")}
    x, y = xy(classes, dtype=dtype)
    assert saved(target) != saved(source)
    adapter(target).load(read(saved(source)))
    assert saved(target) == saved(source)
    assert np.array_equal(target.predict(x), source.predict(x))
    assert places == {key: id(getattr(target, key)) for key in places}
    if hasattr(source, "t_"):
        target.t_ = source.t_  # the place in the learning rate's schedule is each peer's own
    for model in (source, target):
        model.partial_fit(x, y)
    after = read(saved(target))
    for name, array in read(saved(source)).items():
        assert np.allclose(array, after[name], rtol=1e-4), name


def test_names_dtypes_and_shapes():
    kinds = {t.name: (t.dtype, t.shape) for t in parse_file(saved(fitted(SGDRegressor))).tensors}
    assert kinds == {"coef_": ("F64", (4,)), "intercept_": ("F64", (1,))}
    file = parse_file(saved(fitted(lambda: MLPClassifier((5,), random_state=0), 3, "f4")))
    assert {t.name: (t.dtype, t.shape) for t in file.tensors} == {
        "coefs_.0": ("F32", (4, 5)),
        "coefs_.1": ("F32", (5, 3)),
        "intercepts_.0": ("F32", (5,)),
        "intercepts_.1": ("F32", (3,)),
        "classes_: 0, 1, 2": ("U8", (0,)),
    }
    svm = {t.name for t in parse_file(saved(fitted(SGDOneClassSVM))).tensors}
    assert svm == {"coef_", "offset_"}


def test_the_optimizer_of_an_mlp_goes_on():
    model = fitted(lambda: MLPClassifier((5, 3), random_state=0), steps=3)
    moments = [array.copy() for array in model._optimizer.ms]
    adapter(model).load(read(saved(fitted(ESTIMATORS["MLPClassifier"], steps=1))))
    assert model._optimizer.t == 3
    assert all(np.array_equal(a, b) for a, b in zip(moments, model._optimizer.ms, strict=True))
    before = model.coefs_[0].copy()
    model.partial_fit(*xy())
    assert 0 < np.abs(model.coefs_[0] - before).max() < 0.01  # Adam's step


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a.pop("coef_"), r"missing \['coef_'\], unexpected \[\]; all peers must"),
        (lambda a: a.update(more=a["coef_"]), r"missing \[\], unexpected \['more'\]"),
        (lambda a: a.update(coef_=a["coef_"][:, :1]), r"'coef_' is float64\[1, 1\], not float64"),
        (lambda a: a.update(intercept_=a["intercept_"].astype("f4")), r"is float32\[1\], not fl"),
        (
            lambda a: a.update({"classes_: 2, 3": a.pop("classes_: 0, 1")}),
            r"missing \['classes_: 0, 1'\], unexpected \['classes_: 2, 3'\]",
        ),
    ],
    ids=["missing", "more", "shape", "dtype", "classes"],
)
def test_another_model_is_refused_before_anything_is_changed(change, error):
    model = fitted(SGDClassifier)
    before = saved(model)
    arrays = {name: np.zeros_like(array) for name, array in read(before).items()}
    change(arrays)
    with pytest.raises(SwarmError, match=error):
        adapter(model).load(arrays)
    assert saved(model) == before


def test_peers_with_other_classes_have_another_layout():
    x, y = xy()
    models = [SGDClassifier().partial_fit(x, y + start, [start, start + 1]) for start in (0, 2)]
    words = SGDClassifier().partial_fit(x, np.where(y, "yes", "no"), ["yes", "no"])
    many = SGDClassifier().partial_fit(x, y, range(100))
    names = [
        [t.name for t in adapter(model).layout().tensors if not t.count]
        for model in (*models, words, many)
    ]
    assert names[:3] == [["classes_: 0, 1"], ["classes_: 2, 3"], ["classes_: no, yes"]]
    assert names[3][0].startswith("classes_: 100, sha256 ")


# --- beginning


@pytest.mark.parametrize("name", ESTIMATORS)
def test_init_data_gives_a_new_model_its_parameters(name):
    def begun():
        model = ESTIMATORS[name]()
        return adapter(model, initData=xy(3), classes=[0, 1, 2])

    assert begun().fitted
    assert saved(begun().estimator) == saved(begun().estimator)
    if "Class" in name and "SVM" not in name:
        assert begun().estimator.classes_.tolist() == [0, 1, 2]


def test_a_fitted_model_keeps_its_parameters(caplog):
    caplog.set_level("INFO")
    model = fitted(ESTIMATORS["SGDClassifier"])
    before = saved(model)
    adapter(model, initData=xy(), classes=[1, 0])
    assert saved(model) == before
    assert caplog.messages == ["The model has been fitted before, initData is not used"]


def test_an_mlp_without_random_state_is_warned_about(caplog):
    adapter(MLPClassifier(), initData=xy(), classes=[0, 1])
    adapter(MLPClassifier(random_state=1), initData=xy(), classes=[0, 1])
    assert len(caplog.messages) == 1
    assert "no random_state, so each peer starts from other parameters" in caplog.messages[0]


X, Y = xy()


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"model": None}, "Scikit-learn model is None"),
        ({"model": SGDClassifier}, r"model is the class SGDClassifier: give an object, SGDClass"),
        ({"model": LinearRegression()}, "LinearRegression has no partial_fit, so it cannot train"),
        ({"model": MLPClassifier(solver="lbfgs")}, "MLPClassifier has no partial_fit, so it"),
        ({"model": GaussianNB(), "initData": (X, Y)}, "GaussianNB has no coef_ and intercept_"),
        ({"model": MiniBatchKMeans(2), "initData": (X, Y)}, "MiniBatchKMeans has no coef_ and"),
        ({"model": SGDClassifier(average=True)}, "SGDClassifier with average=True predicts with"),
        ({"model": SGDRegressor(average=10)}, "SGDRegressor with average=10 predicts with"),
        ({"initData": (X, Y), "classes": None}, "a classifier needs classes="),
        ({"initData": X}, r"initData has to be \(x, y\), not ndarray"),
        ({"initData": (X, Y[:3])}, "SGDClassifier.partial_fit refuses the first samples: Found"),
        ({"model": fitted(SGDClassifier)}, r"classes is \[0, 1, 2\], but the model was fitted w"),
        ({"adsValData": X}, r"adsValData has to be \(x, y\), not ndarray"),
        ({"ml_platform": "KERAS"}, "Invalid ml platform type: KERAS"),
        ({"lossFunction": "log_los"}, r"lossFunction 'log_los' is neither .* mean 'log_loss'\?"),
        ({"lossFunction": "DetCurveDisplay"}, "'DetCurveDisplay' is neither a function in"),
        ({"metricFunction": 3}, r"metricFunction 3 is neither a function in sklearn.metrics nor"),
        ({"lossFunction": "log_loss"}, r"log_loss needs predict_proba, which SGDClassifier\(\)"),
        ({"metricFunction": "f1_score", "metricFunctionArgs": [1]}, "must be a dict, not list"),
        ({"useAdaptiveSync": True, "adsValData": None}, "For adaptive sync, valid adsValData"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_wrong_arguments_are_logged_once_and_raised(kwargs, error, loopback, caplog):
    caplog.set_level("ERROR")
    given = {"model": SGDClassifier(), "classes": [0, 1, 2], "adsValData": (X, Y), **kwargs}
    with pytest.raises(SwarmError, match=error) as caught:
        SwarmCallback(1, 1, logger=log, **given)
    assert caplog.messages == [str(caught.value)]


def test_parameters_that_are_not_there_or_not_dense_are_refused():
    with pytest.raises(SwarmError, match=r"not been fitted yet, .* give initData=\(x, y\)"):
        adapter(SGDClassifier()).layout()
    model = fitted(SGDClassifier)
    with pytest.raises(SwarmError, match=r"coef_ is no dense array: call densify\(\)"):
        adapter(model.sparsify()).layout()


# --- evaluation


def spread(y_true, y_pred):
    return np.abs(y_true - y_pred).max()


@pytest.mark.parametrize(
    ("name", "function", "arguments", "expected"),
    [
        ("log loss", "log_loss", None, lambda e, x, y: metrics.log_loss(y, e.predict_proba(x))),
        ("log loss", metrics.log_loss, None, lambda e, x, y: metrics.log_loss(y, _p(e, x))),
        ("log loss", "roc_auc_score", None, lambda e, x, y: metrics.roc_auc_score(y, _p(e, x))),
        ("log loss", "brier_score_loss", None, lambda e, x, y: np.mean((y - _p(e, x)) ** 2)),
        (
            "SGDClassifier",
            "hinge_loss",
            {},
            lambda e, x, y: metrics.hinge_loss(y, e.decision_function(x)),
        ),
        (
            "SGDClassifier",
            "roc_auc_score",
            {},
            lambda e, x, y: metrics.roc_auc_score(y, e.decision_function(x)),
        ),
        ("Perceptron", "accuracy_score", None, lambda e, x, y: e.score(x, y)),
        ("Perceptron", "accuracy_score", {"normalize": False}, lambda e, x, y: e.score(x, y) * 30),
        ("Perceptron", spread, None, lambda e, x, y: float((e.predict(x) != y).any())),
        ("MLPRegressor", "r2_score", None, lambda e, x, y: e.score(x, y)),
        (
            "MLPRegressor",
            "mean_squared_error",
            None,
            lambda e, x, y: np.mean((e.predict(x) - y) ** 2),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)) if value else "-",
)
def test_loss_and_metric_of_two_classes(name, function, arguments, expected):
    estimator, (x, y) = fitted(ESTIMATORS[name]), xy()
    model = adapter(estimator, adsValData=(x, y), lossFunction=function, lossFunctionArgs=arguments)
    assert model.evaluate() == (pytest.approx(expected(estimator, x, y)), 0.0)
    model = adapter(
        estimator, adsValData=[x, y], metricFunction=function, metricFunctionArgs=arguments
    )
    assert model.evaluate() == (0.0, pytest.approx(expected(estimator, x, y)))


def _p(estimator, x):
    return estimator.predict_proba(x)[:, 1]


@pytest.mark.parametrize(
    "function", ["log_loss", "roc_auc_score", "top_k_accuracy_score", "hinge_loss"]
)
def test_three_classes(function):
    name = "SGDClassifier" if function == "hinge_loss" else "MLPClassifier"
    estimator, (x, y) = fitted(ESTIMATORS[name], 3), xy(3)
    value, _ = adapter(estimator, adsValData=(x, y), lossFunction=function).evaluate()
    assert 0 < value <= 5


@pytest.mark.parametrize("function", ["log_loss", "hinge_loss", "accuracy_score"])
def test_validation_data_need_not_have_all_classes(function):
    name = "SGDClassifier" if function == "hinge_loss" else "MLPClassifier"
    estimator, (x, y) = fitted(ESTIMATORS[name], 3), xy(3)
    some = y < 2
    value, _ = adapter(estimator, adsValData=(x[some], y[some]), lossFunction=function).evaluate()
    assert np.isfinite(value)


def test_what_is_no_number_is_said_and_no_data_is_no_loss(caplog):
    estimator = fitted(SGDClassifier)
    model = adapter(estimator, adsValData=xy(), lossFunction="confusion_matrix")
    with pytest.raises(SwarmError, match="lossFunction confusion_matrix gave a ndarray, not a num"):
        model.evaluate()
    assert adapter(estimator, lossFunction="hinge_loss").evaluate() == (0.0, 0.0)
    assert caplog.messages == []
    assert adapter(estimator, adsValData=xy()).evaluate() == (0.0, 0.0)
    assert caplog.messages == ["adsValData without lossFunction: the loss is reported as 0"]


# --- the callback and the trainer


def test_loopback_touches_nothing_and_logs_as_documented(loopback, caplog):
    caplog.set_level("INFO")
    model = fitted(ESTIMATORS["SGDClassifier"])
    callback = SwarmCallback(
        128, 2, model=model, logger=log, ml_platform="SKLEARN", hfMode="full", totalEpochs=1
    )
    before = saved(model)
    with callback:
        for batch in range(300):
            callback.on_batch_end(batch)
        callback.on_epoch_end(0)
    assert saved(model) == before
    stars = "*" * 52
    assert caplog.messages == [
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


@pytest.mark.parametrize(
    "kind", [np.asarray, np.ndarray.tolist, csr_array], ids=lambda k: k.__name__
)
def test_the_trainer_trains_as_a_loop_does(kind, loopback):
    x, y = xy(3)
    model = SGDClassifier(random_state=0)
    callback = SwarmCallback(1, 1, model=model, logger=log, classes=[0, 1, 2])
    if kind is np.ndarray.tolist:
        y = y.tolist()
    trained = SwarmSklearnTrainer(callback).fit(kind(x), y, batch_size=8, epochs=2, seed=None)
    assert trained is model
    plain = SGDClassifier(random_state=0).partial_fit(kind(x)[:8], y[:8], [0, 1, 2])
    for _ in range(2):
        for start in range(0, 30, 8):
            plain.partial_fit(kind(x)[start : start + 8], y[start : start + 8])
    assert np.array_equal(model.coef_, plain.coef_)
    assert model.t_ == plain.t_ == 1 + 8 + 60


def test_the_trainer_shuffles_anew_in_each_epoch_and_repeats_itself(loopback):
    class Noting(SGDClassifier):
        seen = ()

        def partial_fit(self, x, y, classes=None):
            self.seen = (*self.seen, tuple(y))
            return super().partial_fit(x, y, classes)

    def order(seed):
        model = Noting()
        callback = SwarmCallback(1, 1, model=model, logger=log)
        labels = np.arange(6)
        trainer = SwarmSklearnTrainer(callback)
        trainer.fit(np.eye(6), labels, batch_size=6, epochs=2, classes=labels, seed=seed)
        return model.seen[1:]

    first, second = order(0)
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second
    assert order(0) == (first, second) != order(7)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"x": X[:3]}, "x has 3 samples and y 30: both need the same, 1 or more"),
        ({"x": [], "y": []}, "x has 0 samples and y 0"),
        ({"batch_size": 0}, "batch_size has to be a positive integer, not 0"),
        ({"epochs": "2"}, "epochs has to be a positive integer, not '2'"),
        ({"classes": None}, "a classifier needs classes="),
    ],
    ids=["lengths", "nothing", "batch_size", "epochs", "classes"],
)
def test_the_trainer_says_what_is_wrong(arguments, error, loopback, caplog):
    callback = SwarmCallback(1, 1, model=SGDClassifier(), logger=log)
    with pytest.raises(SwarmError, match=error) as caught:
        SwarmSklearnTrainer(callback).fit(**{"x": X, "y": Y, "classes": [0, 1], **arguments})
    assert caplog.messages == [str(caught.value)]


# --- beside an SL


def training(epochs=2, **kwargs):
    callback = SwarmCallback(kwargs.pop("sync", 2), 1, logger=log, classes=[0, 1], **kwargs)
    return SwarmSklearnTrainer(callback).fit(*xy(), batch_size=8, epochs=epochs)


async def test_fit_syncs_counts_and_closes_as_documented(sl, caplog):
    caplog.set_level("INFO")
    model = SGDClassifier(loss="log_loss", random_state=0)

    def program():
        return training(
            model=model,
            nodeWeightage=7,
            totalEpochs=2,
            adsValData=xy(),
            useAdaptiveSync=True,
            lossFunction="log_loss",
            metricFunction="accuracy_score",
            checkinModelOnTrainEnd="inactive",
            mergeMethod="geomedian",
        )

    def change(arrays):
        arrays["coef_"] *= 0.5

    terms, closed, trained = await beside(sl, program, lambda: sl.play(change))
    contract = "defaultbb.cqdb.sml.hpe"
    assert terms == m.SessionRequest(2, 1, True, "inactive", 7, contract, "geomedian")
    assert len(sl.models) == 1 + 3 + 1  # of 8 batches: after 3, 5, 7
    assert (closed.sequence, closed.weightage) == (1, 0)
    assert all(answer.loss > 0 and answer.metric > 0 for answer in sl.losses)
    assert [answer.epochs for answer in sl.losses] == [0, 0, 1, 1, 2]
    final = (sl.folder / "merged_weights.safetensors").read_bytes()
    assert trained is model
    assert saved(model) == final
    assert caplog.messages[-6:-4] == [
        "Finished local training !!!",
        "Swarm training may continue till trainings in min peers are done!",
    ]
    assert caplog.messages[-2:] == [
        f"Final model digest: {digest_of(final)}",
        "All peers and Swarm training rounds finished. Final Swarm model was loaded.",
    ]


async def test_training_over_stops_fit_and_loads_the_last_merged_model(sl, caplog):
    caplog.set_level("INFO")
    model = SGDClassifier(random_state=0)

    async def play():
        for over in (False, True):
            request = await sl.take(m.SyncRequest)
            await sl.load(request, lambda arrays: arrays["coef_"].fill(9))
            await sl.answer(request, 1, over=over)
        return await sl.receive(m.KillSession)

    await beside(sl, lambda: training(500, model=model, sync=1), play)
    assert model.coef_.tolist() == [[9, 9, 9, 9]]
    assert model.t_ == 1 + 8 + 8 + 8  # begun, and two batches
    at = caplog.messages.index("Swarm training is over. Training goes on without syncs")
    assert caplog.messages[at + 1 : at + 3] == [
        "SwarmSklearnTrainer stops local training",
        "Finished local training !!!",
    ]


async def test_a_failing_loss_is_told_to_the_sl_and_ends_the_program(sl):
    x, y = xy()
    arguments = {"adsValData": (x[:, :2], y), "lossFunction": "zero_one_loss"}
    running = asyncio.create_task(asyncio.to_thread(training, model=SGDClassifier(), **arguments))
    await sl.open()
    answer = await sl.load(await sl.take(m.SyncRequest))
    assert answer.status.code is m.StatusCode.ERROR_IN_USER
    assert answer.status.text.startswith("Loss computation failed. X has 2 features")
    assert answer.loss == -1
    with pytest.raises(SwarmError, match="Sync Swarm call to SL container failed - X has 2"):
        await asyncio.wait_for(running, SECONDS)


async def test_a_program_that_ends_its_training_itself_within_with_is_not_ended_twice(sl):
    def program():
        with SwarmCallback(2, 1, logger=log, model=fitted(SGDClassifier)) as callback:
            callback.on_train_end()

    _, closed, _ = await beside(sl, program)
    assert isinstance(closed, m.CloseRequest)


async def test_a_trainer_that_was_started_again_goes_on_where_it_was(sl):
    sl.epochs_done = 2
    model = SGDClassifier(random_state=0)
    await beside(sl, lambda: training(model=model, epochs=3))
    assert sl.losses[-1].epochs == 3
    assert model.t_ == 1 + 8 + len(xy()[0])  # samples of the first partial_fit and of one epoch


async def test_a_with_that_fails_leaves_the_sl(sl):
    def program():
        with SwarmCallback(2, 1, logger=log, model=fitted(SGDClassifier)):
            raise ZeroDivisionError

    running = asyncio.create_task(asyncio.to_thread(program))
    await sl.open()
    request = await sl.take(m.SyncRequest)
    await sl.load(request)
    await sl.answer(request)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(running, SECONDS)


def test_importing_it_imports_no_other_framework():
    code = (
        "import sys, swarmlearning.sklearn;"
        "assert not {'torch', 'keras', 'tensorflow', 'transformers'} & set(sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
