"""A PyTorch model as a :class:`swarmlearning._model.ModelAdapter`.

Copies go straight between the live tensors and the model file's pages, whatever the device: a
tensor's own ``copy_`` moves it to and from a GPU, in its own dtype, and optimizers keep working.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from swarmlearning._model import Arrays
from swarmlearning.errors import SwarmError
from swarmlearning.wire.tensors import DTYPES, Layout, arrange

State = dict[str, torch.Tensor]
"""Name -> live tensor, sharing memory with the model, without autograd."""

_WIRE: Final = {
    getattr(torch, name): wire
    for name, wire in {
        "bool": "BOOL",
        "uint8": "U8",
        "int8": "I8",
        "uint16": "U16",
        "int16": "I16",
        "uint32": "U32",
        "int32": "I32",
        "uint64": "U64",
        "int64": "I64",
        "float16": "F16",
        "bfloat16": "BF16",
        "float32": "F32",
        "float64": "F64",
    }.items()
    if hasattr(torch, name)  # torch before 2.3 lacks the wider unsigned ones
}
"""torch dtype -> dtype in the model file."""

_CODES: Final = ("Params4bit", "Int8Params")
"""bitsandbytes' parameters: plain integers to look at, codes in truth."""


class TorchModel:
    """Named tensors of a model, read and written in place.

    Args:
        state: gives what is exchanged, e.g. :func:`state_of` bound to a model. Asked anew at each
            sync, because a program may move or replace tensors.
        evaluate: loss and metric of the model as it is.

    Raises:
        SwarmError: several processes train this model.
    """

    def __init__(
        self, state: Callable[[], State], evaluate: Callable[[], tuple[float, float]]
    ) -> None:
        self._state, self._evaluate = state, evaluate
        _require_one_process()

    def layout(self) -> Layout:
        _require_one_process()  # again: TrainingArguments, for one, may start them meanwhile
        return arrange(
            (name, _dtype(name, tensor), tuple(tensor.shape))
            for name, tensor in self._state().items()
        )

    def save(self, target: Arrays) -> None:
        tensors = self._state()
        _copy(
            [_as_tensor(target[name], tensor.dtype) for name, tensor in tensors.items()],
            list(tensors.values()),
        )

    def load(self, source: Arrays) -> None:
        tensors = self._state()
        _require_same(tensors, source)
        pairs = [
            _writable(name, tensor, _as_tensor(source[name], tensor.dtype))
            for name, tensor in tensors.items()
        ]
        _copy([target for target, _ in pairs], [merged for _, merged in pairs])

    def evaluate(self) -> tuple[float, float]:
        return self._evaluate()


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The user's own model inside ``torch.compile`` and data parallel wrappers.

    Its names have no ``_orig_mod.`` and ``module.`` in front, so that peers agree on them whether
    or not each of them compiles its model.
    """
    while True:
        if isinstance(
            model, torch.nn.parallel.DistributedDataParallel | torch.nn.parallel.DataParallel
        ):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), torch.nn.Module):
            model = inner
        else:
            return model


def own_model(model: object, missing: str) -> torch.nn.Module:
    """The user's model, without the wrappers of :func:`unwrapped`.

    Args:
        model: what the user gave.
        missing: what to say if that is None.

    Raises:
        SwarmError: it is not a model.
    """
    if model is None:
        raise SwarmError(missing)
    if not isinstance(model, torch.nn.Module):
        raise SwarmError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    return unwrapped(model)


def state_of(model: torch.nn.Module, trainable: bool = False) -> State:
    """What a model exchanges: its ``state_dict()``, or the trained part of it.

    Args:
        model: without wrappers, see :func:`unwrapped`.
        trainable: leave out frozen parameters (``requires_grad`` is False), and the buffers that
            go with them: a buffer goes with the parameters of its module, or, if that has none,
            of the nearest module around it that has some.

    Raises:
        SwarmError: an entry cannot be merged, or nothing is trainable.
    """
    entries = model.state_dict()
    frozen = _frozen(model) if trainable else frozenset[str]()
    kept = {name: value for name, value in entries.items() if name not in frozen}
    if trainable and not kept:
        raise SwarmError(
            "exchange='trainable', but no parameter of the model has requires_grad=True: there is "
            "nothing to merge"
        )
    for name, parameter in model.named_parameters():
        if name in kept and type(parameter).__name__ in _CODES:
            raise _cannot_merge(name, type(parameter).__name__, parameter)
    return checked(kept)


def checked(entries: Mapping[str, Any]) -> State:
    """Entries of a ``state_dict()`` as a state; parts of names that ``torch.compile`` added go.

    Raises:
        SwarmError: an entry cannot be merged; says which, why, and what to do.
    """
    found: State = {}
    for name, value in entries.items():
        found[name.replace("_orig_mod.", "")] = _dense(name, value).detach()
    return found


def _frozen(module: torch.nn.Module, prefix: str = "", around: bool = True) -> frozenset[str]:
    """Names of frozen parameters, and of the buffers that go with them."""
    gradients = [parameter.requires_grad for parameter in module.parameters()]
    trained = any(gradients) if gradients else around
    names = {
        name for name, p in module._parameters.items() if p is not None and not p.requires_grad
    }
    if not trained:
        names |= module._buffers.keys()
    found = frozenset(prefix + name for name in names)
    for name, child in module._modules.items():
        if child is not None:
            found |= _frozen(child, f"{prefix}{name}.", trained)
    return found


def _dense(name: str, value: Any) -> torch.Tensor:  # noqa: ANN401 - whatever a state_dict holds
    """The value, if it is a plain tensor with data.

    Raises:
        SwarmError: it is not.
    """
    if torch.nn.parameter.is_lazy(value):
        raise SwarmError(
            f"{name!r} has no shape yet: run one batch through the model before SwarmCallback"
        )
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        raise SwarmError(
            f"{name!r} in the model's state_dict() is not a dense tensor and cannot be "
            "merged; keep it out of the state_dict, e.g. as a buffer with persistent=False"
        )
    if value.is_quantized or _is_wrapper(value):
        raise _cannot_merge(name, type(value).__name__, value)
    if value.is_meta:
        raise SwarmError(f"{name!r} has no data (device 'meta'): load the model's weights first")
    return value


def _cannot_merge(name: str, kind: str, tensor: torch.Tensor) -> SwarmError:
    return SwarmError(
        f"{name!r} is quantised or sharded ({kind}, {tensor.dtype}) and cannot be merged; train an "
        "adapter beside it and exchange only that: exchange='trainable', or hfMode='peft' for a "
        "Hugging Face model"
    )


def _is_wrapper(value: torch.Tensor) -> bool:
    """Whether it only stands for other tensors, as a DTensor and torchao's quantised ones do."""
    ours, plain = (getattr(t, "__torch_dispatch__", None) for t in (type(value), torch.Tensor))
    return ours is not plain


