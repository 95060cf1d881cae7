"""The oracle over a bundle: gradients from ``gradient.onnx``, with no torch installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.attacks.loss import MINIMUM_CLASSES, AdaptiveLoss, AnyLoss
from holdfast.attacks.oracle import GradientAnswer, NoGradientError, UnsupportedLossError
from holdfast.bundle import GRADIENT, PREDICT, Bundle
from holdfast.sessions import open_session

if TYPE_CHECKING:
    import onnxruntime as ort


class OnnxOracle:
    """Attack a bundle's static model on ONNX Runtime.

    Args:
        bundle: The opened bundle.
        threads: Threads for one operator; 0 lets ONNX Runtime take every physical core.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        self._classes = len(bundle.manifest.classes)
        self._predict: ort.InferenceSession = open_session(bundle, PREDICT, threads=threads)
        self._name = f"{bundle.name}/{bundle.version}"
        #: A network that was imported may have none.
        self._gradient: ort.InferenceSession | None = None
        if bundle.manifest.imported is None or GRADIENT in bundle.manifest.files:
            self._gradient = open_session(bundle, GRADIENT, threads=threads)

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self._classes

    @property
    def provider(self) -> str:
        """Where its passes run, by ONNX Runtime's name."""
        return str((self._gradient or self._predict).get_providers()[0])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`."""
        (logits,) = self._predict.run(["logits"], {"images": images})
        return np.asarray(logits)

    def gradient(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        loss: AnyLoss,
        targets: np.ndarray | None = None,
        originals: np.ndarray | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        del originals  # only for losses that a static model has not got
        if isinstance(loss, AdaptiveLoss):
            raise UnsupportedLossError(f"this bundle has no loss {loss.value!r}; it is not defended that way")
        if loss.targeted and targets is None:
            raise ValueError(f"loss {loss.label!r} needs targets")
        if self._classes < MINIMUM_CLASSES.get(loss, 2):  # of which the graph makes NaN
            raise UnsupportedLossError(f"loss {loss.label!r} needs at least {MINIMUM_CLASSES[loss]} classes")
        if self._gradient is None:
            raise NoGradientError(self._name)
        logits, losses, gradient = self._gradient.run(
            ["logits", "losses", "gradient"],
            {
                "images": images,
                "labels": labels.astype(np.int64, copy=False),
                "targets": (labels if targets is None else targets).astype(np.int64, copy=False),
                "loss": np.asarray(loss.id, dtype=np.int64),
            },
        )
        return GradientAnswer(np.asarray(logits), np.asarray(losses), np.asarray(gradient))
