"""One attack at many budgets, or with many steps, as lines that the ledgers of other tables know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import UsageError
from holdfast.manifest import ThreatModel
from holdfast.units import format_budget, parse_budget
from training.evaluation.line import CLEAN, Line
from training.figures.words import written_like

Over = Literal["epsilon", "steps"]

#: Of the budget: up to twice it, where it shows whether accuracy falls to nothing as it must.
_QUARTERS = 8
#: FS Table 1 has 10, 20, 40 and 100.
_STEPS = (1, 2, 5, 10, 20, 40, 100)
_NAME = re.compile(r"(.+?)(?:-(\d+))?(x\d+)?")
_COUNTED = {"steps": "steps", "query_budget": "queries", "tries": "tries"}


@dataclass(frozen=True)
class Sweep:
    """The points of the horizontal axis.

    Attributes:
        over: What changes from point to point.
        threat: The budget that is in the middle, or that all points have.
        points: Each as a number, and as it is written in a line.
    """

    over: Over
    threat: ThreatModel
    points: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, over: str, threat: ThreatModel, at: str | None = None) -> Sweep:
        """The points that are wanted, or the usual ones.

        Args:
            over: ``epsilon``: from 0 to twice the threat model's; ``steps``: from 1 to 100.
            threat: Of the bundles.
            at: Other points, separated by commas.

        Raises:
            UsageError: There is no such axis or no such point, or the threat model leaves no budget.
        """
        if over not in ("epsilon", "steps"):
            raise UsageError(f"--over is epsilon or steps, not {over!r}.")
        if over == "steps" or at is None:
            _check_budget(threat)
        if over == "steps":
            steps = [_whole(text) for text in at.split(",")] if at else list(_STEPS)
            return cls("steps", threat, _sorted([(float(step), str(step)) for step in steps]))
        if at is not None:
            return cls("epsilon", threat, _sorted([(parse_budget(text), text) for text in at.split(",")]))
        quarters = [threat.epsilon * k / 4 for k in range(_QUARTERS + 1)]
        texts = [written_like(quarter, threat.epsilon) for quarter in quarters]
        return cls("epsilon", threat, _sorted([(parse_budget(text), text) for text in texts]))

    def name(self, attack: str) -> str:
        """What the curve of an attack is called: without what changes along it.

        Args:
            attack: A line, e.g. ``cw-20x5,loss=dlr``.

        Raises:
            UsageError: The line says itself what should change along the curve, or is no attack.
        """
        head, *rest = attack.split(",")
        match = _NAME.fullmatch(head)
        if match is None or head == CLEAN:
            raise UsageError(
                f"{attack!r} is no attack to draw a curve of.", hint="Name one with --attack, e.g. pgd-20."
            )
        keys = {part.partition("=")[0] for part in rest}
        fixed = keys & ({"epsilon"} if self.over == "epsilon" else set(_COUNTED))
        if fixed:
            raise UsageError(
                f"{attack!r} fixes {', '.join(sorted(fixed))}, which changes along this figure's axis.",
                hint="Leave it out, or say the points with --at.",
            )
        if self.over == "epsilon":
            return attack
        return ",".join([match[1] + (match[3] or ""), *rest])

    def lines(self, attack: str, seed: int = 0) -> list[tuple[float, Line]]:
        """The attack at each point; at ε = 0 there is none.

        Args:
            attack: A line; over steps, its own are left aside.
            seed: Of all that is random.

        Raises:
            UsageError: There is no such attack, or it has no steps.
        """
        self.name(attack)
        return [(at, Line.parse(self._text(attack, at, text), self.threat, seed)) for at, text in self.points]

    def counted(self, lines: list[Line]) -> str:
        """What the horizontal axis of a figure over steps counts: ``steps``, ``queries`` or both."""
        kinds = [type(line.parameters).model_fields for line in lines if line.parameters is not None]
        found = (next(word for field, word in _COUNTED.items() if field in kind) for kind in kinds)
        return " or ".join(dict.fromkeys(found))

    def _text(self, attack: str, at: float, text: str) -> str:
        head, *rest = attack.split(",")
        if self.over == "steps":
            match = _NAME.fullmatch(head)
            assert match is not None  # noqa: S101 (name() has seen it)
            return ",".join([f"{match[1]}-{text}{match[3] or ''}", *rest])
        if at == 0:
            return CLEAN
        # What the attack has when nothing is said: the line that tables have, too.
        own = format_budget(at) == format_budget(self.threat.epsilon)
        return attack if own else f"{attack},epsilon={text}"


def _check_budget(threat: ThreatModel) -> None:
    if not threat.epsilon:
        raise UsageError(
            "The bundle was trained for no budget (ε = 0).", hint="Name one with --epsilon, e.g. 8/255."
        )


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--at: {text!r} is no number of steps.", hint="Write e.g. --at 1,10,100.")
    return int(text)


def _sorted(points: list[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    found = dict(sorted(points))
    if len(found) < 2:
        raise UsageError("A curve has two points at least.", hint="Write e.g. --at 0,4/255,8/255.")
    return tuple(found.items())
