"""A recipe may name a training method that is no part of the package, by where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.own_method import Weighted

from holdfast.errors import UsageError
from training import methods, recipe
from training.import_path import load_object


def test_a_recipe_names_a_method_by_where_it_is_and_its_parameters_are_checked_and_written_out() -> None:
    plan = recipe.load("standard-digits", ["method.name=support.own_method:Weighted"])
    assert plan.method == {"name": "support.own_method:Weighted", "weight": 1.0}
    method = recipe.load(
        "standard-digits", ["method.name=support.own_method:Weighted", "method.weight=2"]
    ).make_method()
    assert isinstance(method, Weighted)
    assert method.parameters.weight == 2
    with pytest.raises(UsageError, match="wait"):
        recipe.load("standard-digits", ["method.name=support.own_method:Weighted", "method.wait=2"])


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("support.own_method:NUMBER", "no training method"),
        ("support.own_method:Unfinished", "has no loss"),
        ("support.own_method:Bare", "does not say what parameters"),
        ("support.own_method:Nothing", "has no 'Nothing'"),
        ("support.nowhere:Method", "no module 'support.nowhere'"),
        ("standart", "no training method 'standart'"),
    ],
)
def test_what_is_no_method_is_refused_and_the_recipe_says_so(reference: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        methods.find(reference)
    with pytest.raises(UsageError, match=reason):
        recipe.load("standard-digits", [f"method.name={reference}"])


def test_a_module_that_fails_when_it_is_imported_is_told_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "breaking_method.py").write_text("1 / 0")
    (tmp_path / "needing_method.py").write_text("import no_such_package")
    with pytest.raises(UsageError, match=r"breaking_method cannot be imported: ZeroDivisionError"):
        load_object("breaking_method:Method")
    with pytest.raises(UsageError, match=r"needs the module 'no_such_package'"):
        load_object("needing_method:Method")
    with pytest.raises(UsageError, match="is no import path"):
        load_object("method.py")


def test_the_current_directory_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lying_here.py").write_text("ANSWER = 42")
    assert load_object("lying_here:ANSWER") == 42
