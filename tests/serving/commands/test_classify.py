"""`holdfast classify`: images in, classes out, on this machine and without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support.cli import Outcome, invoke, spawn_without
from support.tiny import make_tiny_bundle, solid_png

from holdfast.bundle import Bundle, write_manifest
from holdfast.manifest import Manifest


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A directory of images, some of them deeper in it, and of files that are no images."""
    root = tmp_path / "images"
    (root / "more").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "a-red.png").write_bytes(solid_png("red"))
    (root / "b-green.PNG").write_bytes(solid_png((0, 255, 0), (50, 30)))
    (root / "more" / "blue.png").write_bytes(solid_png("blue"))
    (root / ".hidden" / "red.png").write_bytes(solid_png("red"))
    (root / "notes.txt").write_text("no image")
    return root


def answers(outcome: Outcome) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads(outcome.out)["images"]
    return content


def test_probabilities_are_the_softmax_of_the_models_logits(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = images / "a-red.png"
    outcome = invoke(capsys, "classify", path, "--store", tiny_store, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    content = json.loads(outcome.out)
    assert (content["model"], content["version"]) == ("tiny", "1")
    (answer,) = content["images"]
    total = math.exp(10) + 2  # the logits are 10, 0, 0
    assert answer["image"] == str(path)
    assert (answer["label"], answer["class_index"]) == ("red", 0)
    assert answer["probability"] == pytest.approx(math.exp(10) / total)
    assert [entry["label"] for entry in answer["top_k"]] == ["red", "green", "blue"]
    assert answer["top_k"][1]["probability"] == pytest.approx(1 / total)


def test_table_shows_classes_with_probabilities_and_bars(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = images / "grey.png"
    grey.write_bytes(solid_png((128, 128, 0)))
    outcome = invoke(capsys, "classify", grey, "--store", tiny_store)
    assert outcome.code == 0
    title, header, _, first, second, third, *_ = outcome.out.splitlines()
    assert title == str(grey)
    assert header.split() == ["class", "probability"]
    assert first.split()[:3] == ["red", "49.8", "%"]
    assert second.split()[:3] == ["green", "49.8", "%"]
    assert third.split() == ["blue", "0.3", "%"]
    assert first.count("█") == 15  # of 32: half of them, cut off below one


def test_directories_are_searched_in_order_without_hidden_files(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "classify", images, "--store", tiny_store, "--json")
    assert [(Path(answer["image"]).name, answer["label"]) for answer in answers(outcome)] == [
        ("a-red.png", "red"),
        ("b-green.PNG", "green"),
        ("blue.png", "blue"),
    ]


def test_directory_without_images_is_a_usage_error(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "classify", tmp_path, "--store", tiny_store)
    assert outcome.code == 2
    assert "no images" in outcome.err


def test_top_k_bounds_what_is_listed(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = images / "a-red.png"
    outcome = invoke(capsys, "classify", path, "--store", tiny_store, "--json", "--top-k", "2")
    assert len(answers(outcome)[0]["top_k"]) == 2
    assert invoke(capsys, "classify", path, "--store", tiny_store, "-k", "0").code == 2


def test_bad_image_does_not_stop_the_others(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, fake = images / "broken.png", images / "fake.gif"
    broken.write_bytes(solid_png("red")[:50])
    fake.write_bytes(b"GIF89a")
    missing = images / "missing.png"
    arguments = [broken, images / "a-red.png", missing, fake, images / "more" / "blue.png"]
    outcome = invoke(capsys, "classify", *arguments, "--store", tiny_store)
    assert outcome.code == 1
    assert "red.png" in outcome.out
    assert "blue.png" in outcome.out
    truncated, unread, unsupported, total = outcome.err.splitlines()
    assert truncated.startswith(f"{broken}: The image is truncated")
    assert unread == f"{missing}: The file cannot be read: No such file or directory."
    assert unsupported.startswith(f"{fake}: GIF images are not accepted.")
    assert total == "3 of 5 images could not be classified."


def test_bad_image_is_in_the_json_with_its_error(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(
        capsys, "classify", images / "notes.txt", images / "a-red.png", "--store", tiny_store, "--json"
    )
    assert outcome.code == 1
    first, second = answers(outcome)
    assert "not an image" in first["error"]
    assert second["label"] == "red"


def test_more_images_than_a_batch_are_all_answered_in_order(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = ["red", "green", "blue"]
    shades = {"red": "red", "green": (0, 255, 0), "blue": "blue"}
    paths = []
    for index in range(75):
        path = tmp_path / f"{index:03}.png"
        path.write_bytes(b"no image" if index == 40 else solid_png(shades[colours[index % 3]]))  # type: ignore[arg-type]
        paths.append(path)
    outcome = invoke(capsys, "classify", tmp_path, "--store", tiny_store, "--json")
    assert outcome.code == 1
    got = [answer.get("label") for answer in answers(outcome)]
    assert got == [None if index == 40 else colours[index % 3] for index in range(75)]
    assert "Classifying: 75 of 75 images (100%)" in outcome.err


@pytest.mark.parametrize("reference", ["tiny", "tiny/1", "DIRECTORY"])
def test_model_is_named_by_name_version_or_directory(
    images: Path, tiny_store: Path, tiny_bundle: Path, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = str(tiny_bundle) if reference == "DIRECTORY" else reference
    outcome = invoke(capsys, "classify", images, "--store", tiny_store, "-m", reference, "--json")
    assert len(answers(outcome)) == 3


def test_of_several_models_the_most_robust_answers_unless_another_is_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    for name, accuracy in (("one", 0.2), ("two", 0.4)):
        root = make_tiny_bundle(store, name=name)
        content = Bundle.open(root).manifest.model_dump()
        for figure in content["evaluations"][0]["figures"][1:]:
            figure["accuracy"] = accuracy
        write_manifest(root, Manifest.model_validate(content))
    chosen = invoke(capsys, "classify", images, "--store", store, "--json")
    assert json.loads(chosen.out)["model"] == "two"
    named = invoke(capsys, "classify", images, "--store", store, "--json", "-m", "one")
    assert json.loads(named.out)["model"] == "one"
    assert "By two, version 1" in invoke(capsys, "classify", images, "--store", store).err


def test_damaged_bundle_is_refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_tiny_bundle(tmp_path / "store")
    with (bundle / "predict.onnx").open("ab") as file:
        file.write(b"\0")
    outcome = invoke(capsys, "classify", images, "--store", tmp_path / "store")
    assert (outcome.code, outcome.out) == (1, "")
    assert "predict.onnx has" in outcome.err


def test_path_is_shown_as_it_is(tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "[red] image.png"
    path.write_bytes(solid_png("red"))
    assert "[red] image.png" in invoke(capsys, "classify", path, "--store", tiny_store).out


def test_torch_is_not_needed(images: Path, tiny_store: Path) -> None:
    done = spawn_without("torch", "classify", images, "--store", tiny_store)
    assert done.code == 0, done.err
    assert done.out.count("█") > 60


def test_missing_onnx_runtime_is_explained(images: Path, tiny_store: Path) -> None:
    done = spawn_without("onnxruntime", "classify", images, "--store", tiny_store)
    assert done.code == 1
    assert done.err.splitlines() == [
        "Error: Running a bundle needs the Python package 'onnxruntime', which is not installed.",
        "Hint: Install it with: pip install 'holdfast[serve]'",
    ]
