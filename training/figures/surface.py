"""The loss around one image: along the gradient's signs and along random signs (FS Fig. 4).

    L(clip(x + a d_a + b d_r), y),   d_a = sign ∇ₓ L(x, y),   d_r ~ Rademacher,   |a|, |b| ≤ ε

In L2 both directions have length 1. Losses and the gradient are the bundle's own: ``gradient.onnx``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from holdfast.attacks import Oracle
from holdfast.attacks.loss import Loss
from holdfast.manifest import ThreatModel
from training.figures import style
from training.figures.words import budget, in_units, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BATCH = 64
#: One hue from light to dark, so that more loss is darker also without colours.
_MAP = "Blues"


@dataclass(frozen=True)
class Surface:
    """The loss of one bundle on a square grid.

    Attributes:
        bundle: Its name.
        predicted: The class that it gives the image itself.
        loss: At the image itself.
        along_gradient: a at each column, in image units.
        along_random: b at each row.
        losses: Cross-entropy in nats, rows by b and columns by a.
        margins: z_y − max of the other logits at each point: below 0 the model is wrong.
    """

    bundle: str
    predicted: str
    loss: float
    along_gradient: list[float]
    along_random: list[float]
    losses: list[list[float]]
    margins: list[list[float]]


@dataclass(frozen=True)
class Surfaces:
    """All that one figure shows: the same image and the same random direction for every bundle.

    Attributes:
        dataset: The data set.
        image: The number of the test image, from 0.
        label: Its class.
        norm: Of the budget.
        epsilon: Of the same.
        seed: Of the random direction.
        panels: One for each bundle.
    """

    dataset: str
    image: int
    label: str
    norm: str
    epsilon: float
    seed: int
    panels: list[Surface]


def measure(
    oracle: Oracle,
    image: np.ndarray,
    label: int,
    threat: ThreatModel,
    *,
    bundle: str,
    names: Sequence[str],
    side: int = 31,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Surface:
    """The loss around an image.

    Args:
        oracle: The model.
        image: (c, h, w), float32 in [0, 1].
        label: Its class.
        threat: How far to go, and in which norm.
        bundle: The model's name.
        names: Of the classes.
        side: Points along each direction; an odd number has the image itself in the middle.
        seed: Of the random direction.
        progress: Called with the points that were done since the last call.
    """
    one, labels = image[None], np.array([label])
    first = oracle.gradient(one, labels, Loss.CROSS_ENTROPY)
    towards = _direction(np.asarray(first.gradient)[0], threat)
    signs = np.random.default_rng(seed).integers(0, 2, image.shape) * 2.0 - 1.0
    aside = _direction(signs, threat)
    steps = np.linspace(-threat.epsilon, threat.epsilon, side)
    b, a = (axis.reshape(-1, 1, 1, 1) for axis in np.meshgrid(steps, steps, indexing="ij"))
    losses, margins = [], []
    for start in range(0, side * side, _BATCH):
        rows = slice(start, start + _BATCH)
        moved = np.clip(one + a[rows] * towards + b[rows] * aside, 0, 1).astype(np.float32)
        answer = oracle.gradient(moved, np.repeat(labels, len(moved)), Loss.CROSS_ENTROPY)
        losses.append(np.asarray(answer.loss))
        margins.append(_margins(np.asarray(answer.logits), label))
        progress(len(moved))
    return Surface(
        bundle=bundle,
        predicted=names[int(np.asarray(first.logits)[0].argmax())],
        loss=float(np.asarray(first.loss)[0]),
        along_gradient=steps.tolist(),
        along_random=steps.tolist(),
        losses=np.concatenate(losses).astype(float).reshape(side, side).tolist(),
        margins=np.concatenate(margins).astype(float).reshape(side, side).tolist(),
    )


def _direction(vector: np.ndarray, threat: ThreatModel) -> np.ndarray:
    length = max(float(np.linalg.norm(vector)), 1e-12)
    found: np.ndarray = np.sign(vector) if threat.norm == "linf" else vector / length
    return found


def _margins(logits: np.ndarray, label: int) -> np.ndarray:
    found: np.ndarray = logits[:, label] - np.delete(logits, label, axis=1).max(1)
    return found


def draw(surfaces: Surfaces, directory: Path, name: str) -> None:
    """Write the figure and its numbers as NAME.png, .svg, .json and .csv.

    Above, each surface as FS draws it; below, the same from above, with the boundary of the image's class.
    """
    count = len(surfaces.panels)
    figure = style.pyplot().figure(figsize=(3.3 * count + 1.2, 6.8), layout="constrained")
    top = max(max(map(max, panel.losses)) for panel in surfaces.panels)
    limits = (0.0, top if top > 0 else 1.0)
    scale, unit_name = in_units(surfaces.norm, surfaces.epsilon), unit(surfaces.norm, surfaces.epsilon)
    words = ("signs of the gradient", "random signs") if surfaces.norm == "linf" else ("gradient", "random")
    flat = []
    for index, panel in enumerate(surfaces.panels):
        a = np.array(panel.along_gradient) * scale
        b = np.array(panel.along_random) * scale
        losses = np.array(panel.losses)
        solid = figure.add_subplot(2, count, index + 1, projection="3d")
        shades = {"cmap": _MAP, "vmin": limits[0], "vmax": limits[1]}
        solid.plot_surface(*np.meshgrid(a, b), losses, **shades, edgecolor=style.INK, linewidth=0.15)
        solid.set(zlim=limits, xlabel="a", ylabel="b")
        solid.set_box_aspect((4, 4, 3), zoom=1.08)
        solid.tick_params(labelsize=7, pad=0)
        _ticks(solid, surfaces.epsilon * scale, 3)
        solid.view_init(elev=24, azim=-122)
        solid.set_title(f"{panel.bundle}\npredicts {panel.predicted}", fontsize=10)
        above = figure.add_subplot(2, count, count + index + 1)
        mesh = above.pcolormesh(a, b, losses, shading="gouraud", rasterized=True, **shades)
        margins = np.array(panel.margins)
        if margins.min() < 0 < margins.max():
            above.contour(a, b, margins, levels=[0], colors=style.COLOURS[1], linewidths=1.8)
        above.plot(0, 0, marker="o", markersize=5, color="white", markeredgecolor=style.INK)
        above.set(aspect="equal", xlabel=f"a, {words[0]} ({unit_name})")
        above.set_ylabel(f"b, {words[1]} ({unit_name})" if index == 0 else "")
        above.xaxis.label.set_size(8)
        above.yaxis.label.set_size(8)
        above.tick_params(labelsize=8)
        _ticks(above, surfaces.epsilon * scale, 5)
        flat.append(above)
    figure.colorbar(mesh, ax=flat, label="Cross-entropy (nats)", shrink=0.85)
    title = (
        f"Loss around test image {surfaces.image} of {surfaces.dataset}, {surfaces.label}, "
        f"within {budget(surfaces.norm, surfaces.epsilon)}",
        f"circle: the image; orange: where the prediction stops or starts to be {surfaces.label}",
    )
    figure.suptitle("\n".join(fill(line, 16 + 36 * count) for line in title), fontsize=11)
    style.save(figure, directory, name)
    style.save_numbers(directory, name, surfaces, _table(surfaces))


def _ticks(axis: Axes, reach: float, count: int) -> None:
    """The budget at both ends, and nothing that runs into its neighbour."""
    places = np.linspace(-reach, reach, count)
    words = [f"{place:.3g}" for place in places]
    axis.set_xticks(places, words)
    axis.set_yticks(places, words)


def _table(surfaces: Surfaces) -> style.Table:
    return style.Table(
        ("bundle", "along_gradient", "along_random", "loss", "margin"),
        [
            (panel.bundle, a, b, panel.losses[row][column], panel.margins[row][column])
            for panel in surfaces.panels
            for row, b in enumerate(panel.along_random)
            for column, a in enumerate(panel.along_gradient)
        ],
    )
