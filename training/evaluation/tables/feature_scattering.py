"""Zhang & Wang, NeurIPS 2019: the tables of Feature Scattering."""

from __future__ import annotations

from training.evaluation.tables.table import SIAMESE, Row, Table, columns, player, row

_PAPER = "Feature Scattering (Zhang & Wang, NeurIPS 2019)"
_NOTES = ("The paper's networks are WRN-28-10.",)

STANDARD = player("standard", label_smoothing=0.0)
MADRY = player("pgd-at", label_smoothing=0.0)
BILATERAL = player("bilateral")
#: As the paper trains it; ablations are other players.
FS = player(
    "feature-scattering",
    perturbation="feature-scatter",
    matching="ot",
    solver="sinkhorn",
    label_smoothing=0.5,
)
_RANDOM = player("feature-scattering", perturbation="random", label_smoothing=0.5)
_SUPERVISED = player("feature-scattering", perturbation="supervised", label_smoothing=0.5)
_UNIFORM = player(
    "feature-scattering", perturbation="feature-scatter", matching="uniform", label_smoothing=0.5
)
_IDENTITY = player(
    "feature-scattering", perturbation="feature-scatter", matching="identity", label_smoothing=0.5
)
_IPOT = player(
    "feature-scattering", perturbation="feature-scatter", matching="ot", solver="ipot", label_smoothing=0.5
)

_LONG = columns(
    "Clean=clean FGSM=fgsm PGD10=pgd-10 PGD20=pgd-20 PGD40=pgd-40 PGD100=pgd-100 "
    "CW10=cw-10 CW20=cw-20 CW40=cw-40 CW100=cw-100"
)
_SHORT = columns("Clean=clean FGSM=fgsm PGD20=pgd-20 PGD100=pgd-100 CW20=cw-20 CW100=cw-100")
_ATTACKS = columns("PGD20=pgd-20 PGD100=pgd-100 CW20=cw-20 CW100=cw-100")


def _solvers(dataset: str, sinkhorn: str, ipot: str) -> Table:
    rows: tuple[Row, ...] = (row("Sinkhorn", sinkhorn, FS), row("IPOT", ipot, _IPOT))
    return Table(
        f"fs-4-{dataset}", "Impacts of OT-solvers", f"{_PAPER}, Table 4", dataset, _SHORT, rows, _NOTES
    )


TABLES = (
    Table(
        "fs-1",
        "Accuracy under white-box attacks",
        f"{_PAPER}, Table 1",
        "cifar10",
        _LONG,
        (
            row("Standard", "95.6 36.9 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0", STANDARD),
            row("Madry", "85.7 54.9 45.1 44.9 44.8 44.8 45.9 45.7 45.6 45.4", MADRY),
            row("Bilateral", "91.2 70.7 - 57.5 - 55.2 - 56.2 - 53.8", BILATERAL),
            row("Proposed", "90.0 78.4 70.9 70.5 70.3 68.6 62.6 62.4 62.1 60.6", FS),
        ),
        (*_NOTES, "Others measured 36.64 % under AutoAttack on the authors' network (Croce & Hein 2020)."),
    ),
    Table(
        "fs-2a",
        "Accuracy under white-box attacks",
        f"{_PAPER}, Table 2a",
        "svhn",
        _SHORT,
        (
            row("Standard", "97.2 53.0 0.3 0.1 0.3 0.1", STANDARD),
            row("Madry", "93.9 68.4 47.9 46.0 48.7 47.3", MADRY),
            row("Bilateral", "94.1 69.8 53.9 50.3 - 48.9", BILATERAL),
            row("Proposed", "96.2 83.5 62.9 52.0 61.3 50.8", FS),
        ),
        _NOTES,
    ),
    Table(
        "fs-2b",
        "Accuracy under white-box attacks",
        f"{_PAPER}, Table 2b",
        "cifar100",
        _SHORT,
        (
            row("Standard", "79.0 10.0 0.0 0.0 0.0 0.0", STANDARD),
            row("Madry", "59.9 28.5 22.6 22.3 23.2 23.0", MADRY),
            row("Bilateral", "68.2 60.8 26.7 25.3 - 22.1", BILATERAL),
            row("Proposed", "73.9 61.0 47.2 46.2 34.6 30.6", FS),
        ),
        _NOTES,
    ),
    Table(
        "fs-3a",
        "Importance of feature scattering",
        f"{_PAPER}, Table 3a",
        "cifar10",
        _SHORT,
        (
            row("Random", "95.3 75.7 29.9 18.3 34.7 26.2", _RANDOM),
            row("Supervised", "86.9 64.4 56.0 54.5 51.2 50.3", _SUPERVISED),
            row("FeaScatter", "90.0 78.4 70.5 68.6 62.4 60.6", FS),
        ),
        _NOTES,
    ),
    Table(
        "fs-3b",
        "Impacts of different matching schemes",
        f"{_PAPER}, Table 3b",
        "cifar10",
        _SHORT,
        (
            row("Uniform", "90.0 71.0 57.1 54.7 53.2 51.4", _UNIFORM),
            row("Identity", "87.4 66.3 57.5 56.0 52.4 50.6", _IDENTITY),
            row("OT", "90.0 78.4 70.5 68.6 62.4 60.6", FS),
        ),
        _NOTES,
    ),
    _solvers("cifar10", "90.0 78.4 70.5 68.6 62.4 60.6", "89.9 77.9 69.9 67.3 59.6 56.9"),
    _solvers("svhn", "96.2 83.5 62.9 52.0 61.3 50.8", "96.0 82.6 60.0 49.3 57.8 48.4"),
    _solvers("cifar100", "73.9 61.0 47.2 46.2 34.6 30.6", "74.2 67.3 47.5 46.3 32.0 29.3"),
    Table(
        "fs-black-box",
        "The proposed network under attacks crafted on others",
        f"{_PAPER}, Sec. 5.3",
        "cifar10",
        _ATTACKS,
        (
            row("Undefended", "89.0 88.7 88.9 88.8", FS, source=STANDARD),
            row("Siamese", "81.6 81.0 80.3 79.8", FS, source=SIAMESE),
        ),
        (*_NOTES, "Siamese: crafted on another training of the same, which takes two such bundles."),
    ),
)
