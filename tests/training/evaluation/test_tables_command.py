"""``holdfast evaluate --table``: what it prints in each format, and what it measures, keeps and writes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console
from support.cast import put
from typer.testing import CliRunner

from holdfast import console
from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from training.commands.evaluate import app
from training.evaluation.tables import TABLES


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result


@pytest.fixture
def store(digits_store: Path, defended_store: Path, tmp_path: Path) -> Path:
    """Digits that say that they were trained by the papers' methods."""
    directory = tmp_path / "store"
    put(digits_store / "digits" / "1", directory, "plain", "standard")
    put(defended_store / "judged" / "1", directory, "atld", "atld")
    put(defended_store / "centred" / "1", directory, "mat", "mat", options={"alpha": 0.01, "beta": 1.0})
    return directory


def play(store: Path, *arguments: str, images: int = 8) -> Result:
    options = ["--store", str(store), "--ledgers", str(store.parent / "ledgers"), "--images", str(images)]
    return invoke(*arguments, *options, "--data", "digits", "--epsilon", "0.1")


def cells(table: dict[str, Any], label: str) -> dict[str, dict[str, Any]]:
    (found,) = (row for row in table["rows"] if row["label"] == label)
    return {cell["column"]: cell for cell in found["cells"]}


def test_all_formats_show_theirs_ours_and_the_difference(store: Path) -> None:
    arguments = ["--table", "fs-2b", "--no-save"]
    (table,) = json.loads(play(store, *arguments, "--format", "json").stdout)
    cell = cells(table, "Standard")["Clean"]
    ours, theirs = cell["ours"], cell["paper"]["value"]
    assert theirs == 79.0
    assert ours["images"] == 8
    assert ours["low"] <= ours["value"] <= ours["high"]
    assert cell["difference"] == pytest.approx(ours["value"] - theirs)
    assert cells(table, "Madry")["PGD20"]["ours"] is None
    assert cells(table, "Madry")["PGD20"]["paper"]["value"] == 22.6
    row = next(row for row in table["rows"] if row["label"] == "Standard")
    assert (row["bundle"], row["network"]) == ("plain/1", "small-cnn")
    assert "first 8 of" in row["images"]
    assert table["command"] == (
        "holdfast evaluate plain/1 --table fs-2b --epsilon 0.1 --images 8 --data digits --seed 0"
    )

    records = list(csv.DictReader(io.StringIO(play(store, *arguments, "--format", "csv").stdout)))
    assert len(records) == 4 * 6
    assert float(records[0]["ours"]) == ours["value"]
    assert (records[0]["low"], records[0]["high"]) == (f"{ours['low']:g}", f"{float(ours['high']):.6}")
    assert records[0]["bundle"] == "plain/1"
    assert {record["ours"] for record in records if record["row"] == "Proposed"} == {""}

    half = (ours["high"] - ours["low"]) / 2
    shown = f"{ours['value']:.1f} ±{half:.1f}"
    markdown = play(store, *arguments, "--format", "markdown").stdout
    assert "| Standard | paper | 79.0 | 10.0 | 0.0 | 0.0 | 0.0 | 0.0 |" in markdown
    assert f"|  | plain/1 | {shown} |" in markdown
    assert "- Played on digits, where the paper has cifar100" in markdown
    text = play(store, *arguments).stdout
    assert shown in text
    assert re.search(r"Madry +paper +59\.9", text)
    assert "Standard: plain/1, small-cnn; digits, first 8 of" in text
    difference = f"{abs(cell['difference']):.1f}"
    assert difference in text
    assert difference in markdown


