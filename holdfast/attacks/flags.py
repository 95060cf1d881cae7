"""Signs that an attack's outcome should not be believed, each with a sentence that says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from holdfast.attacks.oracle import Array

FlagName = Literal[
    "zero_gradient",
    "randomised",
    "dynamic",
    "black_box_beats_white_box",
    "cw_below_pgd",
    "not_a_number",
    "lost_by_rounding",
]


@dataclass(frozen=True)
class Flag:
    """One reason for doubt.

    Attributes:
        name: For programs.
        meaning: What was seen and what it means for the reader, in one sentence.
    """

    name: FlagName
    meaning: str

    def __str__(self) -> str:
        return self.meaning


#: Shares below these are noise rather than a sign.
_ZERO_SHARE = 0.02
_CLEARLY = 0.02
_LEFT_SHARE = 0.002


def zero_gradient(zeros: int, total: int) -> list[Flag]:
    """For a gradient that vanished on a share of the images.

    Args:
        zeros: Images at which most of the gradients were zero while they held.
        total: Images that were attacked by gradient; of an ensemble, once for each such attack.
    """
    if total == 0 or zeros / total < _ZERO_SHARE:
        return []
    return [
        Flag(
            "zero_gradient",
            f"zero gradient on {zeros / total:.0%} of the images, in most steps before they were fooled: "
            "gradient attacks are blind there, so do not read their failure as robustness",
        )
    ]


def randomised(largest: float, samples: int = 1) -> list[Flag]:
    """For a model that answered the same images twice with logits that differ by ``largest``.

    Args:
        largest: Relative to the largest logit, where that is above 1.
        samples: Answers whose mean was attacked.
    """
    if not largest > 1e-3:
        return []
    advice = "attack it over many samples (eot) before believing that it held"
    if samples > 1:
        advice = f"the attack took the mean of {samples} answers; see whether more of them break it further"
    return [
        Flag(
            "randomised",
            f"the model answers at random: the same images gave logits that differ by {largest:.2g}, so "
            + advice,
        )
    ]


def dynamic(oracle: object) -> list[Flag]:
    """For a model that takes gradients, or optimises, while it answers."""
    if not getattr(oracle, "dynamic", False):
        return []
    return [
        Flag(
            "dynamic",
            "the model takes a gradient step of its own at inference: an attack that does not go through "
            "that step says little, so read this beside the adaptive figure",
        )
    ]


def not_a_number(answers: int) -> list[Flag]:
    """For a model that answered so many times with a NaN among the logits."""
    if not answers:
        return []
    return [
        Flag(
            "not_a_number",
            "the model answered images of the attack with NaN, which counts as held: see what a client would "
            "be told in its place before you call that robust",
        )
    ]


def lost_by_rounding(lost: int, successes: int) -> list[Flag]:
    """For adversarial images that no longer fool the model once they are stored with 8 bits a channel."""
    if not lost:
        return []
    return [
        Flag(
            "lost_by_rounding",
            f"{lost} of {successes} successes are gone once the image is rounded to 8 bits, as a PNG stores "
            "it: they do not survive being sent as a file",
        )
    ]


def left_to_black_box(fooled: Mapping[str, int], images: int) -> list[Flag]:
    """For an ensemble's attacks without gradients, which come last and should find nothing left to fool.

    AutoAttack takes the same share for a sign that an evaluation by gradients is unreliable.

    Args:
        fooled: How many images each of them fooled, by name.
        images: How many there were.
    """
    return [
        Flag(
            "black_box_beats_white_box",
            f"{name}, which sees no gradient, fools {count} of {images} images that no attack by gradient "
            "fooled: the gradient is masked",
        )
        for name, count in fooled.items()
        if count > max(1, _LEFT_SHARE * images)
    ]


class Outcome(Protocol):
    """What a comparison of attacks needs to know of each."""

    @property
    def success(self) -> Array:
        """(n,) bool."""


def compare(
    white_box: Mapping[str, Outcome],
    black_box: Mapping[str, Outcome],
    cw: Outcome | None,
    pgd: Outcome | None,
) -> list[Flag]:
    """The flags that only show when several attacks had the same images and the same budget.

    Args:
        white_box: Results of attacks by gradient, by name.
        black_box: Results of attacks that saw scores or decisions only, by name.
        cw: PGD on the margin, where it was run.
        pgd: PGD on the cross-entropy with the same steps, where it was run.
    """
    flags = []
    if white_box and black_box:
        best, worst = _best(white_box), _best(black_box)
        if worst[1] > best[1] + _CLEARLY:
            flags.append(
                Flag(
                    "black_box_beats_white_box",
                    f"{worst[0]}, which sees no gradient, fools {worst[1]:.1%} of the images, "
                    f"{best[0]} with gradients only {best[1]:.1%}: the gradient is masked",
                )
            )
    if cw is not None and pgd is not None:
        ours, theirs = _share(cw), _share(pgd)
        if ours > theirs + _CLEARLY:
            flags.append(
                Flag(
                    "cw_below_pgd",
                    f"the margin attack leaves {1 - ours:.1%} accuracy and cross-entropy {1 - theirs:.1%}: a "
                    f"gap of {100 * (ours - theirs):.1f} points says that the defence bends the "
                    "cross-entropy's gradient rather than the decision boundary",
                )
            )
    return flags


def _share(outcome: Outcome) -> float:
    return float(sum(bool(value) for value in outcome.success)) / max(1, len(outcome.success))


def _best(outcomes: Mapping[str, Outcome]) -> tuple[str, float]:
    return max(((name, _share(outcome)) for name, outcome in outcomes.items()), key=lambda pair: pair[1])
