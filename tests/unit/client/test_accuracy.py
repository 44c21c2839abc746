import warnings

import pytest
import torch

from swarmlearning._accuracy import Accuracy


def test_multiclass_takes_scores_or_labels():
    accuracy = Accuracy("multiclass", num_classes=3)
    accuracy.update(torch.tensor([[0.1, 0.7, 0.2], [0.9, 0.0, 0.1]]), torch.tensor([1, 2]))
    assert accuracy.compute() == 0.5
    accuracy.update(torch.tensor([2, 2]), torch.tensor([2, 2]))
    assert accuracy.compute() == 0.75
    accuracy.reset()
    assert accuracy.compute() == 0.0


@pytest.mark.parametrize(
    "outputs",
    [
        torch.tensor([0.9, 0.4, 0.6, 0.1]),  # probabilities
        torch.tensor([4.0, -1.0, 2.0, -3.0]),  # logits
        torch.tensor([[0.9], [0.4], [0.6], [0.1]]),
        torch.tensor([1, 0, 1, 0]),
    ],
)
def test_binary(outputs):
    accuracy = Accuracy("binary")
    accuracy.update(outputs, torch.tensor([1, 0, 0, 0]))
    assert accuracy.compute() == 0.75


CASES = [
    (kind, classes, seed)
    for kind in ("scores", "labels", "pixels", "logits", "probabilities")
    for classes in (2, 5)
    for seed in range(8)
]


@pytest.mark.parametrize(("kind", "classes", "seed"), CASES)
def test_it_is_what_torchmetrics_says(kind, classes, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torchmetrics imports
        import torchmetrics
    chance = torch.Generator().manual_seed(seed)
    binary = kind in ("logits", "probabilities")
    arguments = {"task": "binary"} if binary else {"task": "multiclass", "num_classes": classes}
    ours, theirs = Accuracy(**arguments), torchmetrics.Accuracy(**arguments)
    for size in torch.randint(1, 20, (4,), generator=chance).tolist():
        shape = (size, 3, 2) if kind == "pixels" else (size,)
        targets = torch.randint(0, 2 if binary else classes, shape, generator=chance)
        if binary:
            outputs = torch.randn(size, generator=chance)
            outputs = outputs.sigmoid() if kind == "probabilities" else outputs
        elif kind == "labels":
            outputs = torch.randint(0, classes, shape, generator=chance)
        else:
            outputs = torch.randn((size, classes, *shape[1:]), generator=chance)
        ours.update(outputs, targets)
        theirs.update(outputs, targets)
        assert ours.compute() == pytest.approx(float(theirs.compute()), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"task": "multilabel"}, "multilabel"), ({"task": "multiclass"}, "num_classes")],
)
def test_wrong_arguments(arguments, error):
    with pytest.raises(ValueError, match=error):
        Accuracy(**arguments)
