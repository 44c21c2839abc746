"""Softmax regression on digits in numpy, with every kind of tensor that PyTorch models have."""

import numpy as np

CLASSES, PIXELS = 10, 64


def torch_tensor(value):
    """What ``torch.Tensor(value)`` makes, as far as section 12 of compat/01 measured it."""
    if not isinstance(value, np.ndarray):
        raise TypeError("new(): data must be a sequence")
    if not value.ndim and value.dtype.kind != "f":
        return np.empty(int(value), np.float32)  # taken for a size
    return value.astype(np.float32)


class Digits:
    """Parameters are named and shaped as `torch.nn.Linear`'s, and alias the live memory."""

    def __init__(self, features, labels, seed):
        random = np.random.default_rng(seed)
        self.features, self.labels = features.astype(np.float32), labels
        self.tensors = {
            "linear.weight": random.normal(0, 0.01, (CLASSES, PIXELS)).astype(np.float32),
            "linear.bias": np.zeros(CLASSES, np.float32),
            "norm.num_batches_tracked": np.array(0),
            "scale": np.array([1 / 3, 1 / 7, seed]),
            "mask": np.array([True, False, seed % 2 == 0]),
            "halves": np.array([0.5, 0.1, 65504.0, seed], np.float16),
            "seen": np.array([seed, 2**40]),
        }

    def state(self):
        return self.tensors

    def load(self, merged):
        for name, own in self.tensors.items():
            found = torch_tensor(merged[name])
            if found.shape != own.shape:
                raise RuntimeError(f"size mismatch for {name}: {found.shape} from {own.shape}")
            own[...] = found.astype(own.dtype)

    def train(self, batch):
        rows = slice(batch * 32 % len(self.features), batch * 32 % len(self.features) + 32)
        x, y = self.features[rows], self.labels[rows]
        error = self.probabilities(x)
        error[np.arange(len(y)), y] -= 1
        self.tensors["linear.weight"] -= 0.5 * (error.T @ x) / len(y)
        self.tensors["linear.bias"] -= 0.5 * error.mean(0)
        self.tensors["norm.num_batches_tracked"] += 1

    def probabilities(self, x):
        scores = x @ self.tensors["linear.weight"].T + self.tensors["linear.bias"]
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def evaluate(self):
        found = self.probabilities(self.features)
        loss = -np.log(found[np.arange(len(self.labels)), self.labels] + 1e-9).mean()
        return float(loss), float((found.argmax(1) == self.labels).mean())
