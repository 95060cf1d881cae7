"""`holdfast models`: what it lists, shows and verifies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import invoke
from support.tiny import make_tiny_bundle

from holdfast.bundle import CARD, GRADIENT, MANIFEST, Bundle, write_manifest


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that a test may break: tiny 1 and 10, other 1."""
    make_tiny_bundle(tmp_path)
    make_tiny_bundle(tmp_path, version="10")
    make_tiny_bundle(tmp_path, name="other")
    return tmp_path


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_models_are_listed_with_their_figures(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "models", "--store", store)
    assert outcome.code == 0
    header, _, *rows = outcome.out.splitlines()
    assert header.split() == ["name", "version", "method", "dataset", "clean", "robust", "under", "size"]
    assert [row.split()[:2] for row in rows] == [["other", "1"], ["tiny", "1"], ["tiny", "10"]]
    size = sum(path.stat().st_size for path in (store / "tiny" / "1").iterdir())
    assert rows[1].split() == [
        *("tiny", "1", "standard", "colours", "90.0", "%", "50.0", "%", "PGD-20,", "linf", "8/255"),
        *(f"{size / 1000:.1f}", "kB"),
    ]


def test_store_is_named_by_the_environment(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_MODEL_STORE", str(store))
    assert "other" in invoke(capsys, "models").out


def test_store_is_in_the_working_directory_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_bundle(tmp_path / "model_store")
    monkeypatch.delenv("HOLDFAST_MODEL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "tiny" in invoke(capsys, "models").out


def test_json_list_can_be_read_by_programs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = json.loads(invoke(capsys, "models", "--store", store, "--json").out)[0]
    assert (first["name"], first["version"], first["classes"]) == ("other", "1", ["red", "green", "blue"])
    assert first["clean"]["accuracy"] == 0.9
    assert first["robust"]["name"] == "PGD-20"
    assert first["verified"] is False


def test_model_that_was_never_evaluated_has_no_figures(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = store / "other" / "1"
    write_manifest(root, Bundle.open(root).manifest.model_copy(update={"evaluations": []}))
    row = invoke(capsys, "models", "--store", store).out.splitlines()[2]
    assert row.split()[:4] == ["other", "1", "standard", "colours"]
    assert "%" not in row


def test_doubted_figures_are_marked(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = store / "other" / "1"
    manifest = Bundle.open(root).manifest
    doubted = manifest.evaluations[0].model_copy(update={"unreliable": "zero gradients"})
    write_manifest(root, manifest.model_copy(update={"evaluations": [doubted]}))
    rows = invoke(capsys, "models", "--store", store).out.splitlines()[2:]
    assert ["(unreliable)" in row for row in rows] == [True, False, False]


def test_names_are_shown_as_they_are(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = store / "other" / "1"
    write_manifest(root, Bundle.open(root).manifest.model_copy(update={"method": "new[red]method"}))
    assert "new[red]method" in invoke(capsys, "models", "--store", store).out


def test_empty_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "models", "--store", tmp_path)
    assert (outcome.code, outcome.out) == (0, "")
    assert "has no models" in outcome.err
    assert json.loads(invoke(capsys, "models", "--store", tmp_path, "--json").out) == []


@pytest.mark.parametrize("reference", ["tiny", "tiny/1", "DIRECTORY"])
def test_one_models_whole_card_is_shown(
    store: Path, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = store / "tiny" / "1"
    reference = str(root) if reference == "DIRECTORY" else reference
    assert invoke(capsys, "models", reference, "--store", store).out == (root / CARD).read_text()


def test_one_models_json_is_its_manifest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "models", "tiny/10", "--store", store, "--json")
    assert json.loads(outcome.out) == json.loads((store / "tiny" / "10" / MANIFEST).read_text())


def test_unknown_model_is_an_error_that_names_the_others(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "models", "nope", "--store", store)
    assert outcome.code == 1
    assert "no model 'nope'" in outcome.err
    assert "other, tiny" in outcome.err


def test_verification_of_whole_bundles_says_ok(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "models", "--store", store, "--verify")
    assert outcome.code == 0
    assert [line.split()[-1] for line in outcome.out.splitlines()[2:]] == ["ok"] * 3
    assert "Verifying: 3 of 3 bundles" in outcome.err
    one = invoke(capsys, "models", "tiny", "--store", store, "--verify")
    assert (one.code, one.err.split()[-1]) == (0, "ok.")


def test_verification_names_the_damaged_file_and_lists_the_others(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(store / "tiny" / "1" / GRADIENT)
    assert invoke(capsys, "models", "--store", store).code == 0  # the sizes are right
    outcome = invoke(capsys, "models", "--store", store, "--verify")
    assert outcome.code == 1
    assert [line.split()[-1] for line in outcome.out.splitlines()[2:]] == ["ok", "damaged", "ok"]
    assert f"{GRADIENT} has changed" in outcome.err
    assert "holdfast export" in outcome.err


def test_verification_in_json_names_the_damaged_file(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(store / "tiny" / "10" / GRADIENT)
    outcome = invoke(capsys, "models", "--store", store, "--verify", "--json")
    assert outcome.code == 1
    entries = json.loads(outcome.out)
    assert [entry.get("verified", False) for entry in entries] == [True, True, False]
    assert GRADIENT in entries[2]["error"]


def test_damaged_manifest_does_not_hide_the_other_models(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "tiny" / "1" / MANIFEST).write_text("{")
    outcome = invoke(capsys, "models", "--store", store)
    assert outcome.code == 1
    assert [line.split()[:2] for line in outcome.out.splitlines()[2:]] == [
        ["other", "1"],
        ["tiny", "1"],
        ["tiny", "10"],
    ]
    assert "is not JSON" in outcome.err


def test_one_damaged_model_is_not_shown(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(store / "tiny" / "10" / GRADIENT)
    outcome = invoke(capsys, "models", "tiny", "--store", store)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{GRADIENT} has changed" in outcome.err
