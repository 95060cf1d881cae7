"""The papers' toy figures, drawn by the methods themselves (FS Fig. 2; ATLD Figs. 1, 4, 6 and 7).

What each caption claims is also measured, so that a reader need not trust the eye alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.ball import LInfBall
from holdfast.attacks.noise import TorchNoise
from holdfast.attacks.pgd import ascend
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.manifold import transform
from training.figures import style
from training.figures.toy_data import EPSILON, Points, Trained, grid, moons, train
from training.models.network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = style.COLOURS[:2]
_STEPS = 1500
_JUDGE: dict[str, Any] = {"discriminator": "mlp-2-64", "discriminator_learning_rate": 0.02}
_ATLD: dict[str, Any] = {"epsilon": EPSILON, "label_smoothing": 0.2, **_JUDGE}

#: Called with the figures drawn so far and their number.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """One claim of a caption, and what was measured here.

    Attributes:
        figure: E.g. ``ATLD Fig. 6``.
        claim: What the paper says that it shows.
        measured: What is seen here, in numbers.
        holds: Whether that is what the paper says.
    """

    figure: str
    claim: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class _Models:
    """All that the figures need."""

    data: Points
    standard: Trained
    pgd: Trained
    scattering: Trained
    atld: Trained
    #: ATLD's discriminator of the standard network's features, which stay what they are.
    judged: Trained


def draw(
    directory: Path, *, seed: int = 0, steps: int = _STEPS, progress: Progress = lambda *_: None
) -> list[Finding]:
    """Draw every figure as PNG and SVG.

    Args:
        directory: Where to; it is made where it is not there.
        seed: Of the points, the weights and the noise.
        steps: Of each training.
        progress: Called after each step of the work.

    Returns:
        What the captions claim, and what was measured.
    """
    directory.mkdir(parents=True, exist_ok=True)
    parts = (_perturbations, _boundaries, _inference, _fields)
    total = 5 + len(parts)
    models = _train(seed, steps, lambda done: progress(done, total))
    findings = []
    for index, part in enumerate(parts):
        findings += part(models, directory, seed)
        progress(6 + index, total)
    return findings


def _train(seed: int, steps: int, progress: Callable[[int], None]) -> _Models:
    data = moons(400, seed)
    standard = train("standard", data, steps=steps, seed=seed)
    progress(1)
    pgd = train("pgd-at", data, steps=steps, seed=seed, epsilon=EPSILON, step_size=EPSILON / 4)
    progress(2)
    scattering = train(
        "feature-scattering", data, steps=steps, seed=seed, epsilon=EPSILON, label_smoothing=0.2
    )
    progress(3)
    atld = train("atld", data, steps=steps, seed=seed, **_ATLD)
    progress(4)
    judged = train("atld", data, steps=steps, seed=seed, network=standard.network, **_ATLD)
    progress(5)
    return _Models(data, standard, pgd, scattering, atld, judged)


def _moved(models: _Models, images: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
    """The points, perturbed by each scheme against the network that was trained on clean data."""
    network = models.standard.network
    noise = TorchNoise(torch.Generator().manual_seed(seed))
    oracle, region = TorchOracle(network, 2), LInfBall(EPSILON)
    scattering: Any = models.scattering.method
    judged: Any = models.judged.method
    return {
        "supervised (PGD)": ascend(oracle, images, images, labels, region, steps=10, step_size=EPSILON / 4),
        "feature scattering": _groups(lambda x, y: scattering.perturb(network, x, y, noise), images, labels),
        "ATLD": judged.perturb(network, images, noise),
    }


def _groups(perturb: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """In batches, as in training: matching ties the points of a batch together."""
    pairs = zip(torch.split(images, 60), torch.split(labels, 60), strict=True)
    return torch.cat([perturb(x, y) for x, y in pairs])


def _perturbations(models: _Models, directory: Path, seed: int) -> list[Finding]:
    data, network = models.data, models.standard.network
    moved = _moved(models, data.images, data.labels, seed)
    figure, axes = _figure(4)
    _boundary(axes[0], network, "original data")
    _scatter(axes[0], data.coordinates(), data.labels)
    for axis, (name, images) in zip(axes[1:], moved.items(), strict=True):
        _boundary(axis, network, name)
        _scatter(axis, images[:, :, 0, 0].numpy(), data.labels)
    style.save(figure, directory, "toy-perturbations")
    towards = {name: _towards_boundary(network, data, images) for name, images in moved.items()}
    crossed = {name: _accuracy(network, images, data.labels) for name, images in moved.items()}
    supervised, scattered, ours = towards.values()
    shown = ", ".join(f"{name} {share:.0%}" for name, share in towards.items())
    kept = ", ".join(f"{name} {share:.0%}" for name, share in crossed.items())
    return [
        Finding(
            "FS Fig. 2",
            "Supervised perturbations are biased towards the decision boundary, feature scattering's less.",
            f"Share of points moved towards the boundary: {shown}.",
            supervised > scattered + 0.05,
        ),
        Finding(
            "ATLD Fig. 1",
            "PGD's perturbed points are biased towards the boundary and corrupt the classes most, feature "
            "scattering's less, ATLD's least.",
            f"Share of points still on their side: {kept}; moved towards the boundary: {shown}.",
            supervised > scattered > ours and list(crossed.values()) == sorted(crossed.values()),
        ),
    ]


def _boundaries(models: _Models, directory: Path, seed: int) -> list[Finding]:
    networks = {
        "clean data": models.standard.network,
        "PGD": models.pgd.network,
        "feature scattering": models.scattering.network,
        "ATLD": models.atld.network,
    }
    test = moons(1000, seed + 1)
    figure, axes = _figure(4)
    clean, robust = {}, {}
    for axis, (name, network) in zip(axes, networks.items(), strict=True):
        _boundary(axis, network, f"trained with {name}")
        _scatter(axis, models.data.coordinates(), models.data.labels)
        clean[name] = _accuracy(network, test.images, test.labels)
        parameters = PGDParameters(epsilon=EPSILON, steps=20, step_size=EPSILON / 8, loss="cw")
        held = ~attack(TorchOracle(network, 2), test.images, test.labels, parameters).success
        robust[name] = held.float().mean().item()
    style.save(figure, directory, "toy-boundaries")
    numbers = ", ".join(f"{name} {clean[name]:.1%} and {robust[name]:.1%}" for name in networks)
    return [
        Finding(
            "ATLD Fig. 4",
            "PGD's and feature scattering's boundaries differ much from that of clean data and corrupt the "
            "data's shape; ATLD's is smooth and keeps it.",
            f"Accuracy on 1,000 fresh points, clean and under PGD-20 on the margin: {numbers}.",
            clean["ATLD"] >= clean["feature scattering"] and clean["feature scattering"] >= clean["PGD"],
        )
    ]


def _inference(models: _Models, directory: Path, seed: int) -> list[Finding]:
    from training.models.defended import DefendedNetwork

    network = models.atld.method.exported(models.atld.network).eval()
    assert isinstance(network, DefendedNetwork)  # noqa: S101 (what ATLD exports)
    test = moons(400, seed + 2)
    oracle = TorchOracle(network, 2)
    parameters = PGDParameters(epsilon=EPSILON, steps=20, step_size=EPSILON / 8, stop_at_success=False)
    attacked = attack(oracle, test.images, test.labels, parameters).images
    adjusted = transform(network.manifold_logit, attacked, epsilon=EPSILON).images
    clean_adjusted = transform(network.manifold_logit, test.images, epsilon=EPSILON).images
    panels = {"clean": test.images, "attacked by PGD": attacked, "after IMT": adjusted}
    figure, axes = _figure(3)
    for axis, (name, images) in zip(axes, panels.items(), strict=True):
        _boundary(axis, network, name)
        _scatter(axis, images[:, :, 0, 0].numpy(), test.labels)
    style.save(figure, directory, "toy-imt")
    shares = {name: _accuracy(network, images, test.labels) for name, images in panels.items()}
    shares["clean after IMT"] = _accuracy(network, clean_adjusted, test.labels)
    scores = {
        name: torch.sigmoid(network.manifold_logit(images)).mean().item() for name, images in panels.items()
    }
    return [
        Finding(
            "ATLD Fig. 6",
            "PGD pushes points towards or over the boundary; IMT pushes them back to the natural manifold.",
            "Accuracy: "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            + ". Mean score "
            "P(adversarial): " + ", ".join(f"{name} {score:.2f}" for name, score in scores.items()) + ".",
            shares["after IMT"] > shares["attacked by PGD"],
        )
    ]


def _fields(models: _Models, directory: Path, seed: int) -> list[Finding]:
    network = models.standard.network
    points = grid(21, 0.1, 0.9)
    with torch.no_grad():
        labels = network(points).argmax(1)
    moved = _moved(models, points, labels, seed)
    figure, axes = _figure(3)
    spread = {}
    for axis, (name, images) in zip(axes, moved.items(), strict=True):
        _boundary(axis, network, name)
        start, end = points[:, :, 0, 0].numpy(), images[:, :, 0, 0].numpy()
        arrows = end - start
        axis.quiver(*start.T, *arrows.T, angles="xy", scale_units="xy", scale=2, width=0.003, color=style.INK)
        directions = np.sign(np.round(arrows, 4))
        spread[name] = len(np.unique(directions, axis=0))
    style.save(figure, directory, "toy-fields")
    towards = {
        name: _towards_boundary(network, Points(points, labels), images) for name, images in moved.items()
    }
    shown = ", ".join(f"{name} {share:.0%}" for name, share in towards.items())
    shares = list(towards.values())
    return [
        Finding(
            "ATLD Fig. 7",
            "Most of PGD's and many of feature scattering's perturbations point to the decision boundary; "
            "ATLD's do not.",
            f"Share of a grid's points that are moved towards the boundary: {shown}.",
            shares[0] > shares[1] > shares[2],
        )
    ]


def _towards_boundary(network: Network, data: Points, moved: Tensor) -> float:
    """The share of points whose margin, in logits, is smaller after the move."""
    with torch.no_grad():
        before, after = network(data.images), network(moved)
    own = torch.arange(len(data.labels)), data.labels
    other = torch.arange(len(data.labels)), 1 - data.labels
    return float(((after[own] - after[other]) < (before[own] - before[other])).float().mean())


def _accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def _figure(panels: int) -> tuple[Any, list[Axes]]:
    figure, axes = style.new_figure(nrows=1, ncols=panels, figsize=(3.2 * panels, 3.5))
    return figure, list(axes)


def _boundary(axis: Axes, network: Network, title: str) -> None:
    side = 200
    with torch.no_grad():
        logits = network(grid(side))
    margin = (logits[:, 1] - logits[:, 0]).reshape(side, side).numpy()
    line = np.linspace(0, 1, side)
    axis.contourf(line, line, margin, levels=[-1e9, 0, 1e9], colors=_COLOURS, alpha=0.18)
    axis.contour(line, line, margin, levels=[0], colors=style.INK, linewidths=1.2)
    axis.set(title=title, xlim=(0, 1), ylim=(0.12, 0.88), xticks=[], yticks=[], aspect="equal")


def _scatter(axis: Axes, points: np.ndarray, labels: Tensor) -> None:
    for label, (colour, marker) in enumerate(zip(_COLOURS, "o^", strict=True)):
        chosen = points[labels.numpy() == label]
        axis.scatter(chosen[:, 0], chosen[:, 1], s=9, c=colour, marker=marker, linewidths=0)
