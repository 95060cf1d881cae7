"""``holdfast figures curves``: the numbers behind the curves, and what an interruption costs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from holdfast.interval import wilson
from training import data
from training.commands.evaluate import app as evaluate
from training.commands.figures import app
from training.evaluation.measurement import Bench


def draw(store: Path, into: Path, *arguments: str) -> dict[str, Any]:
    options = ["--store", str(store), "--ledgers", str(into / "ledgers"), "--out", str(into / "out")]
    result = CliRunner().invoke(
        app, ["curves", *arguments, *options, "--threads", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    name = "curves-steps" if "steps" in arguments else "curves-epsilon"
    found: dict[str, Any] = json.loads((into / "out" / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that were measured, in order."""
    names: list[str] = []
    measure = Bench.measure

    def noting(self: Bench, what: Any, *rest: Any) -> Any:
        names.append(what.line.name)
        return measure(self, what, *rest)

    monkeypatch.setattr(Bench, "measure", noting)
    return names


def test_the_points_are_what_an_attack_of_ones_own_finds(digits_store: Path, tmp_path: Path) -> None:
    found = draw(digits_store, tmp_path, "digits", "--images", "20", "--at", "0,0.1,0.2", "--attack", "pgd-5")
    (curve,) = found["curves"]
    assert (curve["bundle"], curve["defence"], curve["attack"]) == ("digits/1", "none", "pgd-5")
    split = data.load("digits").test.take(slice(0, 20))
    images, oracle = split.images.astype(np.float32) / 255, OnnxOracle(Bundle.open(digits_store / "digits/1"))
    right = [int((oracle.logits(images).argmax(1) == split.labels).sum())]
    for epsilon in (0.1, 0.2):
        parameters = PGDParameters(
            epsilon=epsilon, steps=5, step_size=epsilon / 2, loss="ce", stop_at_success=False
        )
        answers = oracle.logits(attack(oracle, images, split.labels, parameters).images)
        right.append(int((answers.argmax(1) == split.labels).sum()))
    assert right[0] > right[1] > right[2], "or nothing is compared"
    assert [point["accuracy"] for point in curve["points"]] == [count / 20 for count in right]
    assert [(point["low"], point["high"]) for point in curve["points"]] == [wilson(n, 20) for n in right]
    assert [point["at"] for point in curve["points"]] == [0, 0.1, 0.2]
    assert (found["images"], found["norm"]) == (20, "linf")


def test_picture_and_numbers_are_written_and_agree(defended_store: Path, tmp_path: Path) -> None:
    arguments = ["judged", "centred", "--images", "20", "--at", "1,4", "--over", "steps"]
    found = draw(defended_store, tmp_path, *arguments, "--attack", "pgd-9", "--attack", "square")
    out = tmp_path / "out"
    with (out / "curves-steps.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    points = [(curve, point) for curve in found["curves"] for point in curve["points"]]
    assert len(points) == len(rows) == 8
    for row, (curve, point) in zip(rows, points, strict=True):
        assert (row["bundle"], row["attack"]) == (curve["bundle"], curve["attack"])
        assert (float(row["steps"]), float(row["accuracy"])) == (point["at"], point["accuracy"])
    assert found["counted"] == "steps or queries"
    picture = np.asarray(Image.open(out / "curves-steps.png").convert("L"))
    assert picture.std() > 10, "something is drawn"
    drawn = (out / "curves-steps.svg").read_bytes()
    draw(defended_store, tmp_path, *arguments, "--attack", "pgd-9", "--attack", "square")
    assert (out / "curves-steps.svg").read_bytes() == drawn, "the same figure gives the same file"


def test_what_is_known_is_not_measured_again(
    digits_store: Path, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["digits", "--images", "20", "--batch-size", "10", "--epsilon", "0.1", "--at", "0,0.05,0.1"]
    noting = Bench.measure

    def cut(self: Bench, what: Any, *rest: Any) -> Any:
        if len(counted) == 3:
            raise KeyboardInterrupt
        return noting(self, what, *rest)

    monkeypatch.setattr(Bench, "measure", cut)
    options = ["--store", str(digits_store), "--ledgers", str(tmp_path / "ledgers"), "--attack", "pgd-3"]
    assert CliRunner().invoke(app, ["curves", *arguments, *options]).exit_code != 0
    assert counted == ["clean", "clean", "pgd-3,epsilon=0.05"]
    monkeypatch.setattr(Bench, "measure", noting)
    resumed = draw(digits_store, tmp_path, *arguments, "--attack", "pgd-3")
    assert counted[3:] == ["pgd-3,epsilon=0.05", "pgd-3", "pgd-3"], "only what the interruption cut off"
    again = draw(digits_store, tmp_path, *arguments, "--attack", "pgd-3")
    assert len(counted) == 6
    assert again == resumed


def test_figures_and_tables_share_what_they_measure(
    digits_store: Path, tmp_path: Path, counted: list[str]
) -> None:
    options = ["--images", "20", "--store", str(digits_store), "--ledgers", str(tmp_path / "ledgers")]
    options += ["--epsilon", "0.1", "--attack", "pgd-3", "--no-save"]
    result = CliRunner().invoke(evaluate, ["digits", *options], catch_exceptions=False)
    assert result.exit_code == 0
    del counted[:]
    draw(
        digits_store,
        tmp_path,
        *("digits", "--images", "20", "--epsilon", "0.1", "--at", "0,0.1,0.15", "--attack", "pgd-3"),
    )
    assert counted == ["pgd-3,epsilon=0.15"]


def test_a_defence_has_its_own_curve_and_no_transfer_from_itself(
    defended_store: Path, tmp_path: Path
) -> None:
    attacks = ["--attack", "pgd-2", "--attack", "pgd-2,from=none"]
    found = draw(
        defended_store, tmp_path, "judged", "--images", "10", "--at", "0,0.1", "--defence", "all", *attacks
    )
    assert [(curve["defence"], curve["attack"]) for curve in found["curves"]] == [
        ("none", "pgd-2"),
        *((defence, name) for defence in ("imt", "imt+") for name in ("pgd-2", "pgd-2,from=none")),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits"], "trained for no budget"),
        (["digits", "--epsilon", "0.1", "--defence", "imt"], "does not offer the defence"),
        (["digits", "--epsilon", "0.1", "--norm", "l7"], "--norm is linf or l2"),
        (["digits", "--epsilon", "0.1", "--attack", "pgd-3,from=nowhere"], "nowhere"),
        (["digits", "--epsilon", "0.1", "--attack", "pgd-3,from=none"], "No attack is left"),
        (["elsewhere"], "no model 'elsewhere'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_measured(
    digits_store: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(HoldfastError, match=said):
        draw(digits_store, tmp_path, *arguments)
    assert not list(tmp_path.rglob("*.*"))


def test_bundles_of_different_budgets_have_one_axis_of_budgets_but_no_common_steps(
    digits_store: Path, defended_store: Path, tmp_path: Path
) -> None:
    arguments = [str(digits_store / "digits" / "1"), "judged", "--images", "10", "--attack", "pgd-2"]
    found = draw(defended_store, tmp_path, *arguments)
    assert found["epsilon"] == pytest.approx(0.1)
    assert [curve["points"][-1]["at"] for curve in found["curves"]] == [0.2, 0.2]
    with pytest.raises(HoldfastError, match=r"different budgets: 0 and 0\.1") as refused:
        draw(defended_store, tmp_path, *arguments, "--over", "steps")
    assert "--epsilon 0.1" in refused.value.hint
