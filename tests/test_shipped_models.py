"""The models in model_store/ are whole, and do what their cards say."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle, ModelStore
from holdfast.figures import clean_figure, robust_figure
from training.data import load

ROOT = Path(__file__).parents[1]
STORE = ModelStore(ROOT / "model_store")
EXAMPLES = sorted((ROOT / "examples" / "images").glob("*.png"))

needs_data = pytest.mark.skipif(
    "HOLDFAST_DATA" not in os.environ, reason="HOLDFAST_DATA is not set: no real test images to measure on"
)


@pytest.fixture(scope="module", params=STORE.names())
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return STORE.open(request.param)


def test_there_is_a_model_to_serve() -> None:
    assert STORE.names()


def test_its_card_says_how_it_was_trained_and_what_was_measured(bundle: Bundle) -> None:
    manifest = bundle.manifest
    clean, robust = clean_figure(manifest), robust_figure(manifest)
    assert clean is not None
    assert robust is not None
    assert robust.threat_model == manifest.threat_model
    assert robust.accuracy < clean.accuracy
    card = bundle.path("CARD.md").read_text(encoding="utf-8")
    for fact in (manifest.method, manifest.training.hardware, f"{100 * clean.accuracy:.1f}"):
        assert fact in card, f"the card does not say {fact!r}"
    assert manifest.parity.logits < 1e-4


def test_it_fits_into_a_repository(bundle: Bundle) -> None:
    assert sum(entry.size for entry in bundle.manifest.files.values()) < 20e6


def test_it_knows_most_of_the_example_images() -> None:
    bundle = STORE.open("pgd-at-cifar10")
    images = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in EXAMPLES]) / np.float32(
        255
    )
    labels = [bundle.manifest.classes[k] for k in OnnxOracle(bundle).logits(images).argmax(1)]
    right = sum(label == path.stem for label, path in zip(labels, EXAMPLES, strict=True))
    assert len(EXAMPLES) == 10
    assert right >= 6


@needs_data
def test_its_figures_are_measured_again_on_real_images(bundle: Bundle) -> None:
    manifest = bundle.manifest
    test = load(manifest.dataset.name).test.only_exact().take(slice(0, 500))
    images = test.images.astype(np.float32) / np.float32(255)
    oracle = OnnxOracle(bundle)
    clean, robust = clean_figure(manifest), robust_figure(manifest)
    assert clean is not None
    assert robust is not None
    right = oracle.logits(images).argmax(1) == test.labels
    assert abs(right.mean() - clean.accuracy) < 0.06
    few = slice(0, 200)
    parameters = PGDParameters(
        norm=manifest.threat_model.norm, epsilon=manifest.threat_model.epsilon, steps=10, loss="cw"
    )
    held = ~attack(oracle, images[few], test.labels[few], parameters).success
    # The model's figure is the worst of several longer attacks: ten steps cannot find much more than it, nor
    # much less than the same attack with twenty.
    figures = [figure for evaluation in manifest.evaluations for figure in evaluation.figures]
    longer = min(each.accuracy for each in figures if (each.name, each.defence) == ("cw-20", "none"))
    assert robust.accuracy - 0.08 < held.mean() < longer + 0.12
