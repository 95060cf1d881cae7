"""Oracles over defended bundles, on ONNX Runtime with no torch: the attacks that know the defence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from holdfast.attacks.loss import AdaptiveLoss, AnyLoss, Loss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.oracle import BOTH, FORWARD, GradientAnswer, UnsupportedLossError
from holdfast.attacks.parameters import Cost
from holdfast.bundle import DEFENDED, FEATURES, MANIFOLD, WEIGHTS, Bundle, ManifestError
from holdfast.centers import SHORTEST, unit
from holdfast.errors import UsageError
from holdfast.manifest import Defence
from holdfast.sessions import open_session

if TYPE_CHECKING:
    import onnxruntime as ort


class TransformedOnnxOracle(OnnxOracle):
    """Attack a bundle behind IMT or IMT+, through the transformation by BPDA (Athalye et al. 2018).

    The forward pass is the graph that is served. The gradient is taken at the transformed image, and counts
    as that of the image itself. :attr:`AdaptiveLoss.MANIFOLD` makes the image look natural before it is
    transformed; ``ce+manifold`` is the joint attack. (End to end, through the transformation's own gradient,
    is :class:`holdfast.attacks.torch_defended.TransformedOracle`.)

    Args:
        bundle: The opened bundle, which offers the defence.
        defence: ``imt`` or ``imt+``.
        threads: Threads for one operator; 0 lets ONNX Runtime take every physical core.
    """

    dynamic = True

    def __init__(self, bundle: Bundle, defence: Defence, *, threads: int = 0) -> None:
        super().__init__(bundle, threads=threads)
        if bundle.manifest.imt is None:
            raise ManifestError(f"Model {bundle.name} version {bundle.version} has no section imt.")
        self._imt = bundle.manifest.imt
        self._halved = self._imt.halved if defence == "imt+" else None
        self._transformed: ort.InferenceSession = open_session(bundle, DEFENDED[defence], threads=threads)
        self._manifold: ort.InferenceSession = open_session(bundle, MANIFOLD, threads=threads)

    def passes(self, loss: AnyLoss | None) -> Cost:
        """See :func:`holdfast.attacks.oracle.passes`: a gradient moves the image, then it is classified."""
        if loss is AdaptiveLoss.MANIFOLD:
            return BOTH + BOTH + FORWARD  # the logits are asked for apart
        return BOTH + (FORWARD if loss is None else BOTH)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`; of the transformed images."""
        (logits,) = self._transformed.run(["logits"], {"images": images})
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
        logit, gradient = self._manifold.run(["logit", "gradient"], {"images": images})
        if loss is AdaptiveLoss.MANIFOLD:
            return GradientAnswer(self.logits(images), -logit, -gradient)
        return super().gradient(self._move(images, logit, gradient), labels, loss, targets, originals)

    def _move(self, images: np.ndarray, logit: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """IMT's step, from what ``manifold.onnx`` gives; see :mod:`holdfast.manifold`."""
        step = np.full(len(images), self._imt.epsilon, dtype=np.float32)
        if self._halved is not None:
            score = 1 / (1 + np.exp(-logit))
            step[(score >= self._halved[0]) & (score <= self._halved[1])] /= 2
        moved: np.ndarray = np.clip(images - step[:, None, None, None] * np.sign(gradient), 0, 1)
        return moved


class CentredOnnxOracle(OnnxOracle):
    """Attack a bundle of class centres, also on the losses that MAT trains it with (MAT Sec. 4.4).

    The derivatives of those losses in the features φ are closed forms; ``features.onnx`` takes them to the
    image. Two runs of the graph, one to know φ and one for the gradient; a run is a forward and a backward
    pass, whatever is read of it.

    Args:
        bundle: The opened bundle, whose head is ``cosine``.
        threads: Threads for one operator; 0 lets ONNX Runtime take every physical core.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        super().__init__(bundle, threads=threads)
        self._features: ort.InferenceSession = open_session(bundle, FEATURES, threads=threads)
        self._centres = unit(_read_centres(bundle))

    def passes(self, loss: AnyLoss | None) -> Cost:
        """See :func:`holdfast.attacks.oracle.passes`."""
        if isinstance(loss, AdaptiveLoss):
            return BOTH * (3 if loss.needs_originals else 2) + FORWARD
        return FORWARD if loss is None else BOTH

    def gradient(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        loss: AnyLoss,
        targets: np.ndarray | None = None,
        originals: np.ndarray | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        if isinstance(loss, Loss):
            return super().gradient(images, labels, loss, targets)
        if loss is AdaptiveLoss.MANIFOLD:
            raise UnsupportedLossError(f"this bundle has no loss {loss.value!r}: it has no discriminator")
        features = self._features_of(images)
        if loss is AdaptiveLoss.BIBO:
            if originals is None:
                raise ValueError(f"loss {loss.value!r} needs the original images")
            losses, slope = distance_and_slope(features, unit(self._features_of(originals)))
        elif loss is AdaptiveLoss.FTC:
            losses, slope = distance_and_slope(features, self._centres[labels])
        else:
            losses, slope = second_order_and_slope(features, self._centres[labels])
        _, gradient = self._features.run(["features", "gradient"], {"images": images, "slope": slope})
        return GradientAnswer(self.logits(images), losses, np.asarray(gradient))

    def _features_of(self, images: np.ndarray) -> np.ndarray:
        slope = np.zeros((len(images), self._centres.shape[1]), dtype=np.float32)
        (features,) = self._features.run(["features"], {"images": images, "slope": slope})
        return np.asarray(features)


def distance_and_slope(features: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 − cos(φ, u), (n,), and its derivative in φ, −(u − cos φ̂) / ‖φ‖, (n, d).

    Args:
        features: φ, (n, d).
        directions: u, (n, d), of length 1.
    """
    length = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), SHORTEST)
    direction = features / length
    cosine = (direction * directions).sum(1, keepdims=True)
    # ‖φ̂ − u‖² / 2 is 1 − cos, and keeps its digits where that is small.
    losses = 0.5 * np.square(direction - directions).sum(1)
    slope = -(directions - cosine * direction) / length
    return losses.astype(np.float32), slope.astype(np.float32)


