"""The attacks behind a bundle's headline, and what to conclude from a set of outcomes.

The headline is the share of images that hold under all of AutoAttack on the static network and, where the
bundle offers a defence at inference, under all of the adaptive attacks through it, under transfer between the
network with and without it, and under attacks that see scores or decisions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from holdfast.attacks import flags
from holdfast.attacks.catalogue import attack_of
from holdfast.manifest import Defence, Manifest, ThreatModel
from training.evaluation.demands import has_gradient
from training.evaluation.line import Line
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Bools, Outcome

#: AutoAttack's own four, each on all images, and the papers' PGD and CW, which the four make look weak.
STATIC = ("clean", "pgd-20", "cw-20", "apgd-ce", "apgd-t", "fab-t", "square", "rays-2000")
#: Without knowledge of the defence, as the papers' tables have it; and with it.
UNKNOWING = ("pgd-20,from=none", "apgd-ce,from=none", "apgd-t,from=none")
ADAPTIVE = (
    "pgd-20",
    "cw-20",
    "apgd-ce",
    "apgd-t",
    "pgd-20,loss=ce+manifold",
    "cw-20,through=end-to-end",
    "square",
    "rays-2000",
)
#: What was crafted through IMT may fool the static network, too (IMT+ is IMT with some of its steps halved).
BACK = ("apgd-ce,from=imt", "apgd-t,from=imt")
#: Of the static network's attacks, those that need no gradient.
_BLIND = ("clean", "square", "rays-2000")

#: How far an accuracy must be under another for the difference to say that one of them was blind.
_FAR = 0.1


def lines(manifest: Manifest, seed: int = 0) -> Iterator[tuple[Defence, Line]]:
    """The headline's attacks on a bundle, behind each defence that it offers."""

    def parsed(defence: Defence, texts: Sequence[str]) -> Iterator[tuple[Defence, Line]]:
        yield from ((defence, Line.parse(text, manifest.threat_model, seed)) for text in texts)

    if not has_gradient(manifest):
        yield from parsed("none", _BLIND)
        return
    yield from parsed("none", STATIC)
    if manifest.head == "cosine":
        yield from parsed("none", (f"pgd-20,loss={_training_loss(manifest)}",))
    if "imt" in manifest.defences:
        yield from parsed("none", BACK)
    for defence in manifest.defences:
        if defence != "none":
            yield from parsed(defence, ("clean", *UNKNOWING, *ADAPTIVE))


def _training_loss(manifest: Manifest) -> str:
    """What MAT's authors attack it with (Sec. 4.4): its loss, its terms weighted as the model was trained."""
    method = manifest.recipe.get("method", {})
    weights = {"so": method.get("alpha", 1.0), "bibo": method.get("beta", 1.0)}
    terms = [f"{weight:g}*{term}" if weight != 1 else term for term, weight in weights.items() if weight]
    return "+".join(["ftc", *terms])


@dataclass(frozen=True)
class Worst:
    """The images that hold under every attack of a kind.

    Attributes:
        held: (n,).
        attacks: The lines' names.
    """

    held: Bools
    attacks: tuple[str, ...]


def worst_case(
    measured: Mapping[Measurement, Outcome],
    defence: Defence | Literal["all"],
    threat: ThreatModel,
    *,
    adaptive: bool | None = None,
) -> Worst | None:
    """The worst case, image by image, over the attacks within a budget behind a defence.

    Args:
        measured: All on the same images of one bundle.
        defence: Behind which; ``all`` for the images that hold behind every one.
        threat: The budget; attacks within another one are left out.
        adaptive: Only attacks that know the defence, or only such that do not; None for all.

    Returns:
        None where there is no such attack.
    """
    chosen = {
        what: outcome
        for what, outcome in measured.items()
        if defence in (what.defence, "all")
        and what.line.threat == threat
        and adaptive in (None, what.adaptive)
    }
    if not chosen:
        return None
    # The image as it is lies within the budget too, and attacks that take every step may lead back from it.
    held: Bools = np.logical_and.reduce([outcome.clean & outcome.right for outcome in chosen.values()])
    return Worst(held, tuple(what.line.name for what in chosen))


