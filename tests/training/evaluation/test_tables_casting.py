"""Who plays which row of a paper's table, and what is then measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.cast import put

from holdfast.manifest import ThreatModel
from training.evaluation.tables import Table, find
from training.evaluation.tables.casting import Company, Part, Planned, cast, on_dataset, plan, widened
from training.evaluation.tables.table import SIAMESE, columns, player, row

THREAT = ThreatModel(norm="linf", epsilon=0.1)


def on_digits(name: str) -> Table:
    return on_dataset(find(name)[0], "digits")


def playing(table: Table, company: Company) -> dict[str, str | None]:
    return {
        part.row.label: part.bundle and f"{part.bundle.name}/{part.bundle.version}"
        for part in cast(table, company)
    }


def planned(table: Table, company: Company) -> dict[tuple[str, str], Planned]:
    return {
        (part.row.label, column.name): plan(part, column, table, company, THREAT)
        for part in cast(table, company)
        for column in table.columns
    }


@pytest.fixture
def digits(digits_store: Path) -> Path:
    return digits_store / "digits" / "1"


@pytest.fixture
def judged(defended_store: Path) -> Path:
    return defended_store / "judged" / "1"


def test_a_row_is_played_by_the_method_and_the_data_set(digits: Path, tmp_path: Path) -> None:
    put(digits, tmp_path, "plain", "standard")
    put(digits, tmp_path, "madry", "pgd-at")
    company = Company.of([], tmp_path)
    assert playing(on_digits("fs-1"), company) == {
        "Standard": "plain/1",
        "Madry": "madry/1",
        "Bilateral": None,
        "Proposed": None,
    }
    assert set(playing(find("fs-1")[0], company).values()) == {None}, "digits are not CIFAR-10"


def test_ablations_are_told_apart_by_the_recipes_options(digits: Path, tmp_path: Path) -> None:
    put(digits, tmp_path, "fs", "feature-scattering", options={"label_smoothing": 0.5})
    for name, option in (
        ("random", {"perturbation": "random"}),
        ("identity", {"matching": "identity"}),
        ("ipot", {"solver": "ipot"}),
        ("hard", {"label_smoothing": 0.0}),
    ):
        put(digits, tmp_path, name, "feature-scattering", options=option, later=1)
    put(digits, tmp_path, "mat", "mat", options={"alpha": 0.5, "beta": 2})
    put(digits, tmp_path, "mat-so", "mat", options={"beta": 0})
    company = Company.of([], tmp_path)

    def played(name: str) -> dict[str, str]:
        found = playing(on_digits(name), company)
        return {label: who for label, who in found.items() if who}

    assert played("fs-1") == {"Proposed": "fs/1"}, "no newer ablation takes its place"
    assert played("fs-3a") == {"Random": "random/1", "FeaScatter": "fs/1"}
    assert played("fs-3b") == {"Identity": "identity/1", "OT": "fs/1"}
    assert played("fs-4-cifar10") == {"Sinkhorn": "fs/1", "IPOT": "ipot/1"}
    assert played("slides-label-smoothing") == {"δ = 0.0": "hard/1", "δ = 0.5": "fs/1"}
    assert played("mat-2-cifar10") == {"MAT, SO": "mat-so/1", "MAT, SO and BIBO": "mat/1"}


def test_epochs_are_told_apart_by_the_share_that_was_trained(digits: Path, tmp_path: Path) -> None:
    # The bundle of digits says that it was trained for 4 epochs.
    put(digits, tmp_path, "early", "feature-scattering", recipe={"epochs": 13})
    put(digits, tmp_path, "late", "feature-scattering", recipe={"epochs": 4})
    found = playing(on_digits("slides-epochs"), Company.of([], tmp_path))
    assert list(found.values()) == ["early/1", None, "late/1"]


def test_a_network_that_was_trained_to_the_end_goes_before_a_newer_one_that_was_not(
    digits: Path, tmp_path: Path
) -> None:
    put(digits, tmp_path, "whole", "standard", recipe={"epochs": 4})
    put(digits, tmp_path, "half", "standard", recipe={"epochs": 8}, later=1)
    table = on_digits("fs-1")
    assert playing(table, Company.of([], tmp_path))["Standard"] == "whole/1"
    assert playing(table, Company.of(["half"], tmp_path))["Standard"] == "half/1"


def test_a_column_of_ours_that_is_crafted_elsewhere_is_crafted_there_in_every_row(
    judged: Path, tmp_path: Path
) -> None:
    put(judged, tmp_path, "atld", "atld")
    put(judged, tmp_path, "other", "standard")
    table = widened(on_digits("atld-1"), ["pgd-3,from=other"])
    found = planned(table, Company.of([], tmp_path))
    lines = {row: each.lines for (row, column), each in found.items() if column == "pgd-3,from=other"}
    assert {line for each in lines.values() for line in each} == {"pgd-3,from=other"}
    defended = [row for row, each in lines.items() if each and "IMT" in row]
    assert defended, "rows behind the defence are played, too"


def test_a_folder_is_known_by_its_last_name_wherever_it_lies() -> None:
    table = on_dataset(find("fs-1")[0], "folder:/far/away/flowers")
    assert table.dataset == "folder:flowers"


def test_of_several_the_newest_plays_unless_one_is_named(digits: Path, tmp_path: Path) -> None:
    put(digits, tmp_path, "old", "standard")
    put(digits, tmp_path, "old", "standard", version="2", later=1)
    put(digits, tmp_path, "new", "standard", later=2)
    table = on_digits("fs-1")

    def standard(*named: str) -> Part:
        return next(part for part in cast(table, Company.of(named, tmp_path)))

    part = standard()
    assert part.bundle is not None
    assert part.bundle.name == "new"
    assert [(other.name, other.version) for other in part.others] == [("old", "2"), ("old", "1")]
    for named, version in (("old", "2"), ("old/1", "1"), (str(tmp_path / "old" / "1"), "1")):
        part = standard(named)
        assert part.bundle is not None
        assert (part.bundle.name, part.bundle.version) == ("old", version)
        assert not part.others


def test_the_papers_attacks_do_not_know_the_defence_and_ours_do(
    judged: Path, digits: Path, tmp_path: Path
) -> None:
    put(judged, tmp_path, "atld", "atld")
    put(digits, tmp_path, "undefended", "atld", later=1)
    company = Company.of([], tmp_path)
    table = on_digits("atld-1")
    assert playing(table, company)["ATLD"] == "undefended/1"
    assert playing(table, company)["ATLD-IMT"] == "atld/1", "which offers it"
    found = planned(table, company)
    for label, defence, line in (
        ("ATLD", "none", "pgd-20"),
        ("ATLD-IMT", "imt", "pgd-20,from=none"),
        ("ATLD-IMT+", "imt+", "pgd-20,from=none"),
        ("ATLD-IMT, knows IMT", "imt", "pgd-20"),
    ):
        (what,) = found[label, "PGD20"].measurements
        assert (what.defence, what.line.name, what.line.threat) == (defence, line, THREAT)
        assert what.adaptive == ("from" not in line)
        assert found[label, "Clean"].lines == ("clean",)
    worst = planned(on_digits("atld-4"), company)["ATLD-IMT", "AA"]
    assert [what.line.name for what in worst.measurements] == [
        f"{name},from=none" for name in ("apgd-ce", "apgd-t", "fab-t", "square")
    ]


def test_a_matrix_crafts_on_each_source_and_never_on_the_network_itself(
    digits: Path, judged: Path, defended_store: Path, tmp_path: Path
) -> None:
    put(digits, tmp_path, "plain", "standard")
    put(judged, tmp_path, "atld", "atld")
    put(judged, tmp_path, "copy", "atld", later=-2)
    company = Company.of([], tmp_path)
    table = on_digits("atld-3")
    found = planned(table, company)
    assert found["ATLD", "Vanilla training: PGD20"].lines == ("pgd-20,from=plain/1",)
    assert found["ATLD", "Ours: CW20"].missing, "the same weights: that would be no transfer"
    other = defended_store / "centred" / "1"
    put(other, tmp_path, "other", "standard", later=1)
    put(other, tmp_path, "second", "atld", later=-1)
    company = Company.of([], tmp_path)
    found = planned(table, company)
    assert found["ATLD", "Vanilla training: PGD20"].lines == ("pgd-20,from=other/1",)
    assert found["ATLD-IMT", "Vanilla training: FGSM"].lines == ("fgsm,from=other/1",)
    assert found["ATLD", "Ours: CW20"].lines == ("cw-20,from=second/1",), "another training of it"
    nobody = found["ATLD", "Feature Scattering: CW20"]
    assert nobody.measurements == ()
    assert "no other bundle of feature-scattering" in nobody.missing
    assert found["AT", "Ours: CW20"] == Planned(), "nobody plays that row, so nothing is missing from it"


def test_sources_are_looked_for_in_the_store_even_if_players_are_named(
    digits: Path, defended_store: Path, tmp_path: Path
) -> None:
    first = put(digits, tmp_path / "elsewhere", "fs", "feature-scattering")
    put(defended_store / "centred" / "1", tmp_path / "store", "again", "feature-scattering")
    company = Company.of([str(first)], tmp_path / "store")
    table = on_digits("fs-black-box")
    found = planned(table, company)
    assert playing(table, company)["Siamese"] == "fs/1"
    assert found["Siamese", "PGD20"].lines == ("pgd-20,from=again/1",)
    assert found["Undefended", "PGD20"].missing
    alone = Company.of([str(first)], tmp_path / "nowhere")
    assert planned(table, alone)["Siamese", "PGD20"].missing
    assert company.reference(alone.players[0]) == str(first), "outside of the store by its path"


def test_a_row_may_have_another_line_or_none(digits: Path, tmp_path: Path) -> None:
    put(digits, tmp_path, "trades", "trades")
    put(digits, tmp_path, "mat", "mat")
    found = planned(on_digits("mat-4-cifar10"), Company.of([], tmp_path))
    assert found["TRADES", "Adaptive-PGD"].missing == "this attack is not among ours"
    assert found["MAT, SO and BIBO", "Adaptive-PGD"].lines == ("pgd-20,loss=ftc+0.01*so+bibo",)


def test_columns_of_ours_are_added_and_another_data_set_is_said() -> None:
    table = widened(find("fs-1")[0], ["apgd-t", "clean"])
    assert [column.label for column in table.columns[-2:]] == ["CW100", "apgd-t"]
    assert all(each.values[-1] is None for each in table.rows)
    assert on_dataset(table, "cifar10") == on_dataset(table, None) == table
    assert on_dataset(table, "digits").notes[0].startswith("Played on digits, where the paper has cifar10")


def test_a_siamese_row_needs_two_trainings(digits: Path, tmp_path: Path) -> None:
    made = columns("PGD=pgd-2", source=SIAMESE)
    table = replace(on_digits("fs-1"), columns=made, rows=(row("us", "1", player("standard")),))
    put(digits, tmp_path, "one", "standard")
    put(digits, tmp_path, "copy", "standard")
    assert "no other bundle of standard" in planned(table, Company.of([], tmp_path))["us", "PGD"].missing
