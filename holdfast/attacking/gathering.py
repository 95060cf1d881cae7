"""The results of one attack, batch after batch, as they stand in the record."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict

from holdfast.attacking.parameters import Chosen
from holdfast.attacking.record import (
    Answer,
    AttackRecord,
    FilesRecord,
    FlagRecord,
    ImageResult,
    LabelSource,
    Norms,
    Outcome,
    Totals,
)
from holdfast.attacks import flags
from holdfast.attacks.ball import l2_norm, linf_norm
from holdfast.attacks.ensemble import left_over
from holdfast.attacks.flags import Flag
from holdfast.attacks.result import AttackResult
from holdfast.manifest import Manifest, ThreatModel
from holdfast.probabilities import probabilities


class Gathered(BaseModel):
    """What a gathering holds, to be kept and added to another one: every sum, and no share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    results: list[ImageResult]
    success: list[bool]
    forwards: int
    backwards: int
    gradients: int
    zeros: int
    seconds: float
    flags: list[Flag]
    #: Of what was kept before these were counted, nothing is known.
    blind: dict[str, int] = {}


@dataclass
class Gathering:
    """What one attack has done so far.

    Attributes:
        chosen: The attack and its parameters.
        manifest: Of the model under attack; None where only what others have gathered is put together.
        keep: Whether the results of images are held: 4 to 5 KB each, where the rest is some tens of bytes.
        results: For each image that is finished; empty where they are not held.
        outcomes: The same, in a word.
        success: The same, as :func:`holdfast.attacks.flags.compare` wants it.
        fooled_l2: Of each image that was fooled, how far the exact result is from it, in image units.
    """

    chosen: Chosen
    manifest: Manifest | None
    keep: bool = True
    results: list[ImageResult] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    success: list[bool] = field(default_factory=list)
    fooled_l2: array[float] = field(default_factory=lambda: array("d"))
    _fooled_linf: array[float] = field(default_factory=lambda: array("d"))
    _fooled_queries: array[int] = field(default_factory=lambda: array("q"))
    _targeted: bool = False
    _lost: int = 0
    _forwards: int = 0
    _backwards: int = 0
    _gradients: int = 0
    _zeros: int = 0
    _seconds: float = 0.0
    _flags: dict[str, Flag] = field(default_factory=dict)
    _blind: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        originals: np.ndarray,
        result: AttackResult,
        files: Sequence[FilesRecord | None],
    ) -> None:
        """Take the results of a batch of n images.

        Args:
            names: (n) files, as they were named.
            labels: (n,).
            originals: (n, channels, height, width).
            result: Of the attack on these images.
            files: (n) what was written of each.
        """
        if self.manifest is None:
            raise ValueError("a gathering without a manifest cannot say what classes are called")
        self._forwards += result.forwards
        self._backwards += result.backwards
        self._gradients += result.gradients
        self._zeros += result.zero_gradients
        self._seconds += result.seconds
        self._flags.update({flag.name: flag for flag in result.flags})
        self._blind.update(left_over(self.chosen.parameters, result.fooled_by))
        classes, calibration = self.manifest.classes, self.manifest.calibration
        temperature = 1.0 if calibration is None else calibration.temperature
        before = probabilities(result.logits_before, temperature)
        after = probabilities(result.logits, temperature)
        stored = np.round(result.images * np.float32(255)) / np.float32(255) - originals
        in_8_bits = linf_norm(stored), l2_norm(stored)
        for row, name in enumerate(names):
            label = int(labels[row])
            target = None if result.targets is None else int(result.targets[row])
            self._take(
                ImageResult(
                    image=name,
                    label=classes[label],
                    class_index=label,
                    target=None if target is None else classes[target],
                    outcome=_outcome(before[row], label, target, success=bool(result.success[row])),
                    success=bool(result.success[row]),
                    survives_rounding=bool(result.survives_rounding[row]),
                    before=_answer(before[row], label, classes),
                    after=_answer(after[row], label, classes),
                    reached=Norms(linf=float(result.linf[row]), l2=float(result.l2[row])),
                    reached_in_8_bits=Norms(linf=float(in_8_bits[0][row]), l2=float(in_8_bits[1][row])),
                    queries=int(result.queries[row]),
                    files=files[row],
                )
            )

    def gathered(self) -> Gathered:
        """All that was added, to be kept.

        Raises:
            ValueError: The results of images were not held.
        """
        if not self.keep:
            raise ValueError("a gathering that holds no results has none to hand on")
        return Gathered(
            results=self.results,
            success=self.success,
            forwards=self._forwards,
            backwards=self._backwards,
            gradients=self._gradients,
            zeros=self._zeros,
            seconds=self._seconds,
            flags=list(self._flags.values()),
            blind=dict(self._blind),
        )

    def extend(self, gathered: Gathered) -> None:
        """Take what another gathering held, of the same attack on other images."""
        for result in gathered.results:
            self._take(result)
        self._forwards += gathered.forwards
        self._backwards += gathered.backwards
        self._gradients += gathered.gradients
        self._zeros += gathered.zeros
        self._seconds += gathered.seconds
        self._flags.update({flag.name: flag for flag in gathered.flags})
        self._blind.update(gathered.blind)

    def _take(self, result: ImageResult) -> None:
        """Take what came of one image."""
        if self.keep:
            self.results.append(result)
        self.outcomes.append(result.outcome)
        self.success.append(result.success)
        self._targeted = self._targeted or result.target is not None
        self._lost += result.success and not result.survives_rounding
        if result.outcome == "fooled":
            self._fooled_linf.append(result.reached.linf)
            self.fooled_l2.append(result.reached.l2)
            self._fooled_queries.append(result.queries)

    def record(self, labels: LabelSource) -> AttackRecord:
        """All of it; where the results of images are not held, without them."""
        attack, parameters = self.chosen.attack, self.chosen.parameters
        budget = parameters.budget
        return AttackRecord(
            attack=attack.name,
            access=attack.access,
            minimises=attack.minimises,
            parameters=parameters.model_dump(mode="json"),
            budget=None if budget is None else ThreatModel(norm=budget[0], epsilon=budget[1]),
            eot=self.chosen.answers,
            totals=self._totals(labels),
            flags=[FlagRecord(name=flag.name, meaning=flag.meaning) for flag in self._raised()],
            results=self.results,
        )

    def _totals(self, labels: LabelSource) -> Totals:
        images, fooled = len(self.outcomes), len(self.fooled_l2)
        wrong = self.outcomes.count("wrong before")
        bounded = self.chosen.parameters.budget is not None
        known = labels != "model" and bounded and not self._targeted and images > 0
        return Totals(
            images=images,
            wrong_before=wrong,
            fooled=fooled,
            held=self.outcomes.count("held"),
            success_rate=fooled / (images - wrong) if images > wrong else None,
            robust_accuracy=1 - sum(self.success) / len(self.success) if known else None,
            lost_by_rounding=self._lost,
            median_linf=_median(self._fooled_linf),
            median_l2=_median(self.fooled_l2),
            median_queries=_median(self._fooled_queries),
            forwards=self._forwards,
            backwards=self._backwards,
            seconds=round(self._seconds, 3),
        )

    def _raised(self) -> list[Flag]:
        """The flags over all batches: those with a share in them are worked out again from the sums."""
        zeros = flags.zero_gradient(self._zeros, self._gradients)
        summed = {"zero_gradient", "black_box_beats_white_box", "lost_by_rounding"}
        return [
            *(zeros if self.chosen.attack.access == "gradient" else []),
            *(flag for name, flag in self._flags.items() if name not in summed),
            *flags.left_to_black_box(self._blind, len(self.success)),
            *flags.lost_by_rounding(self._lost, sum(self.success)),
        ]


