"""Models from their recipes to the store, and once more after an interrupt."""

from __future__ import annotations

from pathlib import Path

from holdfast.bundle import Bundle
from scripts import models


def test_a_recipe_becomes_a_bundle_with_figures_and_a_second_time_nothing_is_done_twice(
    tmp_path: Path,
) -> None:
    runs, store = tmp_path / "runs", tmp_path / "store"
    line = ["standard-digits", "--set", "epochs=1", "--images", "3", "--precision", "float32"]
    line += ["--runs", str(runs), "--store", str(store)]
    assert models.main(line) == 0
    bundle = Bundle.open(store / "standard-digits" / "1")
    named = [{figure.name for figure in each.figures} for each in bundle.manifest.evaluations]
    assert named[0] == {"clean"}
    assert {"autoattack", "rays-2000", "worst case"} <= named[1]
    kept = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    assert models.main(line) == 0
    after = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    assert {path: after[path] for path in kept if path.suffix == ".jsonl"} == {
        path: stamp for path, stamp in kept.items() if path.suffix == ".jsonl"
    }
    assert len(Bundle.open(bundle.root).manifest.evaluations) == 2


def test_what_cannot_be_trained_ends_it(tmp_path: Path) -> None:
    line = ["no-such-recipe", "--runs", str(tmp_path), "--store", str(tmp_path / "store")]
    assert models.main(line) == 2
    assert not list(tmp_path.iterdir())
