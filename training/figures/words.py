"""Budgets as titles and labels have them."""

from __future__ import annotations

from holdfast.units import format_budget


def norm_sign(norm: str) -> str:
    """L∞ or L2, as people write it.

    >>> norm_sign("linf")
    'L∞'
    """
    return {"linf": "L∞", "l2": "L2"}[norm]


def budget(norm: str, epsilon: float) -> str:
    """A budget with its norm.

    >>> budget("linf", 8 / 255)
    'L∞ 8/255'
    """
    return f"{norm_sign(norm)} {format_budget(epsilon)}"


def in_units(norm: str, epsilon: float) -> float:
    """What budgets around this one are multiplied by on an axis: 255 where people count in 255ths.

    >>> in_units("linf", 8 / 255), in_units("linf", 0.3), in_units("l2", 128 / 255)
    (255.0, 1.0, 1.0)
    """
    return 255.0 if norm == "linf" and "/" in format_budget(epsilon) else 1.0


def unit(norm: str, epsilon: float) -> str:
    """The unit of such an axis.

    >>> unit("linf", 8 / 255), unit("l2", 0.5)
    ('L∞, in 1/255', 'L2, in image units')
    """
    return f"{norm_sign(norm)}, in " + ("1/255" if in_units(norm, epsilon) == 255 else "image units")


def written_like(value: float, epsilon: float) -> str:
    """A budget, in 255ths where another one is: 0.2 beside 0.1, though it is 51/255.

    >>> written_like(0.2, 0.1), written_like(2 / 255, 8 / 255), written_like(0, 8 / 255)
    ('0.2', '2/255', '0')
    """
    return f"{value * 255:.6g}/255" if value and "/" in format_budget(epsilon) else f"{value:.6g}"