def second_order_and_slope(features: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MAT's SO, (1 − cos²) / ‖φ‖² (eq. 6), (n,), and its derivative in φ, (n, d).

    Args:
        features: φ, (n, d).
        directions: The centres' directions μ̂, (n, d).
    """
    length = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), SHORTEST)
    direction = features / length
    cosine = (direction * directions).sum(1, keepdims=True)
    residual = directions - cosine * direction  # ‖residual‖² = 1 − cos², d cos/dφ = residual / ‖φ‖
    squared = np.square(residual).sum(1, keepdims=True)
    slope = -2 * (cosine * residual + squared * direction) / length**3
    return (squared / length**2)[:, 0].astype(np.float32), slope.astype(np.float32)


def open_oracle(bundle: Bundle, defence: Defence = "none", *, threads: int = 0) -> OnnxOracle:
    """The oracle that knows all that a bundle does behind one of its defences.

    Args:
        bundle: The opened bundle.
        defence: One that it offers.
        threads: Threads for one operator; 0 lets ONNX Runtime take every physical core.

    Raises:
        UsageError: The bundle does not offer the defence.
    """
    if defence not in bundle.manifest.defences:
        raise UsageError(
            f"Model {bundle.name} version {bundle.version} does not offer the defence {defence!r}.",
            hint=f"It offers: {', '.join(bundle.manifest.defences)}.",
        )
    if defence != "none":
        return TransformedOnnxOracle(bundle, defence, threads=threads)
    if FEATURES in bundle.manifest.files:
        return CentredOnnxOracle(bundle, threads=threads)
    return OnnxOracle(bundle, threads=threads)


def _read_centres(bundle: Bundle) -> np.ndarray:
    """The head's centres, (classes, d), from the weights file: what its header says lies where it says."""
    with bundle.path(WEIGHTS).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length)).get("head.centres")
        if entry is None or entry["dtype"] != "F32":
            raise ManifestError(f"{bundle.path(WEIGHTS)} holds no class centres.")
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        values = np.frombuffer(file.read(end - start), dtype="<f4")
    return values.reshape(entry["shape"]).astype(np.float32)
