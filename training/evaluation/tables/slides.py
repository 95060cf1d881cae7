"""Zhai's slides on Feature Scattering, MSRA 2019: what label smoothing does, and whether FS overfits PGD."""

from __future__ import annotations

from training.evaluation.tables.feature_scattering import FS
from training.evaluation.tables.table import Player, Table, columns, player, row

_PAPER = "Feature Scattering Adversarial Training (Zhai, slides, 2019)"
_AGAINST = columns("PGD100=pgd-100 CW100=cw-100")


def _smoothed(delta: float) -> Player:
    return player(
        "feature-scattering",
        perturbation="feature-scatter",
        matching="ot",
        solver="sinkhorn",
        label_smoothing=delta,
    )


def _trained(share: float) -> Player:
    return Player(FS.method, FS.options, share)


TABLES = (
    Table(
        "slides-label-smoothing",
        "Robust accuracy against label smoothing δ",
        f"{_PAPER}, 'Label Smoothing Matters'",
        "cifar10",
        columns("Clean=clean Robust=pgd-20 CW20=cw-20"),
        (
            row("δ = 0.0", "- 43.03 -", _smoothed(0.0)),
            row("δ = 0.1", "- 63.67 -", _smoothed(0.1)),
            row("δ = 0.3", "- 67.14 -", _smoothed(0.3)),
            row("δ = 0.5", "- 72.03 -", _smoothed(0.5)),
        ),
        (
            "The slides name neither network nor attack; another page says PGD. Here it is PGD-20.",
            "CW20 is ours, for the slides' question whether smoothing only blinds the cross-entropy.",
        ),
    ),
    Table(
        "slides-epochs",
        "Robust accuracy against epoch, δ = 0.5",
        f"{_PAPER}, 'No Overfitting'",
        "cifar10",
        columns("Clean=clean Robust=pgd-20"),
        (
            row("before the first decay (60 of 200)", "- -", _trained(60 / 200)),
            row("before the second decay (90 of 200)", "- -", _trained(90 / 200)),
            row("at the end (200 of 200)", "- 72.03", _trained(1.0)),
        ),
        (
            "The slides print a curve without numbers; the last is from their table of δ.",
            "A row is played by a bundle that was exported from a checkpoint at that share of its epochs.",
        ),
    ),
    Table(
        "slides-weaknesses-cifar10",
        "Does Feature Scattering overfit PGD?",
        f"{_PAPER}, 'Weaknesses', after FS, Table 1",
        "cifar10",
        _AGAINST,
        (row("Feature Scattering", "68.6 60.6", FS),),
    ),
    Table(
        "slides-weaknesses-cifar100",
        "Does Feature Scattering overfit PGD?",
        f"{_PAPER}, 'Weaknesses', after FS, Table 4",
        "cifar100",
        _AGAINST,
        (row("Feature Scattering", "46.3 30.6", FS),),
        (
            "46.3 is what the slides say; FS's tables have 46.2 for Sinkhorn, and 46.3 for IPOT, whose CW100 "
            "is 29.3.",
        ),
    ),
)
