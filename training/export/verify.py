"""Exported graphs held against the network that they came from, before anybody gets to see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdfast.attacks.loss import MINIMUM_CLASSES, Loss
from holdfast.attacks.torch_losses import attack_loss
from holdfast.manifest import Parity
from training.errors import ExportError, GradientError
from training.models import Network

if TYPE_CHECKING:
    import onnxruntime as ort

BATCH_SIZES = (1, 2, 7, 32)
#: Of images with more values than this, smaller batches are compared: an export should take minutes.
LARGE, LARGE_BATCH_SIZES = 3 * 64 * 64, (1, 2, 5)
_KINDS = ("random", "real")
#: Largest difference of a logit, for logits up to 100; of larger ones that share of the largest.
LOGITS = 1e-4
#: Largest difference of a loss from the loss of the graph's own logits, over the loss or 1 if that is more.
LOSSES = 1e-4
#: Largest difference of a gradient over the image's largest, of the image in the middle. Not of every image:
#: where a ReLU's input is 0 but for rounding, two right gradients differ.
GRADIENT = 1e-3
#: Least share of equal signs among the gradients that are not negligible.
SIGNS = 0.999
#: What is negligible: this share of the image's largest gradient, or of its gradient's rounding error, which
#: is that of logits times what they do to the margin.
_SMALL, _ROUNDING = 1e-3, 1e-4
#: In batches up to this size every loss is compared, in others two.
_ALL_LOSSES_UP_TO, _LARGE_ALL_LOSSES_UP_TO = 7, 1


def batch_sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of the batches that are compared, of images of this shape."""
    return LARGE_BATCH_SIZES if math.prod(shape) > LARGE else BATCH_SIZES


def comparisons(shape: tuple[int, ...]) -> int:
    """How many batches are compared."""
    return len(batch_sizes(shape)) * len(_KINDS)


def verify(
    network: Network,
    predict: Path,
    gradient: Path | None,
    calibration: np.ndarray,
    *,
    seed: int = 0,
    before_batch: Callable[[], None] = lambda: None,
) -> Parity:
    """Compare both graphs with eager torch, on random and on real images and in batches of several sizes.

    Args:
        network: In eval mode, on the CPU.
        predict: The graph of the logits.
        gradient: The graph of logits, losses and gradients; None where there is to be none.
        calibration: Real images (n, c, h, w), float32 in [0, 1]; taken in turn where there are few.
        seed: Of the random images, and of all labels and targets.
        before_batch: Called before each of the :func:`comparisons` batches.

    Returns:
        The largest differences that were seen.

    Raises:
        ExportError: A graph does not compute what the network does; a :class:`GradientError` where it is the
            gradient alone.
    """
    predicting = open_graph(predict)
    differentiating = None if gradient is None else open_graph(gradient)
    large = math.prod(calibration.shape[1:]) > LARGE
    all_losses_up_to = _LARGE_ALL_LOSSES_UP_TO if large else _ALL_LOSSES_UP_TO
    seen = _Seen(batch_sizes(calibration.shape[1:]))
    for batch in _batches(calibration, network.classes, np.random.default_rng(seed)):
        before_batch()
        reference = _Reference(network, batch, differentiable=differentiating is not None)
        (logits,) = predicting.run(["logits"], {"images": batch.images})
        seen.logits(reference.logits, logits, "predict.onnx", batch)
        if differentiating is None:
            continue
        for loss in (
            Loss if len(batch.images) <= all_losses_up_to else (Loss.CROSS_ENTROPY, Loss.TARGETED_MARGIN)
        ):
            answer = differentiating.run(["logits", "losses", "gradient"], batch.feed(loss))
            seen.logits(reference.logits, answer[0], "gradient.onnx", batch)
            if network.classes < MINIMUM_CLASSES.get(loss, 2):
                seen.nothing(loss, answer[1])
            else:
                seen.losses(loss, answer[0], answer[1], batch)
                seen.gradient(loss, reference.gradient(loss), reference.scale, answer[2])
    return seen.verdict(differentiating is not None)


@dataclass(frozen=True)
class _Batch:
    """Images with a class to leave and another to reach for each."""

    kind: str
    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray

    def feed(self, loss: Loss) -> dict[str, np.ndarray]:
        return {
            "images": self.images,
            "labels": self.labels,
            "targets": self.targets,
            "loss": np.asarray(loss.id, dtype=np.int64),
        }


def _batches(calibration: np.ndarray, classes: int, random: np.random.Generator) -> Iterator[_Batch]:
    position = 0
    for size in batch_sizes(calibration.shape[1:]):
        for kind in _KINDS:
            if kind == "random":
                images = random.random((size, *calibration.shape[1:]), dtype=np.float32)
            else:
                images = calibration[np.arange(position, position + size) % len(calibration)]
                position += size
            labels = random.integers(classes, size=size)
            targets = (labels + random.integers(1, classes, size=size)) % classes
            yield _Batch(kind, np.ascontiguousarray(images, dtype=np.float32), labels, targets)


