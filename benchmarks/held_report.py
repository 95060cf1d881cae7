"""How far two implementations of one attack are from each other, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from held_ledger import Entry
from report import Sheet

from holdfast.interval import wilson

#: Robust accuracies may differ by so much, and medians of norms by so much of theirs.
MAY_DIFFER = {"accuracy": 0.005, "norm": 0.03}
_RESAMPLES = 2000


@dataclass(frozen=True)
class Outcome:
    """What one side did to the images of a match.

    Attributes:
        fooled: (k,) bool, of the images that were attacked.
        norms: (k,) L2, infinite where the image does not fool the model.
        images: Test images in all, those that the model gets wrong anyway among them.
        seconds: CPU time, for all.
    """

    fooled: np.ndarray
    norms: np.ndarray
    images: int
    seconds: float

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Outcome:
        """The batches together."""
        fooled = np.array([value for entry in entries for value in entry.fooled], dtype=np.bool_)
        norms = np.array([value for entry in entries for value in entry.norms])
        return cls(
            fooled,
            np.where(fooled, norms, np.inf),
            sum(entry.stop - entry.start for entry in entries),
            sum(entry.seconds for entry in entries),
        )

    @property
    def robust(self) -> int:
        """Images that the model still gets right."""
        return int(np.sum(~self.fooled))

    @property
    def median(self) -> float:
        """Of the norms; infinite where less than half of the images were fooled."""
        return float(np.median(self.norms))


@dataclass(frozen=True)
class Comparison:
    """Our outcome beside another library's.

    Attributes:
        name: The match.
        compares: See :class:`held_matches.Match`.
        settings: Of both.
        peer: The library.
        ours: See :class:`Outcome`.
        theirs: The same on the same images.
    """

    name: str
    compares: Literal["accuracy", "norm"]
    settings: str
    peer: str
    ours: Outcome
    theirs: Outcome

    @property
    def difference(self) -> float:
        """Ours less theirs: of robust accuracies, or of medians as a share of theirs."""
        if self.compares == "accuracy":
            return (self.ours.robust - self.theirs.robust) / self.ours.images
        return self.ours.median / self.theirs.median - 1

    @property
    def within(self) -> bool:
        """Whether it is no more than :data:`MAY_DIFFER`."""
        return bool(abs(self.difference) <= MAY_DIFFER[self.compares] + 1e-9)

    @property
    def only_ours(self) -> int:
        """Images that our attack fools the model with and theirs does not."""
        return int(np.sum(self.ours.fooled & ~self.theirs.fooled))

    @property
    def only_theirs(self) -> int:
        """The other way round."""
        return int(np.sum(~self.ours.fooled & self.theirs.fooled))

    def interval(self) -> tuple[float, float]:
        """Where 95 % of the differences lie if the attacked images are drawn again, both sides' together."""
        random = np.random.default_rng(0)
        drawn = random.integers(len(self.ours.fooled), size=(_RESAMPLES, len(self.ours.fooled)))
        if self.compares == "accuracy":
            held = self.theirs.fooled.astype(float) - self.ours.fooled
            differences = held[drawn].sum(1) / self.ours.images
        else:
            with np.errstate(invalid="ignore"):  # infinity over infinity
                differences = (
                    np.median(self.ours.norms[drawn], 1) / np.median(self.theirs.norms[drawn], 1) - 1
                )
        low, high = np.nanpercentile(differences, (2.5, 97.5))
        return float(low), float(high)

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""

        def outcome(side: Outcome) -> dict[str, Any]:
            values = asdict(side) | {"fooled": side.fooled.tolist(), "norms": side.norms.tolist()}
            return values | {"robust_accuracy": side.robust / side.images, "median_l2": side.median}

        return {
            "match": self.name,
            "compares": self.compares,
            "settings": self.settings,
            "peer": self.peer,
            "difference": self.difference,
            "interval": self.interval(),
            "within": self.within,
            "only_ours": self.only_ours,
            "only_theirs": self.only_theirs,
            "ours": outcome(self.ours),
            "theirs": outcome(self.theirs),
        }


def accuracy_sheet(comparisons: Sequence[Comparison]) -> Sheet:
    """Robust accuracy under both implementations."""
    sheet = Sheet(
        "Robust accuracy, %",
        (
            "attack", ">images", ">ours", "of", ">theirs", ">difference, points", ">fooled by one alone",
            "within 0.5", ">CPU s an image",
        ),
        "With the 95 % interval of ours as an estimate for all test images. The difference is ours less "
        "theirs on the same images, with the interval that drawing these images again gives. Fooled by one "
        "alone: images that only ours fools the model with, and that only theirs does. The CPU time is of an "
        "attacked image, ours and theirs.",
    )  # fmt: skip
    for one in comparisons:
        if one.compares != "accuracy":
            continue
        low, high = wilson(one.ours.robust, one.ours.images)
        sheet.add(
            one.name,
            f"{one.ours.images:,}",
            f"{100 * one.ours.robust / one.ours.images:.1f} ({100 * low:.1f} – {100 * high:.1f})",
            one.peer,
            f"{100 * one.theirs.robust / one.theirs.images:.1f}",
            _signed(100 * one.difference, [100 * bound for bound in one.interval()], digits=1),
            f"{one.only_ours} / {one.only_theirs}",
            "yes" if one.within else "no",
            _seconds(one),
        )
    return sheet


def norm_sheet(comparisons: Sequence[Comparison]) -> Sheet:
    """Median norms of both implementations."""
    sheet = Sheet(
        "Median L2 norm of the smallest perturbation found",
        (
            "attack", ">attacked", ">fooled", ">ours", "of", ">fooled", ">theirs", ">difference, %",
            "within 3 %", ">CPU s an image",
        ),
        "Over the attacked images, those that the model gets right; one that is not fooled counts as "
        "infinitely far. The difference is ours less theirs over theirs, with the interval that drawing "
        "these images again gives. Below zero ours found the smaller one.",
    )  # fmt: skip
    for one in comparisons:
        if one.compares != "norm":
            continue
        sheet.add(
            one.name,
            f"{len(one.ours.fooled):,}",
            f"{np.sum(one.ours.fooled):,}",
            f"{one.ours.median:.4f}",
            one.peer,
            f"{np.sum(one.theirs.fooled):,}",
            f"{one.theirs.median:.4f}",
            _signed(100 * one.difference, [100 * bound for bound in one.interval()], digits=2),
            "yes" if one.within else "no",
            _seconds(one),
        )
    return sheet


def _signed(value: float, interval: Sequence[float], *, digits: int) -> str:
    low, high = interval
    return f"{value:+.{digits}f} ({low:+.{digits}f} – {high:+.{digits}f})"


def _seconds(one: Comparison) -> str:
    ours, theirs = (side.seconds / max(1, len(side.fooled)) for side in (one.ours, one.theirs))
    return f"{ours:.3g} / {theirs:.3g}"
