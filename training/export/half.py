"""Weights rounded to float16, and the network that they make held against the one that was trained.

Kernels and matrices are rounded: 99.5 % of the bytes of a WRN-16-2. Vectors (biases, batch norm) and buffers
(normalisation, class centres) stay float32: they are the other 0.5 %, and rounding them too would move the
logits of ``pgd-at-cifar10`` three times as far (docs/architecture.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.manifold import classify_transformed
from holdfast.precision import AttackedPrecision, BeforeAfter, Precision
from training.errors import ExportError
from training.export.facts import Facts
from training.export.held_out import HeldOut
from training.models import Network
from training.models.defended import DefendedNetwork

#: How a bundle's weights are stored.
Weights = Literal["float32", "float16"]
#: The largest share of images that may be given another class, or be lost, clean or under attack. One image
#: alone is never too many, however few there are.
WORST = 0.005
#: PGD's steps, and the most images that it attacks: a look at whether robustness survived, not its figure.
_STEPS, _ATTACKED = 10, 400
_BATCH = 100


@dataclass(frozen=True)
class Rounded:
    """A network whose weights are those of another, rounded.

    Attributes:
        network: It computes in float32.
        halved: The names of the tensors that are float16's numbers.
        share: Of the other network's numbers that were rounded.
    """

    network: Network
    halved: frozenset[str]
    share: float


def round_to_half(network: Network) -> Rounded:
    """A copy of a network with its kernels and matrices rounded to float16's nearest numbers.

    Raises:
        ExportError: A weight is larger than float16 can tell.
    """
    rounded = copy.deepcopy(network)
    halved = {name: tensor for name, tensor in rounded.named_parameters() if tensor.dim() >= 2}
    with torch.no_grad():
        for name, tensor in halved.items():
            half = tensor.half()
            if not torch.isfinite(half).all():
                raise ExportError(
                    f"The weights cannot be stored as float16: {name} has values up to "
                    f"{tensor.abs().max().item():.3g}, and float16 ends at "
                    f"{torch.finfo(torch.float16).max:.0f}.",
                    hint="Export it with --precision float32.",
                )
            tensor.copy_(half)
    numbers = sum(tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point())
    share = sum(tensor.numel() for tensor in halved.values()) / numbers
    return Rounded(rounded, frozenset(halved), share)


def compare(
    original: Network, rounded: Rounded, images: np.ndarray, held_out: HeldOut | None, facts: Facts
) -> Precision:
    """Hold the rounded network against the one that it was made of.

    Args:
        original: In eval mode, on the CPU.
        rounded: Made of it.
        images: Real images (n, c, h, w), float32 in [0, 1], for where there are none with labels.
        held_out: Images with labels, on which accuracies are compared too: clean, behind each defence, and of
            the first few under PGD within the threat model.
        facts: For the threat model and IMT's step.

    Raises:
        ExportError: The rounded network is not as good: more than :data:`WORST` of the images are given
            another class, or are lost.
    """
    chosen = torch.from_numpy(np.ascontiguousarray(images if held_out is None else held_out.images))
    labels = None if held_out is None else torch.from_numpy(held_out.labels)
    both = (original, rounded.network)
    before, after = (_answers(network, chosen) for network in both)
    difference = (before - after).abs().max().item()
    if not math.isfinite(difference):
        raise ExportError("The export is refused: the network's logits are not finite on real images.")
    found = Precision(
        weights="float16",
        share=rounded.share,
        images=len(chosen),
        logits=difference,
        changed=(before.argmax(1) != after.argmax(1)).double().mean().item(),
    )
    if labels is not None:
        measured: dict[str, object] = {"accuracy": (_accuracy(before, labels), _accuracy(after, labels))}
        if isinstance(original, DefendedNetwork) and facts.imt is not None:
            epsilon = facts.imt.epsilon
            measured["defended"] = {
                defence: tuple(
                    _accuracy(_answers(_behind(network, epsilon, halved), chosen), labels) for network in both
                )
                for defence, halved in (("imt", None), ("imt+", facts.imt.halved))
            }
        if facts.threat_model.epsilon:
            measured["attacked"] = _attack(both, chosen[:_ATTACKED], labels[:_ATTACKED], facts)
        found = found.model_copy(update=measured)
    demand_as_good(found)
    return found


@torch.no_grad()
def _answers(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    starts = range(0, len(images), _BATCH)
    return torch.cat([function(images[start : start + _BATCH]) for start in starts])


def _behind(
    network: Network, epsilon: float, halved: tuple[float, float] | None
) -> Callable[[Tensor], Tensor]:
    return lambda images: classify_transformed(network, images, epsilon=epsilon, halved=halved)[0]


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def _attack(both: tuple[Network, Network], images: Tensor, labels: Tensor, facts: Facts) -> AttackedPrecision:
    """The same attack with the same noise on each network."""
    threat = facts.threat_model
    parameters = PGDParameters(norm=threat.norm, epsilon=threat.epsilon, steps=_STEPS)
    before, after = (
        (~attack(TorchOracle(network, network.classes), images, labels, parameters).success).double().mean()
        for network in both
    )
    return AttackedPrecision(steps=_STEPS, images=len(images), accuracy=(before.item(), after.item()))


def demand_as_good(found: Precision) -> None:
    """Refuse a rounded network that is not the one that was trained.

    Raises:
        ExportError: More than :data:`WORST` of the images are given another class, or are lost.
    """
    figures = list(_figures(found))
    if all(round(lost * images) <= max(1.0, WORST * images) for lost, images, _ in figures):
        return
    raise ExportError(
        "The export is refused: with its weights rounded to float16 the network is not the one that was "
        f"trained. {'; '.join(text for _, _, text in figures)}; logits differ by up to {found.logits:.3g}. "
        f"At most {WORST:.1%} of the images may be lost.",
        hint="Nothing was written. Export it with --precision float32.",
    )


def _figures(found: Precision) -> Iterator[tuple[float, int, str]]:
    """The share of images lost, of how many, and what that says, for each thing compared."""
    yield found.changed, found.images, f"{found.changed:.2%} of {found.images} images change their class"
    if found.accuracy is not None:
        yield _fall("accuracy", found.accuracy, found.images)
    for defence, accuracy in found.defended.items():
        yield _fall(f"accuracy behind {defence}", accuracy, found.images)
    if found.attacked is not None:
        name = f"accuracy under PGD-{found.attacked.steps}"
        yield _fall(name, found.attacked.accuracy, found.attacked.images)


def _fall(name: str, accuracy: BeforeAfter, images: int) -> tuple[float, int, str]:
    before, after = accuracy
    return before - after, images, f"{name} goes from {before:.2%} to {after:.2%} of {images}"
