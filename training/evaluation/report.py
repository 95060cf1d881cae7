"""Outcomes as figures of a manifest."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.interval import wilson
from holdfast.manifest import Defence, Figure, Manifest, ThreatModel
from training.evaluation.headline import Worst, worst_case
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome

WORST = "worst case"


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
    """All lines of one bundle in order, and behind each defence the worst case where it is over several.

    Args:
        measured: On the same images.
        manifest: Of the bundle.
        threat: The budget that worst cases are within.
    """
    shown = []
    for defence in manifest.defences:
        ours = {what: outcome for what, outcome in measured.items() if what.defence == defence}
        shown += [figure(what, outcome) for what, outcome in ours.items()]
        worst = worst_case(ours, defence, threat)
        if worst is not None and len(worst.attacks) > 1:
            raised = sorted({flag for each in shown if each.defence == defence for flag in each.flags})
            shown.append(_worst(worst, defence, threat, raised))
    return shown


def _worst(worst: Worst, defence: Defence, threat: ThreatModel, flags: list[str]) -> Figure:
    return Figure(
        name=WORST,
        defence=defence,
        attack=" + ".join(worst.attacks),
        threat_model=threat,
        accuracy=float(worst.held.mean()),
        interval=wilson(int(worst.held.sum()), len(worst.held)),
        images=len(worst.held),
        flags=flags,
    )
