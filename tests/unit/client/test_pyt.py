import logging
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import swarmlearning.pyt
from swarmlearning._accuracy import Accuracy
from swarmlearning._torch_measure import metric_of
from swarmlearning.pyt import SwarmCallback, SwarmError
from swarmlearning.wire.tensors import read, view, write_header

log = logging.getLogger("test.pyt")


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "True")


class EveryDtype(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("f64", torch.tensor([1 / 3], dtype=torch.float64))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("bf", torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
        self.register_buffer("bf0", torch.tensor(3.0, dtype=torch.bfloat16))
        self.register_buffer("f16", torch.tensor([0.1], dtype=torch.float16))
        self.register_buffer("big", torch.tensor(2**60 + 1))
        self.register_buffer("bytes", torch.arange(3, dtype=torch.uint8))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.register_buffer("strided", torch.arange(6.0).reshape(2, 3).T)
        self.register_buffer("secret", torch.zeros(1, dtype=torch.complex64), persistent=False)

    def forward(self, x):
        return self.norm(self.linear(x))


def adapter(model, **kwargs):
    return SwarmCallback(1, 1, model=model, logger=log, **kwargs)._session._model


def saved(model):
    torch_model = adapter(model)
    layout = torch_model.layout()
    buffer = bytearray(layout.file_size)
    write_header(buffer, layout)
    torch_model.save({t.name: view(buffer, layout, t) for t in layout.tensors})
    return buffer


def same_state(left, right):
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(tensor, right[name]), name


# --- weights in and out


def test_every_dtype_and_0d_buffers_survive_bit_by_bit():
    source, target = EveryDtype(), EveryDtype()
    source.norm(torch.randn(5, 2))
    for tensor in target.state_dict().values():
        tensor.zero_()
    adapter(target).load(read(saved(source)))
    same_state(target.state_dict(), source.state_dict())
    assert target.norm.num_batches_tracked.dtype == torch.int64
    assert target.norm.num_batches_tracked.item() == 1
    assert target.big.item() == 2**60 + 1


def test_loading_copies_into_the_existing_tensors():
    model, other = EveryDtype(), EveryDtype()
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    parameters = list(model.parameters())
    adapter(model).load(read(saved(other)))
    assert places == {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_tensors_are_copied_one_by_one_where_torch_is_old(monkeypatch):
    monkeypatch.delattr(torch, "_foreach_copy_")
    source, target = EveryDtype(), EveryDtype()
    adapter(target).load(read(saved(source)))
    same_state(target.state_dict(), source.state_dict())


def test_an_array_at_an_odd_address_is_loaded():
    model = torch.nn.Linear(2, 1, bias=False)
    raw = np.frombuffer(b"x" + np.array([[3, 4]], "f4").tobytes(), np.uint8)
    odd = raw[1:].view("f4").reshape(1, 2)
    assert not odd.flags.aligned
    adapter(model).load({"weight": odd})
    assert model.weight.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a.pop("bias"), r"missing \['bias'\], unexpected \[\]"),
        (lambda a: a.update(more=a["bias"]), r"missing \[\], unexpected \['more'\]"),
        (lambda a: a.update(bias=a["bias"][:1]), r"'bias' is float32\[1\], not float32\[2\]"),
        (lambda a: a.update(bias=a["bias"].astype("f8")), r"'bias' is float64\[2\], not float32"),
        (lambda a: a.update(bias=a["bias"].view("i4")), r"'bias' is int32\[2\], not float32"),
    ],
)
def test_another_model_is_refused_before_anything_is_changed(change, error):
    model = torch.nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    arrays = {name: np.zeros_like(tensor.numpy()) for name, tensor in before.items()}
    change(arrays)
    with pytest.raises(SwarmError, match=error):
        adapter(model).load(arrays)
    same_state(model.state_dict(), before)


