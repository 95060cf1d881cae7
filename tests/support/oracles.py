"""Oracles for tests: one that answers in numpy, and one that keeps what it was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from holdfast.attacks.oracle import Array, GradientAnswer, Oracle


class NumpyOracle:
    """A torch oracle that is asked and answers in numpy arrays, as the one of ONNX Runtime."""

    def __init__(self, inner: Oracle) -> None:
        self._inner = inner
        self.classes = inner.classes

    def logits(self, images: np.ndarray) -> np.ndarray:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`."""
        assert isinstance(images, np.ndarray)
        assert images.dtype == np.float32
        found: np.ndarray = self._inner.logits(torch.from_numpy(images)).numpy()
        return found

    def gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: Any, targets: Any = None, originals: Any = None
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        assert isinstance(images, np.ndarray)
        assert images.dtype == np.float32
        aims = None if targets is None else torch.from_numpy(targets)
        answer = self._inner.gradient(torch.from_numpy(images), torch.from_numpy(labels), loss, aims)
        return GradientAnswer(answer.logits.numpy(), answer.loss.numpy(), answer.gradient.numpy())


class Recorder:
    """An oracle that keeps all images that it was asked about, in order.

    Attributes:
        gradients: What a gradient was taken at.
        forwards: What only the logits were asked of.
    """

    def __init__(self, inner: Oracle) -> None:
        self._inner = inner
        self.classes = inner.classes
        self.gradients: list[Array] = []
        self.forwards: list[Array] = []

    def logits(self, images: Array) -> Array:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`."""
        self.forwards.append(images)
        return self._inner.logits(images)

    def gradient(self, images: Array, *arguments: Any, **keywords: Any) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        self.gradients.append(images)
        return self._inner.gradient(images, *arguments, **keywords)
