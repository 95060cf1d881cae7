"""t-SNE of a network's features, of clean images and of the same under attack (MAT Fig. 1, FS-GAN Fig. 3).

As in MAT's figure, clean images are dots coloured by the class that is predicted, images under attack
triangles, once coloured by their true class and once by the predicted one. What the eye sees there MAT's
match rate says in a number (:mod:`training.analysis.match_rate`); it is measured beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.console import format_share
from holdfast.errors import UsageError
from training.analysis.features import Features
from training.analysis.match_rate import Clusters
from training.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: FS-GAN's figure is of logits, MAT's of the features before the last layer.
Of = Literal["features", "logits"]

_FEWEST = 10
_PERPLEXITY = 30.0
_OTHER = "#b8bec6"


@dataclass(frozen=True)
class Embedding:
    """One bundle's images in the plane.

    Attributes:
        bundle: Its name.
        of: What was embedded.
        attack: As a line.
        clean: (n, 2) of the clean images.
        attacked: (n, 2) of the same under attack.
        labels: (n,) true classes.
        predicted: (n,) of the clean images.
        predicted_attacked: (n,) of those under attack.
        accuracy: On the clean images.
        robust: Under the attack.
        match_rate: Of clean images, by the clusters that Ward's method finds in their features.
        match_rate_attacked: Of the images under attack, by the same clusters.
    """

    bundle: str
    of: Of
    attack: str
    clean: list[list[float]]
    attacked: list[list[float]]
    labels: list[int]
    predicted: list[int]
    predicted_attacked: list[int]
    accuracy: float
    robust: float
    match_rate: float
    match_rate_attacked: float


@dataclass(frozen=True)
class Embeddings:
    """All that one figure shows.

    Attributes:
        dataset: The images, in words.
        budget: Of the attack, in words.
        classes: Names.
        seed: Of t-SNE's and the attack's.
        panels: One for each bundle.
    """

    dataset: str
    budget: str
    classes: list[str]
    seed: int
    panels: list[Embedding]


def embed(
    clean: Features,
    attacked: Features,
    labels: NDArray[np.int64],
    *,
    bundle: str,
    attack: str,
    of: Of = "features",
    seed: int = 0,
) -> Embedding:
    """Lay clean images and images under attack out in one plane (van der Maaten & Hinton 2008).

    Args:
        clean: Of n images.
        attacked: Of the same under attack.
        labels: (n,).
        bundle: The model's name.
        attack: Its name.
        of: What to embed.
        seed: Of t-SNE.

    Raises:
        UsageError: There are too few images to find neighbours among.
    """
    from sklearn.manifold import TSNE

    count = len(labels)
    if count < _FEWEST:
        raise UsageError(
            f"t-SNE of {count} images shows nothing.", hint=f"Take {_FEWEST} at least: --images 500"
        )
    parts = (clean.vectors, attacked.vectors) if of == "features" else (clean.logits, attacked.logits)
    vectors = np.concatenate(parts)
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    clusters = Clusters.ward(parts[0], clean.predictions)
    return Embedding(
        bundle=bundle,
        of=of,
        attack=attack,
        clean=plane[:count].astype(float).tolist(),
        attacked=plane[count:].astype(float).tolist(),
        labels=labels.tolist(),
        predicted=clean.predictions.tolist(),
        predicted_attacked=attacked.predictions.tolist(),
        accuracy=float((clean.predictions == labels).mean()),
        robust=float((attacked.predictions == labels).mean()),
        match_rate=clusters.match_rate(parts[0], clean.predictions),
        match_rate_attacked=clusters.match_rate(parts[1], attacked.predictions),
    )


def draw(embeddings: Embeddings, directory: Path, name: str) -> None:
    """Write the figure and its numbers as NAME.png, .svg, .json and .csv: a row for each bundle."""
    rows = len(embeddings.panels)
    figure, axes = style.new_figure(
        nrows=rows, ncols=2, figsize=(10.4, 4.6 * rows + 0.5), squeeze=False, sharex="row", sharey="row"
    )
    shown = _shown(embeddings)
    for row, panel in enumerate(embeddings.panels):
        titles = (
            f"{panel.bundle}: {panel.attack} by true class\n"
            f"right: clean {format_share(panel.accuracy)}, under attack {format_share(panel.robust)}",
            f"{panel.bundle}: {panel.attack} by predicted class\n"
            f"match rate: clean {format_share(panel.match_rate)}, "
            f"under attack {format_share(panel.match_rate_attacked)}",
        )
        named = _places(panel, embeddings.classes, shown)
        for axis, classes, title in zip(
            axes[row], (panel.labels, panel.predicted_attacked), titles, strict=True
        ):
            _scatter(axis, np.array(panel.attacked), classes, shown, marker="^", size=17, edge="white")
            _scatter(axis, np.array(panel.clean), panel.predicted, shown, marker="o", size=9, edge="none")
            for place, word in named:
                _name(axis, place, word)
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=10, loc="left")
    _legend(figure, embeddings.classes, shown)
    figure.suptitle(
        f"t-SNE of {embeddings.panels[0].of}, {embeddings.dataset.rpartition(', digest')[0]}, "
        f"{embeddings.panels[0].attack} within {embeddings.budget}",
        fontsize=11,
    )
    style.save(figure, directory, name)
    style.save_numbers(directory, name, embeddings, _table(embeddings))


def _shown(embeddings: Embeddings) -> dict[int, str]:
    """The colour of each class that has one: the first that occur, as many as there are colours."""
    occurring = sorted({label for panel in embeddings.panels for label in panel.labels})
    return dict(zip(occurring, style.CLASSES, strict=False))


def _places(
    panel: Embedding, names: Sequence[str], shown: dict[int, str]
) -> list[tuple[NDArray[np.float64], str]]:
    """In the middle of each class's clean images: its name, for colours alone do not tell ten apart."""
    points, labels = np.array(panel.clean), np.array(panel.labels)
    present = (label for label in shown if (labels == label).any())
    return [(np.median(points[labels == label], axis=0), names[label]) for label in present]


