"""A linear model in numpy, of which every answer and the smallest perturbation are known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.attacks import GradientAnswer, Loss


class Linear:
    """z = W x + b, its gradients worked out by hand.

    Args:
        weight: (classes, values of an image).
        bias: (classes,).
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = weight.astype(np.float32), bias.astype(np.float32)

    @classmethod
    def random(cls, shape: tuple[int, int, int], classes: int, seed: int = 0) -> Linear:
        """Weights of length about 1, normal; a bias that leaves no class without images around grey."""
        draw = np.random.default_rng(seed)
        size = int(np.prod(shape))
        weight = draw.normal(size=(classes, size)) * 20 / size**0.5
        return cls(weight, draw.normal(size=classes) - weight.sum(1) / 2)

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.bias)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """W x + b."""
        answers: np.ndarray = images.reshape(len(images), -1) @ self.weight.T + self.bias
        return answers

    def gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: Any, targets: Any = None, originals: Any = None
    ) -> GradientAnswer:
        """Of every loss of the logits, but of DLR its direction only, which is the margin's."""
        logits = self.logits(images)
        slope = self._slope(logits, labels, labels if targets is None else targets, loss)
        return GradientAnswer(logits, (slope * logits).sum(1), (slope @ self.weight).reshape(images.shape))

    def smallest(self, images: np.ndarray, labels: np.ndarray, norm: str) -> np.ndarray:
        """The norm, (n,), of the smallest perturbation that reaches another class; [0, 1] is left aside."""
        logits = self.logits(images)
        rows = np.arange(len(images))
        gaps = logits[rows, labels][:, None] - logits
        slopes = self.weight[None] - self.weight[labels][:, None]
        # The dual norm: what a step of length 1 in the attack's own norm can add to the margin.
        gains = np.linalg.norm(slopes, axis=2) if norm == "l2" else np.abs(slopes).sum(2)
        gains[rows, labels], gaps[rows, labels] = 1, np.inf
        distances: np.ndarray = (gaps / gains).min(1)
        return distances

    def _slope(self, z: np.ndarray, y: np.ndarray, t: np.ndarray, loss: Loss) -> np.ndarray:
        unit = np.eye(self.classes, dtype=np.float32)
        chances = np.exp(z - z.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        if loss is Loss.CROSS_ENTROPY:
            return chances - unit[y]
        if loss is Loss.TARGETED_CROSS_ENTROPY:
            return unit[t] - chances
        if loss in (Loss.MARGIN, Loss.DLR):
            return unit[np.where(unit[y] > 0, -np.inf, z).argmax(1)] - unit[y]
        if loss is Loss.TARGETED_MARGIN:
            return unit[t] - unit[np.where(unit[t] > 0, -np.inf, z).argmax(1)]
        return unit[t] - unit[y]
