"""Budgets as people write and read them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from holdfast.errors import UsageError
from holdfast.units import Budget, format_budget, parse_budget


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8/255", 8 / 255),
        (" 8/255 ", 8 / 255),
        ("0.3", 0.3),
        ("1e-3", 0.001),
        ("0", 0.0),
        (0.3, 0.3),
        (1, 1.0),
        (Fraction(4, 255), 4 / 255),
    ],
)
def test_numbers_decimals_and_fractions_are_read(written: object, value: float) -> None:
    assert parse_budget(written) == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "eight",
        "8/",
        "8/0",
        "8/255/2",
        "1e999999999",
        "1e999999999/1e999999999",
        "0x8",
        "nan",
        "inf",
        "-1/255",
        -0.1,
        math.nan,
        math.inf,
        True,
        None,
        [8],
    ],
)
def test_what_is_no_budget_is_refused(written: object) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse_budget(written)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (1 / 255, "1/255"),
        (0.3, "0.3"),
        (0.0, "0"),
        (0.5, "0.5"),
        (1.0, "1"),
        (128 / 255, "0.501961"),
    ],
)
def test_budgets_are_written_as_people_read_them(value: float, text: str) -> None:
    assert format_budget(value) == text


@given(st.integers(0, 63))
def test_small_multiples_of_a_step_come_back_exactly(steps: int) -> None:
    assert parse_budget(format_budget(steps / 255)) == steps / 255


@given(st.floats(0, 1))
def test_every_budget_comes_back_within_its_digits(value: float) -> None:
    assert parse_budget(format_budget(value)) == pytest.approx(value, rel=1e-5, abs=1e-8)


class Attack(BaseModel):
    epsilon: Budget = 8 / 255


def test_models_take_fractions_and_write_numbers() -> None:
    attack = Attack.model_validate({"epsilon": "4/255"})
    assert attack.epsilon == 4 / 255
    assert attack.model_dump_json() == f'{{"epsilon":{4 / 255!r}}}'


def test_models_refuse_what_is_no_budget_and_say_what_is() -> None:
    with pytest.raises(ValidationError, match=r"8/255"):
        Attack.model_validate({"epsilon": "much"})


def test_schema_offers_numbers_and_text() -> None:
    schema = Attack.model_json_schema()["properties"]["epsilon"]
    assert {entry["type"] for entry in schema["anyOf"]} == {"number", "string"}


def test_the_schema_says_the_unit_and_both_ways_to_write_a_budget() -> None:
    class Parameters(BaseModel):
        epsilon: Budget = 8 / 255

    schema = Parameters.model_json_schema()["properties"]["epsilon"]
    assert schema["format"] == "budget"
    assert [option["type"] for option in schema["anyOf"]] == ["number", "string"]
    assert schema["anyOf"][0]["minimum"] == 0
    assert "ge" not in schema
