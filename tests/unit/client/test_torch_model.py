"""What of a PyTorch model is exchanged, under which names, and how it gets back."""

import numpy as np
import pytest
import torch
from torch import nn

from swarmlearning import _torch_model
from swarmlearning._torch_model import TorchModel, own_model, state_of
from swarmlearning.errors import SwarmError
from swarmlearning.wire.tensors import read, view, write_header


def adapter(model, trainable=False):
    inner = own_model(model, "none")
    return TorchModel(lambda: state_of(inner, trainable), lambda: (0.0, 0.0))


def names(model, trainable=False):
    return sorted(tensor.name for tensor in adapter(model, trainable).layout().tensors)


def file_of(adapted):
    layout = adapted.layout()
    buffer = bytearray(layout.file_size)
    write_header(buffer, layout)
    adapted.save({t.name: view(buffer, layout, t) for t in layout.tensors})
    return buffer


def arrays_of(model, trainable=False):
    return {name: np.array(a) for name, a in read(file_of(adapter(model, trainable))).items()}


# --- names


def eager(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize(
    "wrap",
    [eager, nn.DataParallel, lambda model: eager(nn.DataParallel(model))],
    ids=["compiled", "data parallel", "both"],
)
def test_a_wrapped_model_is_exchanged_under_its_own_names_and_loaded(wrap):
    plain, wrapped = nn.Sequential(nn.Linear(2, 2)), wrap(nn.Sequential(nn.Linear(2, 2)))
    assert list(wrapped.state_dict()) != list(plain.state_dict())
    assert names(wrapped) == names(plain) == ["0.bias", "0.weight"]
    adapter(wrapped).load(arrays_of(plain))
    for mine, other in zip(wrapped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_a_distributed_wrapper_of_one_process_is_unwrapped():
    assert names(nn.parallel.DistributedDataParallel(nn.Linear(2, 2))) == ["bias", "weight"]


@pytest.mark.usefixtures("one_process")
def test_a_sharded_tensor_is_refused():
    from torch.distributed.tensor import distribute_tensor, init_device_mesh

    model = nn.Linear(2, 2)
    model.weight = nn.Parameter(distribute_tensor(torch.ones(2, 2), init_device_mesh("cpu", (1,))))
    with pytest.raises(
        SwarmError, match=r"'weight' is quantised or sharded \(DTensor, torch.float"
    ):
        adapter(model).layout()


def test_a_compiled_layer_inside_has_the_names_of_a_plain_one():
    model = nn.Sequential(eager(nn.Linear(2, 2)), nn.Linear(2, 1))
    assert names(model) == names(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    model[0].requires_grad_(False)
    assert names(model, trainable=True) == ["1.bias", "1.weight"]


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(SwarmError, match=r"4 processes .* a peer of a swarm is one process"):
        adapter(nn.Linear(1, 1))


# --- what is trainable


def transfer_model():
    backbone = nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False)
    ).requires_grad_(False)
    head = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False))
    return nn.ModuleDict({"backbone": backbone, "head": head})


HEAD = [
    f"head.{name}"
    for name in (
        *("0.bias", "0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean"),
        *("1.running_var", "1.weight", "2.num_batches_tracked", "2.running_mean", "2.running_var"),
    )
]


def test_frozen_layers_stay_at_home_with_their_buffers():
    assert names(transfer_model(), trainable=True) == HEAD
    assert len(names(transfer_model())) == 2 * len(HEAD)


def test_the_choice_does_not_depend_on_the_training_mode():
    model = transfer_model().eval()
    assert names(model, trainable=True) == HEAD


def test_loading_what_is_trainable_leaves_the_rest_alone():
    model, other = transfer_model(), transfer_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapter(model, trainable=True).load(arrays_of(other, trainable=True))
    for name, tensor in model.state_dict().items():
        source = other.state_dict() if name in HEAD else before
        assert torch.equal(tensor, source[name]), name


def test_a_buffer_of_the_outermost_module_goes_with_what_is_inside():
    model = nn.Linear(2, 1)
    model.register_buffer("scale", torch.ones(1))
    model.bias.requires_grad_(False)
    assert names(model, trainable=True) == ["scale", "weight"]


