"""The papers' tables as data: what can be checked of them without the papers at hand."""

from __future__ import annotations

import re

import pytest

from holdfast.errors import UsageError
from training import methods
from training.evaluation.line import Line
from training.evaluation.tables import TABLES, Table, find
from training.evaluation.tables.table import Above, Column, Player, Published, Source, columns, row

BY_NAME = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def numbers(table: Table, label: str) -> list[float | None]:
    (found,) = (each for each in table.rows if each.label == label)
    return [each and each.value for each in found.values]


def test_names_are_unique_and_found() -> None:
    names = [table.name for table in TABLES]
    assert len(set(names)) == len(names)
    assert all(find(name) == (table,) for name, table in zip(names, TABLES, strict=True))


def test_a_number_finds_its_parts_and_a_paper_its_tables() -> None:
    def named(name: str) -> list[str]:
        return [table.name for table in find(name)]

    assert named("fs-3") == ["fs-3a", "fs-3b"]
    assert named("mat-2") == ["mat-2-cifar10", "mat-2-mnist"]
    assert named("fs-gan") == ["fs-gan-1", "fs-gan-2", "fs-gan-3", "fs-gan-4"]
    assert "fs-1" in named("fs")
    assert not any(name.startswith("fs-gan") for name in named("fs"))
    assert named("all") == [table.name for table in TABLES]
    with pytest.raises(UsageError, match="no table 'fs-9'"):
        find("fs-9")
    with pytest.raises(UsageError, match="no table 'f'"):
        find("f")


@BY_NAME
def test_rows_have_a_value_for_each_column_and_labels_are_unique(table: Table) -> None:
    assert all(len(each.values) == len(table.columns) for each in table.rows)
    for labels in ([each.label for each in table.rows], [each.name for each in table.columns]):
        assert len(set(labels)) == len(labels)
    assert any(value for each in table.rows for value in each.values)


@BY_NAME
def test_values_are_in_their_range(table: Table) -> None:
    ranges = {"accuracy": (0, 100), "match rate": (0, 100), "norm": (0, 10), "cosine": (-1, 1)}
    for each in table.rows:
        for column, value in zip(table.columns, each.values, strict=True):
            low, high = ranges[column.quantity]
            assert value is None or low <= value.value <= high
            assert value is None or (value.deviation is not None) == (column.quantity == "cosine")


def test_longer_attacks_leave_no_more_but_where_a_paper_says_so() -> None:
    """A slip of a digit, or of a column, would mostly show here. What is found are the papers' own."""
    found = set()
    for table in TABLES:
        for each in table.rows:
            least: dict[str, float] = {}
            for column, value in zip(table.columns, each.values, strict=True):
                kind = re.fullmatch(r"(pgd|cw)-\d+(x\d+)?", column.lines[0])
                if kind is None or value is None or column.group:
                    continue
                if value.value > least.get(kind[1], 100):
                    found.add((table.name, each.label, column.label))
                least[kind[1]] = value.value
    assert found == {
        ("atld-2-cifar100", "ATLD-IMT", "PGD100"),  # 53.26, 53.35
        ("fs-gan-1", "Ours (FS-GAN)", "PGD20"),  # 92.97, 93.08
        ("fs-gan-2", "PGD10", "CW100"),  # 45.70, 47.42
    }


@BY_NAME
def test_every_line_can_be_run(table: Table) -> None:
    for column in table.columns:
        assert all(Line.parse(line, table.threat) for line in column.lines)
        assert column.quantity in ("accuracy", "norm") or len(column.lines) == 1
        if column.quantity == "norm":
            assert Line.parse(column.lines[0], table.threat).minimises
    for each in table.rows:
        for label, line in each.lines:
            assert label in [column.label for column in table.columns]
            assert line is None or Line.parse(line, table.threat)


@BY_NAME
def test_players_are_methods_with_options_that_they_take(table: Table) -> None:
    for player in players(table):
        parameters = methods.find(player.method).Parameters
        fields = parameters.model_fields
        assert all(name in fields for name, _ in player.options)
        plain = {name: value for name, value in player.options if not isinstance(value, Above)}
        parameters.model_validate(plain)


def players(table: Table) -> list[Player]:
    sources: list[Source | None] = [each.source for each in (*table.rows, *table.columns)]
    found = [*(each.player for each in table.rows), *sources]
    return [each for each in found if isinstance(each, Player)]


def test_every_row_but_others_networks_can_be_played() -> None:
    lacking = {table.name: {each.label for each in table.rows if each.player is None} for table in TABLES}
    others = {name: labels for name, labels in lacking.items() if labels}
    assert set(others) == {"atld-4", "atld-5"}, "networks of others, from their own papers"


def test_what_the_text_says_of_the_numbers_holds() -> None:
    # FS Sec. 5.1: 25.6 points over Madry and 13.0 over Bilateral under PGD20.
    fs = find("fs-1")[0]
    proposed, madry, bilateral = (numbers(fs, label)[3] for label in ("Proposed", "Madry", "Bilateral"))
    assert proposed is not None
    assert madry is not None
    assert bilateral is not None
    assert (proposed - madry, proposed - bilateral) == pytest.approx((25.6, 13.0))
    # ATLD Sec. 5.1: ATLD-IMT is 8.9 and 17.4 points over FS under PGD20 and CW20; on SVHN 17.0 and 18.1.
    for name, places, gains in (("atld-1", (2, 5), (8.98, 17.41)), ("atld-2-svhn", (2, 4), (17.03, 18.14))):
        imt, other = (numbers(find(name)[0], label) for label in ("ATLD-IMT", "FS"))
        for place, gain in zip(places, gains, strict=True):
            ours, theirs = imt[place], other[place]
            assert ours is not None
            assert theirs is not None
            assert ours - theirs == pytest.approx(gain)
    # FS-GAN Sec. V-D: 5.68, 22.68, 38.85 and 15.82 points over the others under PGD100.
    gan = find("fs-gan-2")[0]
    own = numbers(gan, "Ours (FS-GAN)")
    for label, gain in (("Feature-Scatter", 5.68), ("L2L-DA", 22.68), ("L2L", 38.85), ("PGD10", 15.82)):
        other_value, own_value = numbers(gan, label)[3], own[3]
        assert own_value is not None
        assert other_value is not None
        assert own_value - other_value == pytest.approx(gain)


def test_numbers_are_read_as_papers_print_them() -> None:
    assert Published.read("95.60") == Published("95.60", 95.6)
    assert Published.read("0.993±0.035") == Published("0.993 ± 0.035", 0.993, 0.035)
    assert Published.read("<=1") == Published("≤ 1", 1.0, at_most=True)
    assert Published.read("-") is None
    for text in ("-65.76", "9O.76", "62. 10", ""):
        with pytest.raises(ValueError, match="no number"):
            Published.read(text)


def test_a_row_that_lacks_a_value_is_refused() -> None:
    made = columns("Clean=clean PGD20=pgd-20")
    with pytest.raises(ValueError, match="1 of 2 values"):
        Table("t", "", "", "digits", made, (row("short", "1.0"),))
    assert made[1] == Column("PGD20", ("pgd-20",))
