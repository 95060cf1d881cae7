"""The graphs of defended networks held against torch, before anybody gets to see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from holdfast.manifest import TransformationParity
from holdfast.manifold import classify_transformed
from training.errors import ExportError
from training.export.verify import BATCH_SIZES, open_graph
from training.models import Network
from training.models.defended import DefendedNetwork

#: Largest difference of a manifold score, of a feature over the largest, and of a gradient over the image's
#: largest, of the image in the middle.
_CLOSE = 1e-3
#: A logit this near is the same. The image in the middle must be; of the rest see TransformationParity.
_LOGITS = 1e-4


def verify_transformation(
    network: DefendedNetwork,
    path: Path,
    calibration: np.ndarray,
    *,
    epsilon: float,
    halved: tuple[float, float] | None,
) -> TransformationParity:
    """Compare ``predict_imt.onnx`` or ``predict_imt_plus.onnx`` with autograd torch, in batches of all sizes.

    Args:
        network: In eval mode, on the CPU.
        path: The graph.
        calibration: Real images (n, c, h, w), float32 in [0, 1].
        epsilon: The step.
        halved: Scores between which it is halved.

    Raises:
        ExportError: The graph does not compute what torch does.
    """
    session = open_graph(path)
    differences: list[np.ndarray] = []
    for images in _batches(calibration):
        logits, scores, steps = session.run(["logits", "manifold", "step"], {"images": images})
        with torch.no_grad():
            expected, found = classify_transformed(
                network, torch.from_numpy(images), epsilon=epsilon, halved=halved
            )
        reference = torch.sigmoid(found.logit).numpy()
        _demand(np.abs(scores - reference).max() <= _CLOSE, path, "gives manifold scores that differ")
        near = np.zeros(len(images), dtype=bool)
        for threshold in halved or ():
            near |= np.abs(reference - threshold) < _CLOSE
        _demand(
            np.allclose(steps[~near], found.step.numpy()[~near]), path, "moves images by steps that differ"
        )
        differences.append(np.abs(logits - expected.numpy()).max(axis=1)[~near])
    every = np.concatenate(differences)
    scale = max(1.0, float(np.abs(expected.numpy()).max()) / 100)
    median = float(np.median(every))
    _demand(median <= _LOGITS * scale, path, f"gives logits that differ by {median:.2g} in the middle")
    return TransformationParity(
        images=len(every),
        median=median,
        largest=float(every.max()),
        within=float((every <= _LOGITS).mean()),
    )


def verify_manifold(network: DefendedNetwork, path: Path, calibration: np.ndarray) -> None:
    """Compare ``manifold.onnx`` with autograd.

    Raises:
        ExportError: The graph does not compute what torch does.
    """
    session = open_graph(path)
    differences: list[np.ndarray] = []
    for images in _batches(calibration):
        logit, gradient = session.run(["logit", "gradient"], {"images": images})
        with torch.enable_grad():
            leaf = torch.from_numpy(images).requires_grad_()
            expected = network.manifold_logit(leaf)
            (reference,) = torch.autograd.grad(expected.sum(), leaf)
        _demand(_near(logit, expected.detach().numpy()), path, "gives manifold logits that differ")
        differences.append(_gradient_differences(gradient, reference.numpy()))
    _demand_gradients(differences, path)


def verify_features(network: Network, path: Path, calibration: np.ndarray) -> None:
    """Compare ``features.onnx`` with autograd.

    Raises:
        ExportError: The graph does not compute what torch does.
    """
    session = open_graph(path)
    random = np.random.default_rng(0)
    differences: list[np.ndarray] = []
    for images in _batches(calibration):
        slope = random.normal(size=(len(images), network.width)).astype(np.float32)
        features, gradient = session.run(["features", "gradient"], {"images": images, "slope": slope})
        with torch.enable_grad():
            leaf = torch.from_numpy(images).requires_grad_()
            expected = network.features(leaf)
            (reference,) = torch.autograd.grad((expected * torch.from_numpy(slope)).sum(), leaf)
        _demand(_near(features, expected.detach().numpy()), path, "gives features that differ")
        differences.append(_gradient_differences(gradient, reference.numpy()))
    _demand_gradients(differences, path)


def _batches(calibration: np.ndarray) -> list[np.ndarray]:
    """Random and real images, in batches of several sizes."""
    random = np.random.default_rng(1)
    shape = calibration.shape[1:]
    drawn = [random.random((size, *shape), dtype=np.float32) for size in BATCH_SIZES]
    real = [calibration[np.arange(size) % len(calibration)] for size in BATCH_SIZES]
    return [np.ascontiguousarray(images, dtype=np.float32) for images in (*drawn, *real)]


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= _CLOSE * max(1.0, float(np.abs(expected).max())))


def _gradient_differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n,), each image's largest difference over its largest gradient."""
    largest = np.maximum(np.abs(expected).max(axis=(1, 2, 3)), np.finfo(np.float32).tiny)
    differences: np.ndarray = np.abs(found - expected).max(axis=(1, 2, 3)) / largest
    return differences


def _demand_gradients(differences: list[np.ndarray], path: Path) -> None:
    """In the middle of all images: where a ReLU's input is 0 but for rounding, two right gradients differ.

    So they do where pooling has to choose among equal values, as on the blank ground of a scanned digit.
    """
    middle = float(np.median(np.concatenate(differences)))
    held = middle <= _CLOSE  # so written, a difference that is not a number is refused too
    _demand(held, path, f"gives gradients that differ by {middle:.2g} of the image's largest in the middle")


def _demand(held: bool | np.bool_, path: Path, complaint: str) -> None:
    if not held:
        raise ExportError(
            f"The export is refused: {path.name} {complaint} from those of the network in torch.",
            hint="Nothing was written. Please report it with the architecture.",
        )