def test_what_cannot_be_merged_is_named():
    model = torch.nn.Linear(1, 1)
    model.register_buffer("phase", torch.zeros(1, dtype=torch.complex64))
    with pytest.raises(SwarmError, match=r"'phase' has dtype torch.complex64.*cannot be merged"):
        adapter(model).layout()
    model = torch.nn.Linear(1, 1)
    model.register_buffer("sparse", torch.zeros(2, 2).to_sparse())
    with pytest.raises(SwarmError, match=r"'sparse' .* is not a dense tensor"):
        adapter(model).layout()

    class Extra(torch.nn.Linear):
        def get_extra_state(self):
            return {"any": "thing"}

    with pytest.raises(SwarmError, match=r"'_extra_state' .* is not a dense tensor"):
        adapter(Extra(1, 1)).layout()


# --- evaluation


class Identity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        assert not self.training
        return x


def loader(size=5, batch=2):
    x = torch.arange(float(size)).reshape(-1, 1)
    return DataLoader(TensorDataset(x, torch.zeros(size, 1)), batch_size=batch)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_the_loss_is_per_sample_whatever_the_reduction(reduction):
    model = adapter(
        Identity(),
        adsValData=loader(),
        lossFunction="MSELoss",
        lossFunctionArgs={"reduction": reduction},
    )
    assert model.evaluate() == (pytest.approx((0 + 1 + 4 + 9 + 16) / 5), 0.0)


def test_a_data_set_without_length_is_counted():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(1), torch.zeros(1))] * 3)

    model = adapter(
        Identity(),
        adsValData=DataLoader(Stream(), batch_size=2),
        lossFunction="MSELoss",
        lossFunctionArgs={"reduction": "sum"},
    )
    assert model.evaluate() == (1.0, 0.0)


def test_no_data_means_no_loss():
    assert adapter(Identity(), lossFunction="MSELoss").evaluate() == (0.0, 0.0)
    assert adapter(Identity(), adsValData=loader()).evaluate() == (0.0, 0.0)


def test_each_layer_is_training_again_afterwards_only_if_it_was():
    net = torch.nn.Sequential(Identity(), torch.nn.BatchNorm1d(1), torch.nn.Dropout())
    net[1].eval()
    adapter(net, adsValData=loader(), lossFunction="MSELoss").evaluate()
    assert [module.training for module in net] == [True, False, True]
    assert net.training
    assert net[1].num_batches_tracked == 0


def test_each_layer_is_training_again_when_evaluation_fails():
    net = Identity()
    bad = DataLoader(TensorDataset(torch.zeros(2, 1)))
    with pytest.raises(SwarmError, match=r"batches of \(input, target\)"):
        adapter(net, adsValData=bad, lossFunction="MSELoss").evaluate()
    assert net.training


class FakeMetric:
    """Stands for a torchmetrics class: accuracy of rounded outputs being zero."""

    def __init__(self, **arguments):
        self.arguments, self.hits, self.resets, self.device = arguments, [], 0, None

    def to(self, device):
        self.device = device

    def reset(self):
        self.resets += 1
        self.hits = []

    def update(self, outputs, targets):
        self.hits += (outputs == targets).flatten().tolist()

    def compute(self):
        return torch.tensor(sum(self.hits) / len(self.hits))


def test_plain_accuracy_never_needs_torchmetrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    arguments = {"task": "multiclass", "num_classes": 4}
    metric = metric_of({"metricFunction": "Accuracy", "metricFunctionArgs": arguments})
    assert isinstance(metric, Accuracy)
    with pytest.raises(SwarmError, match="needs the package torchmetrics"):
        metric_of({"metricFunction": "Accuracy", "metricFunctionArgs": {**arguments, "top_k": 2}})