def test_nothing_trainable_is_an_error():
    with pytest.raises(SwarmError, match="there is nothing to merge"):
        adapter(nn.Linear(1, 1).requires_grad_(False), trainable=True).layout()


def test_another_choice_at_another_peer_is_told():
    with pytest.raises(SwarmError, match="with the same `exchange`"):
        adapter(transfer_model()).load(arrays_of(transfer_model(), trainable=True))


# --- tensors that share memory


class Tied(nn.Module):
    def __init__(self, tie=True):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        if tie:
            self.head.weight = self.embedding.weight


def test_tied_weights_stay_tied_and_keep_both_names():
    model, other = Tied(), Tied()
    arrays = arrays_of(other)
    assert sorted(arrays) == ["embedding.weight", "head.weight"]
    adapter(model).load(arrays)
    assert model.head.weight is model.embedding.weight
    assert torch.equal(model.head.weight, other.head.weight)


def test_weights_tied_here_only_are_refused_before_anything_is_changed():
    model = Tied()
    before = model.head.weight.clone()
    with pytest.raises(SwarmError, match=r"'head.weight' and 'embedding.weight' are one tensor"):
        adapter(model).load(arrays_of(Tied(tie=False)))
    assert torch.equal(model.head.weight, before)


def with_buffer(tensor):
    model = nn.Module()
    model.register_buffer("b", tensor)
    return model


def test_an_expanded_tensor_is_written_once():
    model = with_buffer(torch.zeros(3, 1, 2).expand(3, 4, 2))
    merged = np.arange(6.0, dtype="f4").reshape(3, 1, 2).repeat(4, axis=1)
    adapter(model).load({"b": merged})
    assert np.array_equal(model.b.numpy(), merged)
    assert model.b.stride() == (2, 0, 1)


def test_an_expanded_tensor_that_differs_elsewhere_is_refused():
    model = with_buffer(torch.zeros(1).expand(4))
    with pytest.raises(SwarmError, match="'b' repeats one value along dimension 0 here"):
        adapter(model).load({"b": np.arange(4, dtype="f4")})


# --- devices


def test_tensors_elsewhere_are_copied_one_by_one_and_never_seen_as_arrays(monkeypatch):
    """No GPU here: a CPU tensor plays one that numpy cannot see and that is not all in memory."""

    def refuse(*_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    arrays = arrays_of(nn.Linear(3, 2))
    monkeypatch.setattr(torch.Tensor, "numpy", refuse)
    monkeypatch.setattr(torch, "_foreach_copy_", refuse)
    monkeypatch.setattr(_torch_model, "_in_memory", lambda _: False)
    model = nn.Linear(3, 2)
    adapter(model).load(arrays)
    again = read(file_of(adapter(model)))
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


# --- what is refused


class Params4bit(nn.Parameter):
    """Named as bitsandbytes names its codes."""


def quantised():
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: torch.zeros(2, dtype=torch.float8_e4m3fn), "'b' has dtype torch.float8_e4m3fn"),
        (lambda: torch.zeros(2, dtype=torch.complex64), "'b' has dtype torch.complex64, which"),
        (quantised, "'b' is quantised or sharded"),
        (lambda: torch.zeros(2, device="meta"), "'b' has no data .* load the model's weights"),
        (lambda: torch.zeros(2, 2).to_sparse(), "'b' .* is not a dense tensor"),
    ],
    ids=["float8", "complex", "quantised", "meta", "sparse"],
)
def test_what_cannot_be_merged_is_named(make, error):
    with pytest.raises(SwarmError, match=error):
        adapter(with_buffer(make())).layout()


def test_codes_of_bitsandbytes_are_refused_unless_they_stay_at_home():
    model = nn.Linear(2, 1)
    model.weight = Params4bit(torch.zeros(2, dtype=torch.uint8), False)
    with pytest.raises(SwarmError, match=r"'weight' is quantised or sharded \(Params4bit, torch.u"):
        adapter(model).layout()
    assert names(model, trainable=True) == ["bias"]


def test_a_lazy_layer_has_to_see_a_batch_first():
    model = nn.LazyLinear(2)
    with pytest.raises(SwarmError, match="'weight' has no shape yet: run one batch"):
        adapter(model).layout()
    model(torch.zeros(1, 3))
    assert names(model) == ["bias", "weight"]
