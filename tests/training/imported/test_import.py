"""``holdfast export package.module:build``: a module of somebody else's becomes a bundle, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load
from support.cli import invoke
from support.foreign import Foreign, Mixed, Small
from torch import nn

from holdfast.attacks import attack, find
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.oracle import NoGradientError
from holdfast.bundle import CARD, GRADIENT, MANIFEST, TORCHSCRIPT, WEIGHTS, Bundle, BundleError
from holdfast.manifest import Manifest
from training.archive import archive, compare
from training.export.weights import write_weights
from training.imported import ImportedNetwork, Preprocessing
from training.rebuild import rebuild

SMALL = ("export", "support.foreign:Small", "--input-shape", "1x8x8")


def test_the_bundle_answers_as_the_module_does_behind_its_normalisation(mixed: Foreign) -> None:
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    with torch.no_grad():
        expected = mixed.module((torch.from_numpy(images) * 2 - 0.5) / 0.25).numpy()
    found = open_oracle(mixed.bundle, threads=1).logits(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert mixed.bundle.manifest.parity.gradient_sign > 0.999  # type: ignore[operator]


def test_it_is_attacked_by_gradient(mixed: Foreign) -> None:
    oracle = open_oracle(mixed.bundle, threads=1)
    images = np.random.default_rng(1).random((8, 1, 8, 8), dtype=np.float32)
    labels = oracle.logits(images).argmax(1)
    parameters = find("pgd").parameters(epsilon=0.3, steps=10)
    result = attack(oracle, images, labels, parameters)
    assert result.success.any()
    assert np.abs(result.images - images).max() <= 0.3 + 1e-6


def test_the_manifest_says_where_it_comes_from_and_nothing_of_a_recipe(mixed: Foreign) -> None:
    manifest = mixed.bundle.manifest
    assert (manifest.name, manifest.version, manifest.method) == ("mixed", "1", "imported")
    assert (manifest.recipe, manifest.training) == ({}, None)
    assert manifest.classes == list("abcdefg")
    assert manifest.threat_model.epsilon == 0.1
    imported = manifest.imported
    assert imported is not None
    assert (imported.factory, imported.arguments) == ("support.foreign:Mixed", {"num_classes": 7})
    assert imported.weights is not None
    assert imported.weights.name == "weights.safetensors"
    assert imported.unstated == ["dataset", "images"]
    assert "training" not in json.loads((mixed.bundle.root / MANIFEST).read_text())


def test_a_manifest_says_how_it_was_trained_or_where_it_comes_from(
    mixed: Foreign,
) -> None:
    content = mixed.bundle.manifest.model_dump(mode="json")
    run = {"epochs": 1, "steps": 1, "seed": 0, "hardware": "none", "seconds": 1}
    for change in ({"training": run}, {"imported": None}):
        with pytest.raises(ValidationError, match="training or the section imported"):
            Manifest.model_validate(content | change)


def test_the_card_says_what_is_not_known(mixed: Foreign) -> None:
    card = (mixed.bundle.root / CARD).read_text(encoding="utf-8")
    assert "`support.foreign:Mixed(num_classes=7)`" in card
    assert "Nobody said what it was trained on." in card
    assert "no images at hand" in card
    assert "recipe" not in card


def test_with_torchscript_it_is_rebuilt_and_archived_without_its_code(mixed: Foreign) -> None:
    network = rebuild(mixed.bundle)
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            network(images), mixed.module((images * 2 - 0.5) / 0.25), rtol=1e-4, atol=1e-5
        )
    assert compare(mixed.bundle, mixed.bundle.path(TORCHSCRIPT)) < 1e-4


def test_without_a_gradient_it_is_attacked_by_scores_alone(blind: Bundle) -> None:
    assert GRADIENT not in blind.manifest.files
    assert blind.manifest.parity.gradient is None
    oracle = open_oracle(blind, threads=1)
    images = np.random.default_rng(1).random((4, 1, 8, 8), dtype=np.float32)
    labels = oracle.logits(images).argmax(1)
    square = find("square").parameters(epsilon=0.3, query_budget=50)
    assert attack(oracle, images, labels, square).success.any()
    with pytest.raises(NoGradientError, match="without a gradient"):
        attack(oracle, images, labels, find("pgd").parameters(epsilon=0.3, steps=2))


def test_what_nobody_said_is_on_the_card_and_weights_drawn_at_random_are_the_same_each_time(
    blind: Bundle,
) -> None:
    card = (blind.root / CARD).read_text(encoding="utf-8")
    assert "nothing was ever learnt" in card
    assert "There is no gradient graph" in card
    assert "; assumed" in card
    imported = blind.manifest.imported
    assert imported is not None
    assert len(imported.unstated) == 6


def test_without_torchscript_it_cannot_be_rebuilt_and_says_how_it_could(blind: Bundle) -> None:
    with pytest.raises(BundleError, match="cannot be built again") as refusal:
        rebuild(blind)
    assert "--torchscript" in refusal.value.hint


def test_it_is_not_evaluated_on_images_that_nobody_named(
    blind: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "evaluate", blind.root)
    assert outcome.code == 2
    assert "does not say which images it was trained on" in outcome.err
    assert "--data" in outcome.err


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("dict", "a dict with 'features', 'logits'"),
        ("tuple", "a tuple of 2"),
        ("chance", "differently each time"),
        ("nan", "not finite"),
        ("mixing", "other images of its batch"),
        ("single", "a single logit"),
        ("image", "For 3 images the module returns a tensor of 3x1x8x8"),
    ],
)
def test_a_module_that_nobody_could_serve_is_refused_before_it_is_exported(
    kind: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *SMALL, "--set", f"kind={kind}", "--store", tmp_path)
    assert outcome.code != 0
    assert reason in " ".join(outcome.err.split())
    assert "Hint:" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["branch", "gradient"])
def test_code_that_no_graph_can_hold_is_refused_and_nothing_is_left(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *SMALL, "--set", f"kind={kind}", "--store", tmp_path)
    assert outcome.code == 1, outcome.err
    said = " ".join(outcome.err.split())
    assert ("--no-gradient" in said) == (kind == "gradient"), said
    assert ("grid_sampler_2d_backward" in said) == (kind == "gradient"), said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("support.foreign:Small",), "which images the model takes"),
        (("support.foreign:Small", "--input-shape", "224"), "no shape"),
        (("support.foreign:Small", "--input-shape", "3x8x8"), "fails on images of 3x8x8"),
        (("support.nowhere:build", "--input-shape", "1x8x8"), "no module 'support.nowhere'"),
        (("support.foreign:nothing", "--input-shape", "1x8x8"), "has no 'nothing'"),
        (("support.foreign:fails", "--input-shape", "1x8x8"), "ZeroDivisionError: no module today"),
        (("support.foreign:NOT_A_MODULE", "--input-shape", "1x8x8"), "of type int"),
        (("support.foreign:PLAIN", "--input-shape", "1x8x8", "--set", "a=1"), "a module already"),
        ((*SMALL[1:], "--set", "width=3"), "unexpected keyword"),
        ((*SMALL[1:], "--classes", "cat,dog"), "10 classes; --classes has 2 names"),
        ((*SMALL[1:], "--classes", "a,a,b,c,d,e,f,g,h,i"), "'a' twice"),
        ((*SMALL[1:], "--normalise", "0.5/0"), "no mean and deviation"),
        ((*SMALL[1:], "--normalise", "imagenet"), "has 3 channels, the images have 1"),
        ((*SMALL[1:], "--input-range", "0-255"), "no range"),
        ((*SMALL[1:], "--threat-model", "l0"), "linf or l2"),
        ((*SMALL[1:], "--threat-model", "l2"), "no usual budget"),
        (("runs/none", "--classes", "a,b"), "--classes is for modules of your own"),
        (("runs/none", "--weights", "float16"), "--precision float16"),
    ],
)
def test_what_cannot_be_meant_is_said(
    arguments: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "export", *arguments, "--store", tmp_path)
    assert outcome.code == 2
    assert reason in " ".join(outcome.err.split())


def test_a_module_that_says_the_same_of_every_image_is_exported_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *SMALL, "--set", "kind=constant", "--no-gradient", "--store", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "every image gets the same logits" in outcome.err


def test_a_bundle_with_torchscript_is_packed_for_torchserve(mixed: Foreign, tmp_path: Path) -> None:
    packed = archive(mixed.bundle, tmp_path)
    assert packed.name == "mixed.mar"
    with ZipFile(packed) as content:
        assert content.read(TORCHSCRIPT) == mixed.bundle.path(TORCHSCRIPT).read_bytes()


def test_tied_weights_are_stored_twice(tmp_path: Path) -> None:
    first = nn.Linear(64, 64, bias=False)
    module = nn.Sequential(nn.Flatten(), first, nn.Linear(64, 64, bias=False), nn.Linear(64, 3)).eval()
    module[2].weight = first.weight
    network = ImportedNetwork(module, Preprocessing((0.0,), (1.0,)), 3)
    write_weights(network, tmp_path / WEIGHTS)
    entries = load((tmp_path / WEIGHTS).read_bytes())
    assert torch.equal(entries["body.1.weight"], entries["body.2.weight"])


def test_constants_that_a_module_keeps_to_itself_are_stored_with_its_weights() -> None:
    network = ImportedNetwork(Mixed(), Preprocessing((0.0,), (1.0,)), 10)
    assert "body.gain" in network.state_dict()


def test_small_is_what_these_tests_take_it_for() -> None:
    assert Small().eval()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
