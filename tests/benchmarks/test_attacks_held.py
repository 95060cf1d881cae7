"""The benchmark that holds our attacks against others: equal images, one judge, nothing measured twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import attacks_held
import numpy as np
import pytest
from attacks_held import OURS, choose, main
from held_ledger import Entry, Ledger
from held_matches import FOOLBOX, Library, Match, Run, Subject, matches
from held_report import Comparison, Outcome, accuracy_sheet, norm_sheet
from libraries import import_library, is_installed
from support.digits import digits
from torch import Tensor, nn

from holdfast.errors import UsageError
from training.data import Dataset, Split


@pytest.fixture
def hold(
    tmp_path: Path, digits_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Run the benchmark on the scanned digits; gives back what it writes into its file."""
    images, labels = digits()
    split = Split(np.rint(images[1500:] * 255).astype(np.uint8), labels[1500:])
    monkeypatch.setattr(
        attacks_held, "load", lambda _name: Dataset("digits", split, split, [str(n) for n in range(10)])
    )

    def run(*attacks: str, **options: Any) -> dict[str, Any]:
        results = tmp_path / "held.json"
        chosen = {"epsilon": "0.1", "images": 50, "batch": 20} | options
        main(
            "digits",
            store=digits_store,
            attacks=list(attacks),
            seed=0,
            threads=1,
            runs=tmp_path / "runs",
            json_path=results,
            **chosen,
        )
        found: dict[str, Any] = json.loads(results.read_text())
        return found

    return run


def play(run: Run, monkeypatch: pytest.MonkeyPatch, name: str = "fgsm") -> list[int]:
    """Put another opponent into a match; gives back the images of each of its turns."""
    turns: list[int] = []

    def make(subject: Subject) -> Run:
        def counted(images: Tensor, labels: Tensor) -> Tensor:
            turns.append(len(images))
            return run(images, labels)

        return counted

    match = replace(matches()[name], peers={FOOLBOX: make})
    monkeypatch.setattr(attacks_held, "matches", lambda: {name: match})
    return turns


def test_our_attacks_are_foolboxs_on_the_same_images(hold: Callable[..., dict[str, Any]]) -> None:
    found = {
        one["match"]: one for one in hold("fgsm", "pgd-20", "ddn")["comparisons"] if one["peer"] == "foolbox"
    }
    assert set(found) == {"fgsm", "pgd-20", "ddn"}
    for name, one in found.items():
        assert one["within"], name
        assert len(one["ours"]["fooled"]) == len(one["theirs"]["fooled"]) >= 30, name
    assert 0 < found["fgsm"]["ours"]["robust_accuracy"] < 1
    np.testing.assert_allclose(found["ddn"]["ours"]["norms"], found["ddn"]["theirs"]["norms"], rtol=0.05)


