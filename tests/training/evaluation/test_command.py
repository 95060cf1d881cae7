"""``holdfast evaluate``: what it measures, prints and writes into the bundle."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from training.commands.evaluate import app


def evaluate(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_command_measures_the_bundle_and_writes_its_card(digits_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(digits_store, store)
    name = next(store.iterdir()).name
    options = ["--store", str(store), "--images", "40", "--attack", "clean", "--attack", "pgd-5"]
    options += ["--ledgers", str(tmp_path / "ledgers")]
    result = CliRunner().invoke(app, [name, *options, "--epsilon", "0.1", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    bundle = Bundle.open(store / name / "1")
    (evaluation,) = bundle.manifest.evaluations[-1:]
    assert [figure.name for figure in evaluation.figures] == ["clean", "pgd-5"]
    assert printed["figures"][1]["accuracy"] == evaluation.figures[1].accuracy
    assert evaluation.figures[1].accuracy <= evaluation.figures[0].accuracy
    assert "--images 40" in evaluation.command
    assert "pgd-5" in bundle.path("CARD.md").read_text(encoding="utf-8")


def test_the_command_repeats_its_figures(digits_store: Path, tmp_path: Path) -> None:
    name = next(digits_store.iterdir()).name
    options = ["--store", str(digits_store), "--images", "30", "--attack", "pgd-3", "--no-save", "--json"]
    options += ["--ledgers", str(tmp_path)]
    first, second = (
        CliRunner().invoke(app, [name, *options], catch_exceptions=False).stdout for _ in range(2)
    )
    assert json.loads(first)["figures"] == json.loads(second)["figures"]


def test_a_defended_bundle_is_measured_behind_each_of_its_defences(
    defended_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(defended_store, store)
    name = next(path.name for path in store.iterdir() if "imt" in Bundle.open(path / "1").manifest.defences)
    options = ["--store", str(store), "--images", "24", "--ledgers", str(tmp_path / "ledgers"), "--json"]
    attacks = ["pgd-4", "pgd-4,from=none", "cw-4,through=end-to-end", "square-10", "ddn-5"]
    chosen = [word for attack in attacks for word in ("--attack", attack)]
    found = json.loads(evaluate(name, *options, "--defence", "all", *chosen))["figures"]
    rows = {(figure["defence"], figure["name"]): figure for figure in found}
    assert [name for defence, name in rows if defence == "none"] == [
        "clean",
        "pgd-4",
        "cw-4,through=end-to-end",
        "square-10",
        "ddn-5",
        "worst case",
    ]
    assert "worst case,from=none" not in {name for _, name in rows}, "one attack is no worst case"
    for defence in ("imt", "imt+"):
        assert not rows[defence, "pgd-4,from=none"]["adaptive"]
        assert rows[defence, "pgd-4"]["adaptive"]
        ours = [figure for (of, _), figure in rows.items() if of == defence and figure["threat_model"]]
        assert rows[defence, "worst case"]["accuracy"] <= min(figure["accuracy"] for figure in ours)
        assert rows[defence, "ddn-5"]["distance"] > 0
    card = (store / name / "1" / "CARD.md").read_text(encoding="utf-8")
    assert "unknown to the attack" in card


def test_the_headline_is_more_than_the_papers_attacks(digits_store: Path, tmp_path: Path) -> None:
    name = next(digits_store.iterdir()).name
    options = [
        "--store",
        str(digits_store),
        "--images",
        "2",
        "--ledgers",
        str(tmp_path),
        "--no-save",
        "--json",
    ]
    found = json.loads(evaluate(name, *options, "--headline"))
    rows = {figure["name"]: figure for figure in found["figures"]}
    four = ("apgd-ce", "apgd-t", "fab-t", "square")
    assert {"clean", "pgd-20", *four, "rays-2000", "autoattack", "worst case"} <= set(rows)
    assert rows["autoattack"]["attack"] == " + ".join(four)
    least = min(rows[each]["accuracy"] for each in four)
    assert rows["worst case"]["accuracy"] <= rows["autoattack"]["accuracy"] <= least
    assert "--headline" in found["command"]


def test_several_bundles_are_measured_and_attack_one_another(defended_store: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in defended_store.iterdir())[:2]
    options = ["--store", str(defended_store), "--images", "20", "--ledgers", str(tmp_path), "--no-save"]
    table = evaluate(*names, *options, "--attack", f"pgd-3,from={names[0]}", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["bundle"] for row in rows] == [f"{name}/1" for name in names for _ in range(2)]
    assert rows[3]["defence"] == "none, unknown to the attack"
    assert all(0 <= float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) <= 1 for row in rows)
    table = evaluate(names[0], *options, "--attack", "pgd-3", "--format", "markdown")
    assert "| pgd-3 | none |" in table


def test_a_summary_has_a_row_for_each_bundle_and_defence(defended_store: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in defended_store.iterdir())
    options = ["--store", str(defended_store), "--images", "16", "--ledgers", str(tmp_path), "--no-save"]
    options += ["--defence", "all", "--summary", "--batch-size", "16"]
    attacks = ["pgd-20", "pgd-2,from=none", "cw-2,from=none"]
    options += [word for attack in attacks for word in ("--attack", attack)]
    said = evaluate(*names, *options, "--format", "markdown").splitlines()
    assert said[0] == "| model | defence | clean | PGD-20 | worst, defence unknown | worst case |"
    rows = [line.strip("| ").split(" | ") for line in said[2:] if line.startswith("|")]
    offered = [(name, each) for name in names for each in defences(defended_store / name)]
    assert [(row[0], row[1]) for row in rows] == offered
    (again,) = (line.partition("Command: ")[2] for line in said if "Command: " in line)
    assert again.startswith(f"holdfast evaluate {' '.join(f'{name}/1' for name in names)} --attack clean ")
    assert any(defence == "imt+" for _, defence in offered)
    records = list(csv.DictReader(io.StringIO(evaluate(*names, *options, "--format", "csv"))))
    assert records == [
        {name: str(value) for name, value in record.items()}
        for record in json.loads(evaluate(*names, *options, "--json"))
    ]
    for record in records:
        place = rows[offered.index((record["bundle"].partition("/")[0], record["defence"]))]
        assert f"{100 * float(record['accuracy']):.1f}" in " ".join(place)
    unknown = [record for record in records if record["figure"] == "worst case,from=none"]
    assert {record["attacks"] for record in unknown} == {"pgd-2,from=none + cw-2,from=none"}
    assert {record["defence"] for record in unknown} == {"imt", "imt+"}
    assert "PGD-20" in evaluate(*names, *options)


def test_a_headline_of_one_defence_is_of_no_other(defended_store: Path, tmp_path: Path) -> None:
    options = ["--store", str(defended_store), "--images", "2", "--ledgers", str(tmp_path), "--no-save"]
    found = json.loads(evaluate("judged", *options, "--headline", "--defence", "none", "--json"))
    assert found["bundle"] == "judged/1"
    assert {figure["defence"] for figure in found["figures"]} == {"none"}
    assert "--headline --defence none" in found["command"]


def defences(root: Path) -> list[str]:
    """Those that a summary has rows for: where there are several, one for what holds behind all of them."""
    offered = list(Bundle.open(root / "1").manifest.defences)
    return [*offered, "all"] if len(offered) > 1 else offered


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--attack", "nonsense"], "no attack 'nonsense'"),
        (["--defence", "imt"], "does not offer the defence 'imt'"),
        (["--attack", "pgd-3,from=nowhere"], "nowhere"),
        (["--attack", "pgd-3,from=imt"], "does not offer the defence 'imt'"),
        (["--attack", "pgd-3,from=digits:imt"], "does not offer the defence 'imt'"),
        (["--attack", "pgd-3,from=digits:magic"], "'magic' is no defence"),
        (["--format", "xml"], "--format is text, markdown, csv, json"),
        (["--norm", "l7"], "--norm is linf or l2"),
        (["--devices", "0,"], "--devices is '0,': it names CUDA devices"),
        (["--devices", ""], "--devices is '': it names CUDA devices"),
        (["--norm", "l2"], "A budget of 0 in linf is none in l2"),
        (["--attack", "square-10", "--attack", "pgd-3,loss=ftc"], "the loss ftc is of class centres"),
        (["--attack", "pgd-3,loss=ce+manifold"], "the loss manifold is of the discriminator"),
        (["--attack", "pgd-3,target=12"], "there is no class 12; digits/1 has 0 to 9"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    digits_store: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    name = next(digits_store.iterdir()).name
    options = ["--store", str(digits_store), "--ledgers", str(tmp_path)]
    with pytest.raises(HoldfastError, match=said):
        evaluate(name, *options, *arguments)
    assert not list(tmp_path.rglob("*.jsonl"))
