"""Bundles of somebody else's modules on a real gateway: described, classified with, and attacked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cli import invoke
from support.foreign import Foreign
from support.gateway_process import running_gateway

from holdfast.bundle import Bundle
from holdfast_client import Holdfast, ProblemError

SEVEN = Path(__file__).parents[3] / "examples" / "digits" / "seven.png"


@pytest.fixture(scope="module")
def client(mixed: Foreign, blind: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holdfast]:
    """Of a gateway that serves both."""
    store = tmp_path_factory.mktemp("store")
    for bundle in (mixed.bundle, blind):
        (store / bundle.name).symlink_to(bundle.root.parent)
    with (
        running_gateway(store, HOLDFAST_JOBS_WORKERS="0", HOLDFAST_ATTACK_DEADLINE="240") as url,
        Holdfast(url, timeout=120) as client,
    ):
        yield client


def image() -> np.ndarray:
    """Grey noise, uint8 (8, 8)."""
    return np.random.default_rng(4).integers(0, 256, (8, 8), dtype=np.uint8)


def test_it_is_described_with_what_is_not_known_of_it(client: Holdfast) -> None:
    assert {model.name: model.dataset for model in client.models.list()} == {
        "mixed": "unknown",
        "blind": "unknown",
    }
    model = client.models.get("mixed")
    assert model.training is None
    assert model.dataset.train_images is None
    assert model.imported is not None
    assert model.imported["factory"] == "support.foreign:Mixed"
    assert "## Where it comes from" in model.card


def test_it_classifies_as_the_module_does(client: Holdfast, mixed: Foreign) -> None:
    found = client.classify(image(), model="mixed")
    pixels = torch.from_numpy(image().astype(np.float32) / 255)[None, None]
    with torch.no_grad():
        expected = mixed.module((pixels * 2 - 0.5) / 0.25).softmax(1)[0]
    assert found.class_index == int(expected.argmax())
    np.testing.assert_allclose(list(found.probabilities.values()), expected.numpy(), atol=1e-5)


def test_it_is_attacked_by_gradient_and_within_its_budget(client: Holdfast) -> None:
    result = client.attack(image(), "pgd", model="mixed", steps=5)
    assert result.attack.budget is not None
    assert result.attack.budget.epsilon == 0.1
    assert 0 < result.reached.linf <= 0.1 + 1e-6
    assert result.counts.backwards > 0


def test_without_a_gradient_it_is_attacked_by_scores_and_says_why_not_otherwise(client: Holdfast) -> None:
    assert client.attack(image(), "square", model="blind", query_budget=20).counts.queries > 0
    with pytest.raises(ProblemError, match="exported without a gradient") as refusal:
        client.attack(image(), "pgd", model="blind", steps=2)
    assert refusal.value.status == 422


def test_the_list_of_models_and_the_local_attack_know_it(
    mixed: Foreign, blind: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = invoke(capsys, "models", "--store", mixed.bundle.root.parents[1])
    assert listed.code == 0
    assert "imported" in listed.out
    refused = invoke(capsys, "attack", blind.root, SEVEN, "--attack", "pgd")
    assert refused.code == 2
    assert "exported without a gradient" in refused.err