def test_what_was_measured_is_not_measured_again(
    hold: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = play(lambda images, labels: images, monkeypatch)
    first = hold("fgsm")
    assert len(turns) == 3
    assert hold("fgsm")["comparisons"] == first["comparisons"]
    assert len(turns) == 3
    hold("fgsm", images=60)  # the last batch of 10 becomes one of 20
    assert len(turns) == 4
    hold("fgsm", images=60, again=True)  # ours alone
    assert len(turns) == 4
    hold("fgsm", images=60, epsilon="0.2")
    assert len(turns) == 7


def test_a_result_outside_the_budget_or_the_range_fools_nobody(
    hold: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(lambda images, labels: 1 - images, monkeypatch)
    (one,) = hold("fgsm")["comparisons"]
    assert not any(one["theirs"]["fooled"])
    (one,) = hold("fgsm", epsilon="1")["comparisons"]
    assert any(one["theirs"]["fooled"])
    play(lambda images, labels: -0.5 * images, monkeypatch)
    (one,) = hold("fgsm", epsilon="0.99")["comparisons"]
    assert not any(one["theirs"]["fooled"])


def test_a_library_that_is_not_installed_is_left_out_and_named(
    hold: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Library("nobodys-attacks", "nobodys_attacks")
    match = replace(matches()["fgsm"], peers={absent: lambda subject: pytest.fail("it is not there")})
    monkeypatch.setattr(attacks_held, "matches", lambda: {"fgsm": match})
    monkeypatch.setattr(attacks_held, "LIBRARIES", (FOOLBOX, absent))
    content = hold("fgsm")
    assert content["comparisons"] == []
    assert content["missing"] == ["nobodys-attacks"]
    assert "Not installed, left out: nobodys-attacks." in capsys.readouterr().out


def test_an_unknown_match_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no match 'pdg'") as refused:
        choose(["pdg"])
    assert "fgsm, pgd-20" in str(refused.value.hint)
    assert [match.name for match in choose(["ddn", "fgsm"])] == ["fgsm", "ddn"]


@pytest.mark.parametrize("match", matches().values(), ids=lambda match: match.name)
def test_every_match_has_parameters_that_our_attack_takes(match: Match) -> None:
    subject = Subject(nn.Identity(), 8 / 255, seed=3)
    parameters = match.parameters(subject)
    assert parameters.seed == 3
    if match.compares == "accuracy":
        assert parameters.budget == ("linf", 8 / 255)
    if "step_share" in match.settings:
        assert parameters.model_dump()["step_size"] == pytest.approx(2 / 255)


def compare(compares: Any, ours: list[float], theirs: list[float], images: int) -> Comparison:
    """A comparison of norms; infinite ones are of images that hold."""

    def outcome(norms: list[float]) -> Outcome:
        return Outcome(np.isfinite(norms), np.array(norms), images, 3.0)

    return Comparison("a match", compares, "its own", "their library", outcome(ours), outcome(theirs))


INF = float("inf")


def test_accuracies_are_compared_over_all_images_and_image_by_image() -> None:
    one = compare("accuracy", [1, INF, 1, INF], [1, 1, INF, INF], images=1000)
    assert (one.ours.robust, one.theirs.robust, one.difference) == (2, 2, 0)
    assert (one.only_ours, one.only_theirs, one.within) == (1, 1, True)
    assert one.interval()[0] < 0 < one.interval()[1]
    off = compare("accuracy", [1, 1, 1], [1, 1, INF], images=100)
    assert (off.difference, off.within) == (-0.01, False)
    assert compare("accuracy", [1, 1, 1], [1, 1, INF], images=200).within
    (row,) = accuracy_sheet([off, compare("norm", [1], [1], 1)]).rows
    assert row[5].startswith("-1.0 (")
    assert row[6:] == ("1 / 0", "no", "1 / 1")


def test_norms_are_compared_by_their_medians() -> None:
    one = compare("norm", [1.0, 2.06, 3.0], [1.0, 2.0, INF], images=5)
    assert one.difference == pytest.approx(0.03)
    assert one.within
    assert not compare("norm", [1.0, 1.9, 3.0], [1.0, 2.0, 3.0], images=5).within
    (row,) = norm_sheet([one, compare("accuracy", [1], [1], 1)]).rows
    assert row[:7] == ("a match", "3", "3", "2.0600", "their library", "2", "2.0000")


def test_the_ledger_survives_a_torn_line_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "fgsm.jsonl"
    old = Entry(OURS, "settings", 0, 2, [True, False], [True], [0.5], 1.0)
    Ledger(path).add(old)
    Ledger(path).add(replace(old, norms=[0.25]))
    path.write_text(path.read_text() + '{"side": "holdf')
    ledger = Ledger(path)
    found = ledger.find(OURS, "settings", 0, 2)
    assert found is not None
    assert found.norms == [0.25]
    assert ledger.find(OURS, "other settings", 0, 2) is None
    assert ledger.find(OURS, "settings", 0, 3) is None


def test_a_module_that_is_imported_without_need_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "draws_itself.py").write_text("import nowhere_to_draw\nvalue = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not is_installed("draws_itself")
    assert import_library("draws_itself", unused="nowhere_to_draw").value == 3
    assert not is_installed("nowhere_to_draw")
