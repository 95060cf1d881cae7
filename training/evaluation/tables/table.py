"""A table of a paper: its numbers as they are printed, and what is measured to put ours beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.manifest import Defence, Manifest, ThreatModel
from training import methods

#: What a cell says. A share in percent, a mean norm in image units, or a mean cosine.
Quantity = Literal["accuracy", "norm", "match rate", "cosine"]

#: The budgets of the papers.
EIGHT = ThreatModel(norm="linf", epsilon=8 / 255)
MNIST = ThreatModel(norm="linf", epsilon=0.3)

#: AutoAttack's four, each on every image: an image is held if it holds under all of them.
AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")
_NUMBER = re.compile(r"(?P<most><=)?(?P<value>\d+(?:\.\d+)?)(?:±(?P<deviation>\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Published:
    """A number of a paper.

    Attributes:
        text: As it is printed, without the percent sign.
        value: In the table's unit.
        deviation: What stands behind ±.
        at_most: The paper only says that it is no larger.
    """

    text: str
    value: float
    deviation: float | None = None
    at_most: bool = False

    @classmethod
    def read(cls, text: str) -> Published | None:
        """From ``95.6``, ``<=1`` or ``0.993±0.035``; ``-`` is no number.

        Raises:
            ValueError: It is none of these.
        """
        if text == "-":
            return None
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no number of a table")
        deviation = match["deviation"]
        shown = text.replace("<=", "≤ ").replace("±", " ± ")
        return cls(shown, float(match["value"]), float(deviation) if deviation else None, bool(match["most"]))


@dataclass(frozen=True)
class Above:
    """An option that is greater than a number, whatever it is."""

    bound: float

    def __str__(self) -> str:
        return f"> {self.bound:g}"


@dataclass(frozen=True)
class Player:
    """Which bundles may play a part: those trained by a method with these options.

    Attributes:
        method: Its name in recipes.
        options: Of the method, each with its value or a bound. A recipe that does not name one has the
            method's default.
        share: Of its recipe's epochs that the network was trained for; None for any, all of them if there is
            a choice.
    """

    method: str
    options: tuple[tuple[str, str | float | Above], ...] = ()
    share: float | None = None

    def fits(self, manifest: Manifest) -> bool:
        """Whether a bundle was trained so."""
        if manifest.method != self.method:
            return False
        if not all(_is(_option(manifest, name), wanted) for name, wanted in self.options):
            return False
        return self.share is None or abs(share_trained(manifest) - self.share) < 0.02

    def __str__(self) -> str:
        options = ", ".join(
            f"{name} {wanted}" if isinstance(wanted, Above) else f"{name} = {wanted}"
            for name, wanted in self.options
        )
        share = "" if self.share is None else f"{self.share:.0%} of the epochs"
        within = "; ".join(part for part in (options, share) if part)
        return f"{self.method} ({within})" if within else self.method


#: From this share of its epochs on, a network was trained to the end.
WHOLE = 0.98


def share_trained(manifest: Manifest) -> float:
    """The share of its recipe's epochs that a network was trained for; 1 where nobody can know."""
    epochs, trained = manifest.recipe.get("epochs"), manifest.training
    return 1.0 if not epochs or trained is None else trained.epochs / epochs


def player(method: str, share: float | None = None, **options: str | float | Above) -> Player:
    """A player, its options as keywords."""
    return Player(method, tuple(options.items()), share)


#: Another network trained like the one under attack, in FS's word.
Siamese = Literal["siamese"]
SIAMESE: Siamese = "siamese"
#: Whom an attack is crafted on.
Source = Player | Siamese


@dataclass(frozen=True)
class Column:
    """What is measured in every row.

    Attributes:
        label: As the paper has it.
        lines: What is run (:mod:`training.evaluation.line`); with several the worst case, image by image.
        quantity: What a cell says of it.
        source: Whom the attack is crafted on, if not on the network under attack.
        group: What the paper prints above several columns.
    """

    label: str
    lines: tuple[str, ...]
    quantity: Quantity = "accuracy"
    source: Source | None = None
    group: str = ""

    @property
    def name(self) -> str:
        """The label, and before it the group's."""
        return f"{self.group}: {self.label}" if self.group else self.label


@dataclass(frozen=True)
class Row:
    """One network of the table.

    Attributes:
        label: As the paper has it.
        values: One for each column.
        player: Which of our bundles plays it; None for those that nothing here can.
        defence: Behind which.
        adaptive: Whether attacks know that defence. In the papers they do not.
        source: Whom all attacks are crafted on, if not on the network itself.
        lines: By a column's label, what is run instead; None for nothing.
    """

    label: str
    values: tuple[Published | None, ...]
    player: Player | None
    defence: Defence = "none"
    adaptive: bool = False
    source: Source | None = None
    lines: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of a paper, of one data set: papers' tables of several are several of these.

    Attributes:
        name: For ``--table``, e.g. ``fs-1``.
        title: What it shows.
        source: The paper, and the table's number there.
        dataset: That bundles were trained on, and images are taken from.
        threat: The budget of attacks that name none.
        columns: What is measured.
        rows: On what.
        notes: What differs between the paper's measurement and ours, and what is odd about its numbers.
    """

    name: str
    title: str
    source: str
    dataset: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    threat: ThreatModel = EIGHT

    def __post_init__(self) -> None:
        for each in self.rows:
            if len(each.values) != len(self.columns):
                raise ValueError(
                    f"{self.name}, {each.label}: {len(each.values)} of {len(self.columns)} values"
                )


def columns(text: str, *, source: Source | None = None, group: str = "") -> tuple[Column, ...]:
    """Columns of accuracies: ``Clean=clean PGD20=pgd-20`` and the like; ``AA`` needs no line."""
    pairs = [part.partition("=") for part in text.split()]
    return tuple(
        Column(label, (line,) if line else AUTOATTACK, source=source, group=group) for label, _, line in pairs
    )


def row(
    label: str,
    values: str,
    plays: Player | None = None,
    *,
    defence: Defence = "none",
    adaptive: bool = False,
    source: Source | None = None,
    lines: dict[str, str | None] | None = None,
) -> Row:
    """A row, its values as the paper prints them with blanks between."""
    found = tuple(Published.read(text) for text in values.split())
    return Row(label, found, plays, defence, adaptive, source, tuple((lines or {}).items()))


def empty(columns: Sequence[Column]) -> str:
    """The values of a row that the paper does not have."""
    return " ".join("-" for _ in columns)


def _option(manifest: Manifest, name: str) -> Any:
    options = manifest.recipe.get("method", {})
    if name in options:
        return options[name]
    return methods.find(manifest.method).Parameters.model_fields[name].default


def _is(value: Any, wanted: str | float | Above) -> bool:
    if isinstance(wanted, Above):
        return isinstance(value, int | float) and value > wanted.bound
    if isinstance(wanted, str):
        return bool(value == wanted)
    return isinstance(value, int | float) and abs(value - wanted) < 1e-9
