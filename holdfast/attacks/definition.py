"""What the catalogue knows of an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import AttackParameters
from holdfast.attacks.problem import Problem

#: What an attack asks of a model: gradients, the logits, only the predicted class, or nothing at all.
Access = Literal["gradient", "scores", "decision", "none"]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: In the API, on the command line and in the docs, e.g. ``apgd-ce``.
        summary: One line that says what it does.
        source: Authors, year and title of the paper.
        access: What it asks of the model.
        minimises: Whether it looks for the smallest perturbation rather than for any within a budget.
        parameters: The model of its parameters; no two attacks share one.
        core: From a problem, none of whose images is fooled yet unless the parameters do not skip those, and
            parameters of that type, to adversarial images (n, c, h, w): for each image the best that was
            found, or anything within the budget where nothing was.
    """

    name: str
    summary: str
    source: str
    access: Access
    parameters: type[AttackParameters]
    core: Callable[[Problem, Any], Array]
    minimises: bool = False
