"""Accuracy of an exported bundle, clean and under attack: what is measured is what is served.

The attacks follow FS's and ATLD's protocol unless said otherwise: L∞ or L2 within ε, steps of ε/4, a random
start, the last iterate counts, one run. The last line is the worst case over all of them, image by image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from holdfast.attacks import FGSMParameters, Oracle, PGDParameters
from holdfast.attacks import attack as run_attack
from holdfast.errors import UsageError
from holdfast.manifest import Figure, ThreatModel
from training.data import Split
from training.journal import Journal

#: What ``holdfast evaluate`` runs by default.
DEFAULT_ATTACKS = ("clean", "fgsm", "pgd-20", "cw-20", "dlr-20")

#: Called with the images done and the images in all of the attack that is running.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Attack:
    """One line of the table: a name such as ``pgd-20`` or ``cw-100x5``, and what it stands for.

    Attributes:
        name: As it is written and shown.
        loss: What is maximised; None for no attack at all.
        steps: Gradient steps of one run; 0 for FGSM.
        restarts: Runs; an image is lost if any run fools the model.
    """

    name: str
    loss: Literal["ce", "cw", "dlr"] | None
    steps: int = 0
    restarts: int = 1

    @classmethod
    def parse(cls, name: str) -> Attack:
        """Read ``clean``, ``fgsm``, or ``<pgd|cw|dlr>-<steps>[x<restarts>]``.

        Raises:
            UsageError: The name is none of those.
        """
        if name == "clean":
            return cls(name, None)
        if name == "fgsm":
            return cls(name, "ce")
        match = re.fullmatch(r"(pgd|cw|dlr)-([1-9]\d{0,3})(?:x([1-9]\d{0,2}))?", name)
        if match is None:
            raise UsageError(
                f"There is no attack {name!r}.",
                hint="Write clean, fgsm, or pgd, cw or dlr with steps and restarts: pgd-20, cw-100x5.",
            )
        losses: dict[str, Literal["ce", "cw", "dlr"]] = {"pgd": "ce", "cw": "cw", "dlr": "dlr"}
        return cls(name, losses[match[1]], int(match[2]), int(match[3] or 1))

    @property
    def passes(self) -> int:
        """Gradient evaluations for one image, for the progress bar."""
        return 1 if self.steps == 0 else self.steps * self.restarts

    def parameters(self, threat: ThreatModel) -> PGDParameters | FGSMParameters | None:
        """The attack's parameters within a threat model."""
        if self.loss is None:
            return None
        if self.steps == 0:
            return FGSMParameters(norm=threat.norm, epsilon=threat.epsilon, loss=self.loss, random_start=True)
        return PGDParameters(
            norm=threat.norm,
            epsilon=threat.epsilon,
            loss=self.loss,
            steps=self.steps,
            # FS: 2/255 within 8/255. At few steps longer ones, so that the ball's surface is in reach.
            step_size=max(threat.epsilon / 4, 2.5 * threat.epsilon / self.steps),
            restarts=self.restarts,
            stop_at_success=False,
        )


def evaluate(
    oracle: Oracle,
    split: Split,
    attacks: Sequence[Attack],
    threat: ThreatModel,
    *,
    seed: int,
    batch_size: int,
    progress: Progress,
    journal: Journal | None = None,
) -> list[Figure]:
    """Measure each attack on every image of ``split``, and the worst case over all.

    Args:
        oracle: The model as it is served.
        split: The images to measure on.
        attacks: What to run; where ``clean`` is missing it is run first all the same.
        threat: What the adversary may do.
        seed: Of the random starts.
        batch_size: Images attacked at a time.
        progress: Called after each batch.
        journal: What was measured before an interruption, and where to keep what is measured now.

    Returns:
        One figure for each attack in order, and ``worst case`` where there is more than one.
    """
    if not any(attack.loss is None for attack in attacks):
        attacks = [Attack.parse("clean"), *attacks]
    held = np.ones(len(split), dtype=np.bool_)
    figures = []
    for attack in attacks:
        survived, flags = _run(oracle, split, attack, threat, seed, batch_size, progress, journal)
        held &= survived
        parameters = attack.parameters(threat)
        figures.append(
            _figure(
                attack.name,
                survived,
                None if parameters is None else attack.name,
                {} if parameters is None else parameters.model_dump(mode="json"),
                None if parameters is None else threat,
                flags,
            )
        )
    robust = [attack.name for attack in attacks if attack.loss is not None]
    if len(robust) > 1:
        flags = sorted({flag for figure in figures for flag in figure.flags})
        figures.append(_figure("worst case", held, " + ".join(robust), {}, threat, flags))
    return figures


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a proportion.

    >>> [round(bound, 3) for bound in wilson(50, 100)]
    [0.404, 0.596]
    """
    z = 1.959964
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Rounding must not push the share itself out of its interval.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def _run(
    oracle: Oracle,
    split: Split,
    attack: Attack,
    threat: ThreatModel,
    seed: int,
    batch_size: int,
    progress: Progress,
    journal: Journal | None,
) -> tuple[np.ndarray, list[str]]:
    """Which images the model still gets right, and the flags that were raised on the way."""
    survived = []
    flags: set[str] = set()
    for start in range(0, len(split), batch_size):
        part = slice(start, min(start + batch_size, len(split)))
        known = journal.get(attack.name, start) if journal else None
        if known is None:
            known = _measure(oracle, split.take(part), attack, threat, seed)
            if journal:
                journal.put(attack.name, start, *known)
        survived.append(known[0])
        flags.update(known[1])
        progress(attack.name, part.stop, len(split))
    return np.concatenate(survived), sorted(flags)


def _measure(
    oracle: Oracle, batch: Split, attack: Attack, threat: ThreatModel, seed: int
) -> tuple[np.ndarray, list[str]]:
    images = batch.images.astype(np.float32) / np.float32(255)
    parameters = attack.parameters(threat)
    if parameters is None:
        return oracle.logits(images).argmax(1) == batch.labels, []
    seeded = parameters.model_copy(update={"seed": seed})
    result = run_attack(oracle, images, batch.labels, seeded, batch_size=len(images))
    return ~result.success, [str(flag) for flag in result.flags if flag.name != "lost_by_rounding"]


def _figure(
    name: str,
    survived: np.ndarray,
    attack: str | None,
    parameters: dict[str, Any],
    threat: ThreatModel | None,
    flags: list[str],
) -> Figure:
    return Figure(
        name=name,
        attack=attack,
        parameters=parameters,
        threat_model=threat,
        accuracy=float(survived.mean()),
        interval=wilson(int(survived.sum()), len(survived)),
        images=len(survived),
        flags=flags,
    )