def between(gatherings: Sequence[Gathering]) -> list[Flag]:
    """What only shows between attacks that had the same images, the same budget and the same aim.

    Of several runs of one attack, as with other settings, the strongest stands for it.
    """
    groups: dict[object, list[Gathering]] = {}
    for each in gatherings:
        parameters = each.chosen.parameters
        if parameters.budget is not None:
            key = (parameters.budget, getattr(parameters, "target", None))
            groups.setdefault(key, []).append(each)
    raised: list[Flag] = []
    for group in groups.values():
        white = [each for each in group if each.chosen.attack.access == "gradient"]
        black = [each for each in group if each.chosen.attack.access != "gradient"]
        raised += flags.compare(_strongest(white), _strongest(black), None, None)
        raised += _between_losses(white)
    return raised


def _strongest(runs: Sequence[Gathering]) -> dict[str, Gathering]:
    """The run of each attack that fooled the most images, by its name."""
    found: dict[str, Gathering] = {}
    for run in sorted(runs, key=lambda each: sum(each.success)):
        found[run.chosen.attack.name] = run
    return found


def _between_losses(runs: Sequence[Gathering]) -> list[Flag]:
    """What the first two runs show that differ in their loss alone, and in what it fools."""
    for cw in runs:
        for pgd in runs:
            if (cw.chosen.attack.name, pgd.chosen.attack.name) != ("cw-linf", "pgd"):
                continue
            raised = flags.compare({}, {}, cw, pgd) if _alike_but_for_the_loss(cw, pgd) else []
            if raised:
                return raised
    return []


def _alike_but_for_the_loss(cw: Gathering, pgd: Gathering) -> bool:
    ours, theirs = (each.chosen.parameters.model_dump() for each in (cw, pgd))
    losses = ours.pop("loss", None), theirs.pop("loss", None)
    return losses == ("cw", "ce") and ours == theirs and cw.chosen.eot == pgd.chosen.eot


def _answer(row: np.ndarray, label: int, classes: Sequence[str]) -> Answer:
    best = int(row.argmax())
    return Answer(
        label=classes[best],
        class_index=best,
        probability=float(row[best]),
        probability_of_label=float(row[label]),
    )


def _outcome(before: np.ndarray, label: int, target: int | None, *, success: bool) -> Outcome:
    predicted = int(before.argmax())
    if (predicted != label) if target is None else (predicted == target != label):
        return "wrong before"
    return "fooled" if success else "held"


def _median(values: array[float] | array[int]) -> float | None:
    return float(np.median(np.asarray(values))) if values else None
