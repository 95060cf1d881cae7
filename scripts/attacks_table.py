#!/usr/bin/env python3
"""Write the table of attacks into docs/attacks.md, from the catalogue. A test holds the page against it."""

from pathlib import Path

from holdfast.attacks import catalogue
from holdfast.attacks.definition import Attack
from holdfast.attacks.description import describe
from holdfast.attacks.parameters import CHECKS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "attacks.md"
BEGIN, END = "<!-- begin attacks -->\n", "<!-- end attacks -->"

#: What the costs in the table are for.
CLASSES = 10

_HEAD = "| attack | asks for | looks for | norms | aims at a class | passes | what it does | from |"
_NORMS = {"linf": "L∞", "l2": "L2"}


def markdown() -> str:
    """The table."""
    rows = [_HEAD, "|---|---|---|---|---|---:|---|---|"]
    rows += [f"| {' | '.join(_cells(attack))} |" for attack in catalogue().values()]
    return "\n".join(rows)


def _cells(attack: Attack) -> list[str]:
    described = describe(attack)
    cost = attack.parameters().cost(CLASSES) + CHECKS
    passes = f"{cost.forwards:,} + {cost.backwards:,}" if cost.backwards else f"{cost.forwards:,}"
    return [
        f"`{described.name}`",
        described.access,
        "the nearest" if described.minimises else "any within ε",
        ", ".join(_NORMS[norm] for norm in described.norms),
        "yes" if described.targetable else "",
        passes,
        described.summary.replace("|", "\\|"),
        described.source.replace("|", "\\|"),
    ]


def inserted(page: str) -> str:
    """The page with the table in its place.

    Raises:
        ValueError: It has no such place.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN.strip()} and {END}")
    return f"{before}{begin}\n{markdown()}\n\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
