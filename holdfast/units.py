"""Perturbation budgets: numbers in image units ([0, 1]) that people write as ``8/255``."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from holdfast.errors import UsageError


def parse_budget(value: object) -> float:
    """Read a budget in image units from a number, a decimal or a fraction such as ``"8/255"``.

    Raises:
        UsageError: The value is no number, is negative, or is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise UsageError(f"A budget is a number or a fraction such as '8/255', not {value!r}.")
    try:
        number = _read(value) if isinstance(value, str) else float(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(
            f"{value!r} is not a budget.", hint="Write a number in [0, 1] image units, e.g. 0.031 or 8/255."
        ) from None
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"A budget is finite and not negative; {value!r} is not.")
    return number


def _read(text: str) -> float:
    """A decimal, or one over another; floats, because a fraction of 1e999999999 would fill the memory."""
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(above)


def format_budget(value: float) -> str:
    """Write a budget the way people read it: ``8/255`` where it is a multiple of 1/255, else a decimal.

    >>> format_budget(8 / 255), format_budget(0.3)
    ('8/255', '0.3')
    """
    steps = value * 255
    if value and abs(steps - round(steps)) < 1e-6 and round(steps) < 64:
        return f"{round(steps)}/255"
    return f"{value:.6g}"


def _validate(value: object) -> float:
    try:
        return parse_budget(value)
    except UsageError as error:
        raise ValueError(f"{error.message} {error.hint}".strip()) from None


#: What a form or a caller may send: the schema's ``format`` says that it is in image units.
_Written = Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=r"^\s*[0-9.eE+-]+(/[0-9]+)?\s*$")]

Budget = Annotated[
    float,
    Field(ge=0),  # before the validator, or it lands in the schema beside both ways of writing
    BeforeValidator(_validate, json_schema_input_type=_Written),
    PlainSerializer(lambda value: value, return_type=float),
    Field(
        description="A size in image units ([0, 1]); a fraction such as '8/255' is accepted.",
        json_schema_extra={"format": "budget"},
    ),
]