def doubts(measured: Mapping[Measurement, Outcome], manifest: Manifest) -> list[str]:
    """Why not to believe some of the figures: the flags, and attacks that leave far less than others."""
    found = [
        f"{what.line.name} behind {what.defence}: {flag}"
        if what.defence != "none"
        else f"{what.line.name}: {flag}"
        for what, outcome in measured.items()
        for flag in outcome.flags()
        if flag.name not in ("dynamic", "lost_by_rounding")
    ]
    for defence in manifest.defences:
        found += _between(measured, defence, manifest.threat_model)
        if defence != "none":
            found += _of_defence(measured, defence, manifest.threat_model)
    return list(dict.fromkeys(found))


def _of_defence(
    measured: Mapping[Measurement, Outcome], defence: Defence, threat: ThreatModel
) -> Iterator[str]:
    """What speaks against a defence at inference."""
    unknowing = worst_case(measured, defence, threat, adaptive=False)
    knowing = worst_case(measured, defence, threat, adaptive=True)
    without = worst_case(measured, "none", threat, adaptive=True)
    if knowing is None:
        if unknowing is not None:
            yield f"{defence} was attacked by nothing that knows it: what that would leave is not known"
        return
    left = knowing.held.mean()
    if unknowing is not None and _is_far_under(left, unknowing.held.mean()):
        yield (
            f"{defence} leaves {unknowing.held.mean():.1%} under attacks that do not know it and {left:.1%} "
            "under attacks that do: its robustness is that of not being known"
        )
    if without is not None and _is_far_under(left, without.held.mean()):
        yield (
            f"{defence} leaves {left:.1%} under attacks that know it and the network without it "
            f"{without.held.mean():.1%}: it takes more than it gives"
        )


def _is_far_under(low: float, high: float) -> bool:
    """Whether one accuracy is so much less than another that somebody who knows the other one is deceived."""
    return bool(low < high - _FAR or (low < 0.6 * high and low < high - _FAR / 2))


def _between(measured: Mapping[Measurement, Outcome], defence: Defence, threat: ThreatModel) -> list[str]:
    """What only shows between attacks on the same images."""
    alike = {
        what.line: outcome
        for what, outcome in measured.items()
        if what.defence == defence and what.line.threat == threat and what.adaptive and what.line.parameters
    }
    white: dict[str, Outcome] = {}
    black: dict[str, Outcome] = {}
    for line, outcome in alike.items():
        # A targeted attack succeeds with its target only, and one step finds less than many questions do.
        if line.parameters is None or getattr(line.parameters, "target", None) is not None:
            continue
        attack = attack_of(line.parameters)
        if attack.access != "gradient":
            black[line.name] = outcome
        elif attack.name != "fgsm":
            white[line.name] = outcome
    found = [str(flag) for flag in flags.compare(white, black, None, None)]
    by_loss: dict[str, dict[str, float]] = {}
    for line, outcome in alike.items():
        kind, _, length = line.name.partition("-")
        if kind in ("pgd", "cw", "dlr") and "," not in length:
            by_loss.setdefault(length, {})[kind] = outcome.accuracy
    for length, found_by in by_loss.items():
        margins = {kind: value for kind, value in found_by.items() if kind != "pgd"}
        if "pgd" in found_by and margins:
            kind = min(margins, key=lambda one: margins[one])
            if found_by["pgd"] > margins[kind] + _FAR:
                found.append(
                    f"PGD-{length} on cross-entropy leaves {found_by['pgd']:.1%} where the margin "
                    f"({kind}-{length}) leaves {margins[kind]:.1%}: its gradient is masked"
                )
    return found