def _name(axis: Axes, place: NDArray[np.float64], word: str) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    axis.text(
        place[0], place[1], word, fontsize=9, fontweight="bold", ha="center", va="center", path_effects=halo
    )


def _scatter(
    axis: Axes,
    points: NDArray[np.float64],
    classes: Sequence[int],
    shown: dict[int, str],
    *,
    marker: str,
    size: float,
    edge: str,
) -> None:
    colours = [shown.get(label, _OTHER) for label in classes]
    axis.scatter(
        points[:, 0],
        points[:, 1],
        c=colours,
        marker=marker,
        s=size,
        linewidths=0.3,
        edgecolors=edge,
        alpha=0.85,
    )


def _legend(figure: Figure, names: Sequence[str], shown: dict[int, str]) -> None:
    from matplotlib.lines import Line2D

    def handle(colour: str, marker: str, label: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, label=label)

    handles = [handle(style.INK, "o", "clean, by predicted class"), handle(style.INK, "^", "under attack")]
    handles += [handle(colour, "s", names[label]) for label, colour in shown.items()]
    if len(names) > len(shown):
        handles.append(handle(_OTHER, "s", "another class"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)


def _table(embeddings: Embeddings) -> style.Table:
    columns = ("bundle", "image", "attack", "x", "y", "label", "predicted")
    rows: list[tuple[object, ...]] = []
    for panel in embeddings.panels:
        for attack, points, predicted in (
            ("", panel.clean, panel.predicted),
            (panel.attack, panel.attacked, panel.predicted_attacked),
        ):
            rows += [
                (panel.bundle, image, attack, x, y, panel.labels[image], predicted[image])
                for image, (x, y) in enumerate(points)
            ]
    return style.Table(columns, rows)
