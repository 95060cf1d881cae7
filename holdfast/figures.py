"""Which of a manifest's figures stand for the model: the newest clean one and the newest robust one."""

from __future__ import annotations

from holdfast.manifest import Evaluation, Figure, Manifest


def newest_evaluation(manifest: Manifest) -> Evaluation | None:
    """The last evaluation of the model; None if it was never evaluated."""
    return max(manifest.evaluations, key=lambda evaluation: evaluation.date, default=None)


def clean_figure(manifest: Manifest) -> Figure | None:
    """Accuracy without an attack and without a defence at inference; None if it was not measured."""
    return next((figure for figure in _static_figures(manifest) if figure.attack is None), None)


def robust_figure(manifest: Manifest) -> Figure | None:
    """The lowest accuracy under attack, without a defence at inference; None if it was not measured.

    Figures within the model's own threat model go before others: a smaller budget says less.
    """
    attacked = [figure for figure in _static_figures(manifest) if figure.attack is not None]
    own = [figure for figure in attacked if figure.threat_model == manifest.threat_model]
    return min(own or attacked, key=lambda figure: figure.accuracy, default=None)


def _static_figures(manifest: Manifest) -> list[Figure]:
    evaluation = newest_evaluation(manifest)
    return [figure for figure in evaluation.figures if figure.defence == "none"] if evaluation else []
