"""`holdfast attack` on models with a defence: through it, past it, and on the losses that only they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import invoke, spawn_without
from support.digits import digit_pngs
from support.tiny import solid_png

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.bundle import Bundle
from holdfast.image_files import find_images, read_image


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twenty digits as files."""
    root = tmp_path_factory.mktemp("digits")
    for index, data in enumerate(digit_pngs(20, size=8)):
        (root / f"{index:02}.png").write_bytes(data)
    return root


def read(folder: Path, bundle: Bundle) -> np.ndarray:
    return np.stack([read_image(file.path, bundle.manifest.input) for file in find_images([folder])])


def run(
    capsys: pytest.CaptureFixture[str], store: Path, model: str, digits: Path, *arguments: str
) -> dict[str, Any]:
    outcome = invoke(capsys, "attack", model, digits, *arguments, "--store", store, "--json")
    assert outcome.code == 0, outcome.err
    record: dict[str, Any] = json.loads(outcome.out)
    return record


def successes(record: dict[str, Any]) -> list[bool]:
    return [result["success"] for result in record["attacks"][0]["results"]]


def test_an_attack_goes_through_the_defence_that_is_named(
    defended_store: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--defence", "imt", "--epsilon", "0.1", "--steps", "5"]
    record = run(capsys, defended_store, "judged", digits, *arguments)
    assert record["model"]["defence"] == "imt"
    assert "dynamic" in [flag["name"] for flag in record["attacks"][0]["flags"]]
    bundle = Bundle.open(defended_store / "judged" / "1")
    oracle, images = open_oracle(bundle, "imt", threads=1), read(digits, bundle)
    labels = oracle.logits(images).argmax(1)
    assert [result["class_index"] for result in record["attacks"][0]["results"]] == labels.tolist()
    expected = attack(oracle, images, labels, PGDParameters(epsilon=0.1, steps=5))
    assert successes(record) == expected.success.tolist()


def test_an_attack_that_does_not_know_the_defence_is_one_crafted_on_the_model_without_it(
    defended_store: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--defence", "imt", "--epsilon", "0.1", "--steps", "5", "--transfer-from", "judged"]
    record = run(capsys, defended_store, "judged", digits, *arguments)
    assert (record["model"]["defence"], record["source"]["defence"]) == ("imt", "none")
    bundle = Bundle.open(defended_store / "judged" / "1")
    defended, static = open_oracle(bundle, "imt", threads=1), open_oracle(bundle, threads=1)
    images = read(digits, bundle)
    parameters = PGDParameters(epsilon=0.1, steps=5, stop_at_success=False)
    expected = attack(defended, images, defended.logits(images).argmax(1), parameters, source=static)
    assert successes(record) == expected.success.tolist()


def test_a_joint_attack_also_makes_the_image_look_natural(
    defended_store: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--defence", "imt+", "--set", "loss=ce+0.5*manifold", "--steps", "3", "--out", str(tmp_path)]
    outcome = invoke(capsys, "attack", "judged", digits, *arguments, "--store", defended_store)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("pgd on judged/1 behind imt+: L∞ within 0.1, 3 steps, seed 0")
    assert "dynamic: the model takes a gradient step of its own at inference" in outcome.out
    assert len(list((tmp_path / "pgd" / "adversarial").glob("*.png"))) == 20  # of one channel


def test_a_model_of_class_centres_is_attacked_on_its_own_loss(
    defended_store: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--set", "loss=ftc+so+bibo", "--epsilon", "0.3", "--steps", "5"]
    (found,) = run(capsys, defended_store, "centred", digits, *arguments)["attacks"]
    assert found["parameters"]["loss"] == "ftc+so+bibo"
    assert found["totals"]["fooled"] > 0


def test_torch_is_not_needed_to_attack_through_a_defence(defended_store: Path, digits: Path) -> None:
    outcome = spawn_without(
        "torch",
        *("attack", "judged", digits, "--defence", "imt+", "--steps", "2", "--store", defended_store),
    )
    assert outcome.code == 0, outcome.err


def test_a_defence_that_the_model_does_not_offer_is_refused_with_those_it_does(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "red.png").write_bytes(solid_png("red"))
    outcome = invoke(capsys, "attack", "tiny", tmp_path, "--defence", "imt", "--store", tiny_store)
    assert outcome.code == 2
    assert "--defence: tiny does not offer 'imt'." in outcome.err
    assert "It offers: none." in outcome.err
