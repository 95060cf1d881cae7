"""Outcomes as figures of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from holdfast.interval import wilson
from holdfast.manifest import Defence, Figure, Manifest, ThreatModel
from training.evaluation.headline import worst_case
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.tables.table import AUTOATTACK

WORST = "worst case"
#: The same over AutoAttack's four attacks alone, each on every image.
ENSEMBLE = "autoattack"
#: The same over the attacks alone that do not know the defence.
UNKNOWING = f"{WORST},from=none"


def figure(what: Measurement, outcome: Outcome) -> Figure:
    """One line of the card."""
    line = what.line
    distance = None
    if line.minimises and line.parameters is not None:
        found = outcome.distances(getattr(line.parameters, "norm", "l2"))
        distance = float(found.mean()) if len(found) else None
    attacked = line.parameters is not None
    return Figure(
        name=line.name,
        defence=what.defence,
        attack=line.name if attacked else None,
        parameters={} if line.parameters is None else line.parameters.model_dump(mode="json"),
        threat_model=line.threat,
        adaptive=what.adaptive,
        accuracy=outcome.accuracy,
        interval=wilson(int(outcome.right.sum()), len(outcome)),
        images=len(outcome),
        flags=[str(flag) for flag in outcome.flags() if flag.name not in ("lost_by_rounding", "dynamic")],
        passes=(
            (round(outcome.forwards / len(outcome), 1), round(outcome.backwards / len(outcome), 1))
            if attacked
            else None
        ),
        distance=distance,
    )


def figures(measured: Mapping[Measurement, Outcome], manifest: Manifest, threat: ThreatModel) -> list[Figure]:
    """All lines of one bundle in order, and behind each defence what holds under several of them.

    That is the worst case, and the same over AutoAttack's four and over attacks that do not know the defence.
    The last line, where there are several defences, counts the images that hold behind all of them: what is
    left whichever of them is served.

    Args:
        measured: On the same images.
        manifest: Of the bundle.
        threat: The budget that worst cases are within.
    """
    shown = []
    for defence in manifest.defences:
        ours = {what: outcome for what, outcome in measured.items() if what.defence == defence}
        shown += [figure(what, outcome) for what, outcome in ours.items()]
        kinds = {ENSEMBLE: _ensemble(ours), WORST: ours}
        if defence != "none":
            kinds = {UNKNOWING: _unknowing(ours)} | kinds
        composed = (_composed(name, kind, defence, threat) for name, kind in kinds.items())
        shown += [each for each in composed if each is not None]
    if len({what.defence for what in measured}) > 1 and (whole := _composed(WORST, measured, "all", threat)):
        shown.append(whole)
    return shown


def _unknowing(measured: Mapping[Measurement, Outcome]) -> Mapping[Measurement, Outcome]:
    return {what: outcome for what, outcome in measured.items() if what.line.source == "none"}


def _ensemble(measured: Mapping[Measurement, Outcome]) -> Mapping[Measurement, Outcome]:
    """AutoAttack's four, or nothing where one of them is missing."""
    four = {what: outcome for what, outcome in measured.items() if what.line.name in AUTOATTACK}
    return four if len(four) == len(AUTOATTACK) else {}


def _composed(
    name: str,
    measured: Mapping[Measurement, Outcome],
    defence: Defence | Literal["all"],
    threat: ThreatModel,
) -> Figure | None:
    """What holds under all of several attacks, image by image; None where there are not several."""
    worst = worst_case(measured, defence, threat)
    if worst is None or len(worst.attacks) < 2:
        return None
    return Figure(
        name=name,
        defence=defence,
        attack=" + ".join(worst.attacks),
        threat_model=threat,
        adaptive=any(what.adaptive for what in measured if what.line.parameters is not None),
        accuracy=float(worst.held.mean()),
        interval=wilson(int(worst.held.sum()), len(worst.held)),
        images=len(worst.held),
        flags=sorted({flag for what, outcome in measured.items() for flag in figure(what, outcome).flags}),
    )