def test_a_metric_accumulates_over_batches_and_starts_anew(monkeypatch):
    module = type(sys)("torchmetrics")
    module.FakeMetric = FakeMetric
    monkeypatch.setitem(sys.modules, "torchmetrics", module)
    model = adapter(
        Identity(), adsValData=loader(), metricFunction="FakeMetric", metricFunctionArgs={"k": 1}
    )
    for _ in range(2):
        assert model.evaluate() == (0.0, pytest.approx(0.2))
    assert model._evaluate.func._metric.resets == 2
    assert model._evaluate.func._metric.arguments == {"k": 1}


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"lossFunction": "MSELos"}, "lossFunction 'MSELos' is not a class in torch.nn. Did you"),
        ({"lossFunction": "functional"}, "lossFunction 'functional' is not a class in torch.nn"),
        ({"lossFunction": 3}, "lossFunction 3 is not a class"),
        ({"lossFunction": "MSELoss", "lossFunctionArgs": {"x": 1}}, "check lossFunctionArgs"),
        ({"lossFunction": "MSELoss", "lossFunctionArgs": [1]}, "must be a dict, not list"),
        ({"metricFunction": "F1Score"}, "needs the package torchmetrics: add `pip install"),
    ],
)
def test_wrong_loss_and_metric_are_said_early(kwargs, error, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(SwarmError) as caught:
        adapter(Identity(), adsValData=loader(), **kwargs)
    assert error in str(caught.value)


# --- the callback


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({}, "Pytorch model is None"),
        ({"model": None}, "Pytorch model is None"),
        ({"model": "x"}, "model must be a torch.nn.Module, not str"),
        ({"model": Identity(), "totalEpochs": 10**12}, "totalEpochs value is not a positive"),
        ({"model": Identity(), "ml_platform": "KERAS"}, "Invalid ml platform type: KERAS"),
        ({"model": Identity(), "mlPlatform": "TF"}, "Invalid ml platform type: TF"),
        (
            {"model": Identity(), "adsValData": [1]},
            "adsValData type passed is <class 'list'>, not matching with "
            "torch.utils.data.DataLoader",
        ),
        ({"model": Identity(), "nodeWeightage": 0}, "Node weightage should be a number"),
    ],
)
def test_constructor_errors_are_logged_and_raised(kwargs, error, caplog):
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(syncFrequency=1, minPeers=1, logger=log, **kwargs)
    assert error in str(caught.value)
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [str(caught.value)]


def test_loopback_does_everything_but_sync(caplog, capsys):
    caplog.set_level("INFO")
    model = Identity()
    callback = SwarmCallback(128, 2, model=model, logger=log, hfMode="full", totalEpochs=1)
    callback.on_train_begin()
    for batch in range(300):
        callback.on_batch_end(batch)
    callback.on_epoch_end(0)
    callback.on_train_end()
    stars = "*" * 52
    assert caplog.messages[0] == "SwarmCallbackBase logger is set"
    assert caplog.messages[-3:] == [
        stars,
        "***** Is Swarm callback in loopback mode: True *****",
        stars,
    ]
    assert "hfMode is for Hugging Face models only, ignored" in caplog.messages
    assert capsys.readouterr().out == ""


def test_the_default_logger_writes_hpes_format_to_stdout_once(capsys):
    for _ in range(2):
        SwarmCallback(128, 2, model=Identity(), totalEpochs=1)
    lines = capsys.readouterr().out.splitlines()
    first = [line for line in lines if line.endswith("SwarmCallbackBase logger is set")]
    assert len(first) == 2
    assert first[0].split(" : ")[1:3] == ["SwarmCallback", "INFO"]
    logging.getLogger("SwarmCallback").handlers.clear()


@pytest.mark.parametrize("value", ["1", "yes", "", "false"])
def test_only_true_is_loopback(value, monkeypatch, caplog):
    monkeypatch.setenv("SWARM_LOOPBACK", value)
    monkeypatch.delenv("SL_REQUEST_CHANNEL", raising=False)
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(1, 1, model=Identity(), logger=log)
    assert str(caught.value).startswith(
        "Init Swarm call to SL container failed - SL_REQUEST_CHANNEL: bad environment variable; "
        "cannot create bridge"
    )
    assert "SWARM_LOOPBACK=true" in str(caught.value)
    assert caplog.messages[-1] == str(caught.value)


def test_the_response_channel_is_needed_too(monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "")
    monkeypatch.setenv("SL_REQUEST_CHANNEL", "/nowhere")
    monkeypatch.setenv("SL_RESPONSE_CHANNEL", "")
    with pytest.raises(SwarmError, match=r"failed - SL_RESPONSE_CHANNEL: bad environment variable"):
        SwarmCallback(1, 1, model=Identity(), logger=log)


def test_public_names():
    assert swarmlearning.pyt.__all__ == ["SwarmCallback", "SwarmError"]