def _dtype(name: str, tensor: torch.Tensor) -> str:
    wire = _WIRE.get(tensor.dtype)
    if wire is None:
        raise SwarmError(
            f"{name!r} has dtype {tensor.dtype}, which cannot be merged; "
            "convert it, or keep it out of the state_dict"
        )
    return wire


def _require_one_process() -> None:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        count = distributed.get_world_size()
        if count > 1:
            raise SwarmError(
                f"{count} processes (torch.distributed) train this model, but a peer of a swarm is "
                "one process: start the program once, without torchrun or accelerate launch; "
                "torch.nn.DataParallel may use several GPUs"
            )


def _require_same(tensors: State, source: Arrays) -> None:
    """Check that ``source`` is this model, before anything is changed."""
    missing, unexpected = tensors.keys() - source.keys(), source.keys() - tensors.keys()
    if missing or unexpected:
        raise SwarmError(
            "the merged model is not this program's model: "
            f"missing {sorted(missing)[:5]}, unexpected {sorted(unexpected)[:5]}; "
            "all peers must train the same model, with the same `exchange`"
        )
    places: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        array, wanted = source[name], DTYPES[_dtype(name, tensor)]
        if array.shape != tuple(tensor.shape) or array.dtype != wanted:
            raise SwarmError(
                f"the merged model is not this program's model: {name!r} is "
                f"{array.dtype}{list(array.shape)}, not {wanted}{list(tensor.shape)}; "
                "all peers must train the same model"
            )
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride())
        first = places.setdefault(place, name) if tensor.numel() and place[1] else name
        if first != name and not np.array_equal(array, source[first]):
            raise SwarmError(
                f"{name!r} and {first!r} are one tensor here (tied weights) but not in every "
                "peer's model; tie them everywhere"
            )


def _writable(
    name: str, target: torch.Tensor, merged: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both without the repetitions of an expanded tensor, which lie in one place of memory."""
    for dim, (size, stride) in enumerate(zip(target.shape, target.stride(), strict=True)):
        if stride == 0 and size > 1:
            first = merged.narrow(dim, 0, 1)
            if not torch.equal(first.expand_as(merged), merged):
                raise SwarmError(
                    f"{name!r} repeats one value along dimension {dim} here (an expanded tensor) "
                    "but not in every peer's model; make it the same everywhere"
                )
            target, merged = target.narrow(dim, 0, 1), first
    return target, merged


def _copy(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
    """Copy tensor by tensor in place; in one call where this torch has it and all is in memory."""
    with torch.no_grad():
        if targets and hasattr(torch, "_foreach_copy_") and _in_memory(targets + sources):
            torch._foreach_copy_(targets, sources)
            return
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)


def _in_memory(tensors: list[torch.Tensor]) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors)


def _as_tensor(array: NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
    """A tensor that shares memory with ``array``; bit patterns become bfloat16 again."""
    if not array.flags.aligned:
        array = array.copy()
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
