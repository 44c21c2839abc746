"""Accuracy without torchmetrics: the one metric that most programs name.

Gives what ``torchmetrics.Accuracy`` gives for ``task='multiclass'`` (micro average) and
``task='binary'``. It is used where torchmetrics is installed, too: importing that takes longer than
importing torch, as it imports transformers.
"""

import torch

ARGUMENTS = frozenset({"task", "num_classes", "threshold"})
"""What :class:`Accuracy` takes; for more, torchmetrics is needed."""


class Accuracy:
    """Share of right answers over all batches since :meth:`reset`.

    Args:
        task: ``multiclass`` or ``binary``.
        num_classes: for ``multiclass``, 2 or more.
        threshold: for ``binary``, of the probability.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(self, task: str, num_classes: int | None = None, threshold: float = 0.5) -> None:
        if task not in ("multiclass", "binary"):
            raise ValueError(f"task {task!r} is not multiclass or binary")
        if task == "multiclass" and (num_classes is None or num_classes < 2):
            raise ValueError("task multiclass needs num_classes, 2 or more")
        self._task, self._threshold = task, threshold
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self._right = self._seen = 0

    def to(self, _device: torch.device) -> None:
        """Nothing to move: counts are plain numbers."""

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Count a batch.

        Args:
            outputs: ``multiclass``: scores of shape (N, C, ...) or labels of the targets' shape;
                ``binary``: probabilities, logits or labels of the targets' shape.
            targets: labels, integers.
        """
        if self._task == "multiclass":
            labels = outputs.argmax(1) if outputs.dim() == targets.dim() + 1 else outputs
        else:
            labels = self._binary(outputs.reshape(targets.shape))
        self._right += int((labels == targets).sum())
        self._seen += targets.numel()

    def compute(self) -> float:
        """The share, 0 to 1; 0 before any batch."""
        return self._right / self._seen if self._seen else 0.0

    def _binary(self, outputs: torch.Tensor) -> torch.Tensor:
        if not outputs.is_floating_point():
            return outputs
        if bool(((outputs < 0) | (outputs > 1)).any()):
            outputs = outputs.sigmoid()
        return outputs > self._threshold