def test_on_a_narrow_terminal_columns_go_below_one_another_and_no_number_is_cut(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--table", "fs-2b", "--no-save"]
    wide = play(store, *arguments).stdout
    monkeypatch.setattr(console, "stdout", Console(highlight=False, width=60))
    narrow = play(store, *arguments).stdout
    numbers = re.compile(r"\(?[+−±]?\d+\.\d\)?(?!\d)")
    assert sorted(numbers.findall(narrow)) == sorted(numbers.findall(wide))
    assert "…" not in narrow
    assert narrow.count("Madry") > wide.count("Madry")


def test_the_matrix_is_measured_between_bundles(store: Path) -> None:
    (table,) = json.loads(play(store, "--table", "atld-3", "--no-save", "--json").stdout)
    found = cells(table, "ATLD-IMT")
    crafted = found["Vanilla training: PGD20"]
    assert crafted["attack"] == ["pgd-20,from=plain/1"]
    assert 0 <= crafted["ours"]["value"] <= 100
    assert found["Ours: PGD20"]["ours"] is None
    assert "no other bundle of atld" in found["Ours: PGD20"]["missing"]
    text = play(store, "--table", "atld-3", "--no-save").stdout
    assert "ATLD; ATLD-IMT; ATLD-IMT+: Ours: there is no other bundle of atld to craft on." in text


def test_rows_behind_imt_are_shown_without_and_with_its_knowledge(store: Path) -> None:
    (table,) = json.loads(play(store, "--table", "atld-2-svhn", "--no-save", "--json").stdout)
    theirs, ours = (cells(table, label)["PGD20"] for label in ("ATLD-IMT", "ATLD-IMT, knows IMT"))
    assert (theirs["attack"], ours["attack"]) == (["pgd-20,from=none"], ["pgd-20"])
    assert theirs["difference"] is not None
    assert ours["paper"] is None


def test_norms_match_rates_and_cosines_are_tables_too(store: Path) -> None:
    names = [word for name in ("mat-1-cifar10", "mat-5-cifar10") for word in ("--table", name)]
    result = play(store, *names, "--no-save", "--json", images=30)
    rates, cosines = json.loads(result.stdout)
    natural = cells(rates, "natural (-N)")
    assert natural["DDN"]["quantity"] == "match rate"
    assert natural["DDN"]["ours"]["value"] <= natural["Clean"]["ours"]["value"]
    clean = cells(cosines, "MAT, SO and BIBO")["Clean"]
    assert clean["paper"] == {"value": 0.845, "deviation": 0.133, "at_most": False}
    assert 0.5 < clean["ours"]["value"] < 1
    assert clean["ours"]["low"] < clean["ours"]["value"] < clean["ours"]["high"]
    assert clean["ours"]["deviation"] > 0
    kept = {path: path.stat().st_mtime_ns for path in (store.parent / "ledgers").rglob("features-*.json")}
    assert len(kept) == 5
    assert play(store, *names, "--no-save", "--json", images=30).stdout == result.stdout
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "nothing is looked at twice"
    (table,) = json.loads(play(store, "--table", "mat-2-cifar10", "--no-save", "--json").stdout)
    norm = cells(table, "Natural")["DDN"]
    assert norm["quantity"] == "norm"
    assert 0 < norm["ours"]["value"] < 5


def test_tables_share_what_they_measure_and_more_images_cost_only_those(store: Path) -> None:
    def ledgers() -> dict[str, int]:
        files = (store.parent / "ledgers").rglob("*.jsonl")
        return {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    play(store, "plain", "--table", "fs-2b", "--no-save")
    first = ledgers()
    assert set(first.values()) == {2}, "a subject and one batch"
    play(store, "plain", "--table", "atld-2-cifar100", "--no-save")
    assert ledgers() == first
    play(store, "plain", "--table", "fs-2b", "--no-save", images=10)
    assert {name: count + 1 for name, count in first.items()} == ledgers()


def test_figures_go_into_the_cards_of_those_who_played(store: Path) -> None:
    play(store, "--table", "slides", "--table", "fs-2b", "--attack", "square-5")
    (evaluation,) = Bundle.open(store / "plain" / "1").manifest.evaluations
    assert [figure.name for figure in evaluation.figures][-2:] == ["square-5", "worst case"]
    assert "--table slides --table fs-2b --attack square-5" in evaluation.command
    assert not Bundle.open(store / "atld" / "1").manifest.evaluations


def test_where_nobody_plays_the_papers_numbers_are_shown_alone(store: Path) -> None:
    result = invoke("--table", "fs-2a", "--store", str(store), "--ledgers", str(store.parent))
    assert "fs-2a: no bundle plays a row; it needs one of standard, pgd-at" in result.stderr
    assert re.search(r"Proposed +paper +96\.2 +83\.5", result.stdout)
    assert "difference" not in result.stdout
    assert not list(store.parent.glob("*.jsonl"))


@pytest.mark.parametrize("how", [["--tables"], ["--table", "list"]])
def test_the_list_says_what_each_table_needs(store: Path, how: list[str]) -> None:
    text = invoke(*how, "--store", str(store)).stdout
    assert all(table.name in text for table in TABLES)
    listed = json.loads(invoke(*how, "--store", str(store), "--json").stdout)
    entry = next(each for each in listed if each["name"] == "fs-4-svhn")
    assert entry["dataset"] == "svhn"
    assert any("solver = ipot" in needed for needed in entry["needs"])
    assert (entry["rows"], entry["played"]) == (2, 0)
    assert entry["passes"] > 400


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a bundle"),
        (["--table", "fs-9"], "no table 'fs-9'"),
        (["--table", "fs-1", "--headline"], "--headline, --defence and --summary do not go with --table"),
        (["--table", "fs-1", "--summary"], "--headline, --defence and --summary do not go with --table"),
        (
            ["--table", "fs-1", "--defence", "imt"],
            "--headline, --defence and --summary do not go with --table",
        ),
        (["--table", "fs-1", "--attack", "nonsense"], "no attack 'nonsense'"),
        (["--table", "fs-1", "--norm", "l7"], "--norm is linf or l2"),
        (["--table", "fs-1", "--format", "xml"], "--format is text, markdown"),
        (["nobody", "--table", "fs-1"], "nobody"),
    ],
)
def test_what_cannot_be_played_is_refused_at_once(store: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(HoldfastError, match=said):
        play(store, *arguments)
    assert not (store.parent / "ledgers").exists()