class _Reference:
    """What eager torch answers for a batch: one forward pass, and a backward pass for each loss asked for."""

    def __init__(self, network: Network, batch: _Batch, *, differentiable: bool) -> None:
        self._images = torch.from_numpy(batch.images).requires_grad_(differentiable)
        self._labels, self._targets = torch.from_numpy(batch.labels), torch.from_numpy(batch.targets)
        with torch.set_grad_enabled(differentiable):
            self._logits = network(self._images)
        self.logits = self._logits.detach().numpy()
        if not differentiable:
            return
        #: (n,), the largest gradient of each image's margin: the size of what a change of the logits does.
        self.scale = np.abs(self.gradient(Loss.MARGIN)).max(axis=(1, 2, 3))

    def gradient(self, loss: Loss) -> np.ndarray:
        with torch.enable_grad():
            losses = attack_loss(self._logits, self._labels, loss, self._targets if loss.targeted else None)
            (gradient,) = torch.autograd.grad(losses.sum(), self._images, retain_graph=True)
        return np.asarray(gradient.numpy())


class _Seen:
    """The differences so far; each method refuses what no difference of rounding explains."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes
        self._logits = 0.0
        self._images = 0
        self._equal = self._compared = 0
        self._gradients: list[float] = []

    def logits(self, expected: np.ndarray, found: np.ndarray, graph: str, batch: _Batch) -> None:
        if graph == "predict.onnx":
            self._images += len(expected)
        difference = _largest(expected, found)
        allowed = LOGITS * max(1.0, float(np.abs(expected).max()) / 100)
        if not difference <= allowed:  # so written, a difference that is not a number is refused too
            _refuse(
                f"{graph} gives logits that differ from the network's by {difference:.3g} on "
                f"{batch.kind} images in a batch of {len(batch.images)}; at most {allowed:.3g} is allowed"
            )
        self._logits = max(self._logits, difference)

    def losses(self, loss: Loss, logits: np.ndarray, found: np.ndarray, batch: _Batch) -> None:
        # Of the graph's own logits: a loss may magnify rounding, and here its formula is judged.
        expected = attack_loss(
            torch.from_numpy(logits),
            torch.from_numpy(batch.labels),
            loss,
            torch.from_numpy(batch.targets) if loss.targeted else None,
        ).numpy()
        difference = _largest(
            expected / np.maximum(1, np.abs(expected)), found / np.maximum(1, np.abs(expected))
        )
        if not difference <= LOSSES:
            _refuse(
                f"gradient.onnx gives losses {loss.label!r} that differ from the formula's by "
                f"{difference:.3g}; at most {LOSSES:g} is allowed"
            )

    def gradient(self, loss: Loss, expected: np.ndarray, scale: np.ndarray, found: np.ndarray) -> None:
        if expected.shape != found.shape or not np.isfinite(found).all():
            _refuse(
                f"gradient.onnx gives gradients of {loss.label!r} that are of no use: {found.shape}",
                GradientError,
            )
        largest = np.abs(expected).max(axis=(1, 2, 3), keepdims=True)
        rounding = _ROUNDING * scale[:, None, None, None]
        matters = np.abs(expected) > np.maximum(_SMALL * largest, rounding)
        self._compared += int(matters.sum())
        self._equal += int((np.sign(expected) == np.sign(found))[matters].sum())
        over = np.maximum(largest, np.maximum(rounding, np.finfo(np.float32).tiny))
        self._gradients += (np.abs(expected - found) / over).max(axis=(1, 2, 3)).tolist()

    def nothing(self, loss: Loss, found: np.ndarray) -> None:
        if not np.isnan(found).all():
            _refuse(f"gradient.onnx gives losses {loss.label!r}, for which the network has too few classes")

    def verdict(self, differentiable: bool) -> Parity:
        if not differentiable:
            return Parity(
                images=self._images,
                batch_sizes=list(self._sizes),
                logits=self._logits,
                gradient=None,
                gradient_sign=None,
            )
        share = self._equal / self._compared if self._compared else 1.0
        middle = float(np.median(self._gradients))
        if share < SIGNS:
            _refuse(
                f"gradient.onnx agrees with autograd on the sign of {share:.2%} of the gradients that are "
                f"not negligible; it must on {SIGNS:.1%}",
                GradientError,
            )
        if not middle <= GRADIENT:
            _refuse(
                f"gradient.onnx gives gradients that differ from autograd's by {middle:.3g} of the image's "
                f"largest, in the middle of all images; at most {GRADIENT:g} is allowed",
                GradientError,
            )
        return Parity(
            images=self._images,
            batch_sizes=list(self._sizes),
            logits=self._logits,
            gradient=max(self._gradients),
            gradient_sign=share,
        )


def _largest(expected: np.ndarray, found: np.ndarray) -> float:
    return float(np.abs(expected - found).max()) if expected.shape == found.shape else float("inf")


def _refuse(reason: str, kind: type[ExportError] = ExportError) -> None:
    raise kind(
        f"The export is refused: {reason}.",
        hint="Nothing was written. Most likely a branch of the network depends on its input's values or on "
        "the length of the batch, which no graph can; if not, please report it with the architecture.",
    )


def open_graph(path: Path) -> ort.InferenceSession:
    """A session of a graph on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
