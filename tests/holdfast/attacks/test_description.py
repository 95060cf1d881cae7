"""Attacks in words: what the lists, the forms and the documentation show."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from holdfast.attacks import Cost, catalogue, find
from holdfast.attacks.description import describe, norms, parameters_of
from holdfast.attacks.parameters import BoundedParameters, MinimalParameters
from holdfast.units import Budget


class Odd(BoundedParameters):
    """One parameter of each kind."""

    whole: Annotated[int, Field(ge=1, le=5_000_000)] = 3
    least: Annotated[int, Field(ge=2)] = 2
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    free: float = 1.5
    switch: bool = True
    choice: Literal["a", "b"] = "a"
    either: int | Literal["auto"] | None = None
    size: Budget | None = None
    several: tuple[int, ...] = (1, 2)
    words: str = "x"

    def cost(self, classes: int) -> Cost:
        return Cost(1)


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("norm", "linf, l2", "linf"),
        ("epsilon", "image units, such as 8/255", "8/255"),
        ("whole", "integer from 1 to 5,000,000", "3"),
        ("least", "integer from 2", "2"),
        ("share", "number above 0 below 1", "0.5"),
        ("free", "number", "1.5"),
        ("switch", "true, false", "true"),
        ("choice", "a, b", "a"),
        ("either", "integer or auto or none", "none"),
        ("size", "image units, such as 8/255 or none", "none"),
        ("several", "list of integer", "1, 2"),
        ("words", "text", "x"),
        ("seed", "integer from 0", "0"),
    ],
)
def test_what_a_parameter_may_be_is_said_in_words(name: str, values: str, default: str) -> None:
    (parameter,) = [each for each in parameters_of(Odd) if each.name == name]
    assert (parameter.values, parameter.default) == (values, default)


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_attack_can_be_described(name: str) -> None:
    attack = find(name)
    described = describe(attack)
    assert (described.name, described.access, described.minimises) == (name, attack.access, attack.minimises)
    assert described.norms
    assert set(described.norms) <= {"linf", "l2"}
    assert described.targetable == ("target" in attack.parameters.model_fields)
    for parameter in parameters_of(attack.parameters):
        assert parameter.values, f"{name}.{parameter.name} does not say what it may be"
        assert parameter.description


def test_the_norm_of_an_attack_that_has_no_choice_is_known() -> None:
    class Nearest(MinimalParameters):
        @property
        def norm(self) -> Literal["linf", "l2"]:
            return "l2"

        def cost(self, classes: int) -> Cost:
            return Cost(1)

    assert norms(Nearest) == ["l2"]
    assert norms(Odd) == ["linf", "l2"]
