"""``holdfast figures features``: what is laid out in the plane, and the numbers beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError, UsageError
from training import data
from training.analysis.features import Features
from training.commands.figures import app
from training.figures.features import Embeddings, draw, embed


def run(store: Path, out: Path, *arguments: str) -> dict[str, Any]:
    ledgers = out.parent / f"{out.name}-ledgers"
    options = ["--store", str(store), "--out", str(out), "--threads", "1", "--ledgers", str(ledgers)]
    result = CliRunner().invoke(app, ["features", *arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((out / "features.json").read_text(encoding="utf-8"))
    return found


def clustered(shift: float) -> tuple[Features, np.ndarray]:
    """Three classes of twenty, far apart in five dimensions; logits say the nearest centre."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 20)
    centres = 20 * np.eye(3, 5)
    vectors = (centres[labels] + shift + generator.normal(size=(60, 5))).astype(np.float32)
    distances = ((vectors[:, None] - centres) ** 2).sum(2)
    return Features(vectors, (-distances).astype(np.float32)), labels


def test_what_is_far_apart_in_the_features_is_far_apart_in_the_plane() -> None:
    clean, labels = clustered(0.0)
    attacked, _ = clustered(0.5)
    found = embed(clean, attacked, labels, bundle="b", attack="pgd-20")
    points = np.array(found.clean)
    middles = np.stack([points[labels == label].mean(0) for label in range(3)])
    nearest = ((points[:, None] - middles) ** 2).sum(2).argmin(1)
    assert (nearest == labels).all()
    assert len(found.attacked) == 60
    assert found.match_rate == found.match_rate_attacked == found.accuracy == found.robust == 1.0


def test_the_numbers_are_those_of_the_images_under_that_attack(digits_store: Path, tmp_path: Path) -> None:
    arguments = ["digits", "--images", "20", "--attack", "pgd-5", "--epsilon", "0.15"]
    (panel,) = run(digits_store, tmp_path, *arguments)["panels"]
    split = data.load("digits").test.take(slice(0, 20))
    images, oracle = split.images.astype(np.float32) / 255, OnnxOracle(Bundle.open(digits_store / "digits/1"))
    parameters = PGDParameters(epsilon=0.15, steps=5, step_size=0.075, loss="ce", stop_at_success=False)
    moved = attack(oracle, images, split.labels, parameters).images
    assert panel["predicted"] == oracle.logits(images).argmax(1).tolist()
    assert panel["predicted_attacked"] == oracle.logits(moved).argmax(1).tolist()
    assert panel["robust"] == float((oracle.logits(moved).argmax(1) == split.labels).mean())
    assert panel["robust"] < panel["accuracy"]
    assert panel["labels"] == split.labels.tolist()


def test_every_image_is_written_down_twice_and_a_picture_is_drawn(
    defended_store: Path, tmp_path: Path
) -> None:
    arguments = ["judged", "centred", "--images", "20", "--attack", "pgd-2", "--of", "logits"]
    found = run(defended_store, tmp_path, *arguments)
    with (tmp_path / "features.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 20
    panel = found["panels"][1]
    assert [float(rows[-1]["x"]), float(rows[-1]["y"])] == panel["attacked"][-1]
    assert (rows[-1]["bundle"], rows[-1]["attack"], rows[-1]["image"]) == ("centred", "pgd-2", "19")
    assert np.asarray(Image.open(tmp_path / "features.png").convert("L")).std() > 10
    first = (tmp_path / "features.svg").read_bytes()
    run(defended_store, tmp_path, *arguments)
    assert (tmp_path / "features.svg").read_bytes() == first, "the same seed draws the same picture"


def test_a_killed_figure_attacks_only_what_was_not_attacked(
    digits_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = ["digits", "--attack", "pgd-2", "--epsilon", "0.1", "--batch-size", "10"]
    whole = run(digits_store, out, *arguments, "--images", "30")
    parts = sorted((tmp_path / "out-ledgers" / "digits-1").glob("features-*.npz"))
    assert len(parts) == 3
    parts[0].write_bytes(parts[0].read_bytes()[:100])  # torn
    parts[1].unlink()
    attacked = []

    def counted(oracle: Any, images: Any, *more: Any) -> Any:
        attacked.append(len(images))
        return attack(oracle, images, *more)

    monkeypatch.setattr("training.evaluation.attacked.attack", counted)
    assert run(digits_store, out, *arguments, "--images", "30") == whole
    assert attacked == [10, 10]
    run(digits_store, out, *arguments, "--images", "35")
    assert attacked == [10, 10, 5], "more images cost only those"


def test_more_classes_than_colours_are_drawn_and_said_to_be_others(tmp_path: Path) -> None:
    clean, _ = clustered(0.0)
    found = embed(clean, clean, np.arange(60) % 12, bundle="b", attack="pgd-20")
    names = [f"class{index}" for index in range(12)]
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw(Embeddings("made up, all 60 test images", "L∞ 0.1", names, 0, [found]), tmp_path, "many")
    written = (tmp_path / "many.svg").read_text(encoding="utf-8")
    assert "another class" in written
    assert "class9<" in written
    assert "class10<" not in written


def test_too_few_images_show_nothing() -> None:
    clean, labels = clustered(0.0)
    few = Features(clean.vectors[:5], clean.logits[:5])
    with pytest.raises(UsageError, match="t-SNE of 5 images shows nothing"):
        embed(few, few, labels[:5], bundle="b", attack="pgd-20")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--of", "pixels"], "--of is features or logits"),
        ([], "has no budget here"),
        (["--attack", "clean"], "no attack on the network itself"),
        (["--attack", "pgd-2,from=none", "--epsilon", "0.1"], "no attack on the network itself"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    digits_store: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(HoldfastError, match=said):
        run(digits_store, tmp_path, "digits", "--images", "10", *arguments)
    assert not list(tmp_path.iterdir())
