"""`holdfast train --list`."""

from __future__ import annotations

import json

import pytest
from support.cli import invoke

from training import methods, recipe
from training.commands.listing import survey


def test_every_method_but_standard_training_names_its_paper() -> None:
    papers = {name: methods.find(name).paper for name in methods.names()}
    assert [name for name, paper in papers.items() if paper is None] == ["standard"]
    assert all(paper.authors and paper.title and paper.venue for paper in papers.values() if paper)
    assert all(2010 < paper.year < 2100 for paper in papers.values() if paper)


def test_every_method_has_a_recipe_and_every_recipe_its_method() -> None:
    listed = [(entry.name, item.name) for entry in survey() for item in entry.recipes]
    assert {name for name, _ in listed} == set(methods.names())
    assert sorted(item for _, item in listed) == recipe.shipped()


def test_the_list_shows_methods_with_papers_and_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = invoke(capsys, "train", "--list").out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("trades "))
    assert "El Ghaoui & Jordan 2019" in lines[place]
    assert "Theoretically Principled Trade-off between Robustness and Accuracy (ICML)" in lines[place]
    assert lines[place + 1].split() == ["trades-cifar10", "cifar10", "wrn-34-10", "76", "epochs"]


def test_columns_are_the_same_under_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line for line in invoke(capsys, "train", "--list").out.splitlines() if line.startswith("  ")]
    assert len(rows) == len(recipe.shipped())
    assert len({len(row.rstrip()) for row in rows}) == 1


def test_the_list_is_json_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(invoke(capsys, "train", "--list", "--json").out)
    entry = next(item for item in content if item["method"] == "pgd-at")
    assert entry["paper"]["year"] == 2018
    digits = next(item for item in entry["recipes"] if item["name"] == "pgd-at-digits")
    assert digits.pop("source").startswith("Madry et al. 2018")
    assert digits == {"name": "pgd-at-digits", "dataset": "digits", "architecture": "small-cnn", "epochs": 20}
    assert next(item for item in content if item["method"] == "standard")["paper"] is None


def test_json_is_for_the_list_alone(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "train", "pgd-at-digits", "--json")
    assert outcome.code == 2
    assert "only --list writes JSON" in outcome.err
