"""Which of a manifest's figures stand for the model: its clean accuracy, and the least under attack.

Both are of the data set that the model is of: on other images it may do better or worse, which compares with
nothing that is said of other models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from holdfast.manifest import UNKNOWN_DATASET, Evaluation, Figure, Manifest

#: Images from which on an accuracy is more than an impression: ± 10 points and less.
_MANY = 100


def newest_evaluation(manifest: Manifest) -> Evaluation | None:
    """The last evaluation of the model; None if it was never evaluated."""
    return max(manifest.evaluations, key=lambda evaluation: evaluation.date, default=None)


def doubts(manifest: Manifest) -> str | None:
    """Why not to believe some of the figures, whichever evaluation found it; None if there is no reason."""
    found = dict.fromkeys(each.unreliable for each in _newest_first(manifest) if each.unreliable)
    return "; ".join(found) or None


def clean_figure(manifest: Manifest) -> Figure | None:
    """Accuracy without an attack and without a defence, on the most images; None if it was not measured."""
    clean = [figure for figure in _static_figures(manifest) if figure.attack is None]
    return max(clean, key=lambda figure: figure.images, default=None)  # of equals the newest, which is first


def robust_figure(manifest: Manifest) -> Figure | None:
    """The lowest accuracy under attack, without a defence at inference; None if it was not measured.

    Every evaluation only says what the model can have at most, so the one counts that leaves it least: a
    weaker attack that is measured later changes nothing. Figures within the model's own threat model go
    before others, as a smaller budget says less, and among these such of a hundred images and more.
    """
    lowest = []
    for evaluation in _newest_first(manifest):
        attacked = [
            figure
            for figure in evaluation.figures
            # An attack without a budget fools every image in the end: its figure is the norm that it needs.
            if figure.defence == "none" and figure.attack is not None and figure.threat_model is not None
        ]
        own = [figure for figure in attacked if figure.threat_model == manifest.threat_model]
        if attacked:
            lowest.append(min(own or attacked, key=_least))
    own = [figure for figure in lowest if figure.threat_model == manifest.threat_model] or lowest
    many = [figure for figure in own if figure.images >= _MANY]
    return min(many or own, key=_least, default=None)


def most_robust(manifests: Sequence[Manifest]) -> Manifest:
    """The model to take where nobody names one.

    It is the one that holds best under the worst of the attacks that it was measured with, among the models
    of the data set that most models are of: accuracies of different tasks do not compare.

    Args:
        manifests: At least one; the first of equals is taken.
    """
    usual, _ = Counter(manifest.dataset.name for manifest in manifests).most_common(1)[0]
    return max((each for each in manifests if each.dataset.name == usual), key=_robustness)


def _least(figure: Figure) -> tuple[float, int]:
    """Orders figures by their accuracy, and of equals puts the one first that counts the most attacks."""
    return figure.accuracy, -(figure.attack or "").count(" + ")


def _robustness(manifest: Manifest) -> float:
    figure = robust_figure(manifest)
    return -1.0 if figure is None else figure.accuracy


def _newest_first(manifest: Manifest) -> list[Evaluation]:
    """Its evaluations on its own data set."""
    name = manifest.dataset.name
    own = [
        evaluation
        for evaluation in manifest.evaluations
        if name == UNKNOWN_DATASET or evaluation.dataset == name or evaluation.dataset.startswith(f"{name}, ")
    ]
    return sorted(own, key=lambda evaluation: evaluation.date, reverse=True)


def _static_figures(manifest: Manifest) -> list[Figure]:
    """Figures without a defence, the newest evaluation's first."""
    evaluations = _newest_first(manifest)
    return [figure for each in evaluations for figure in each.figures if figure.defence == "none"]
