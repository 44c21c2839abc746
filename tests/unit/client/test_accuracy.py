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


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"task": "multilabel"}, "multilabel"), ({"task": "multiclass"}, "num_classes")],
)
def test_wrong_arguments(arguments, error):
    with pytest.raises(ValueError, match=error):
        Accuracy(**arguments)
