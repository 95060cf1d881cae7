"""The ablation: each variant is trained as it says, and its figures are of its own network."""

from __future__ import annotations

import json
from pathlib import Path

import ablation
import pytest
import torch
from ablation import VARIANTS, main, standing

from holdfast.attacks import PGDParameters
from holdfast.attacks.random_noise import NoiseParameters
from holdfast.errors import UsageError
from training import recipe as recipes
from training.models import build


@pytest.mark.parametrize("recipe", ["fs-digits", "fs-gan-digits"])
def test_every_variant_is_a_valid_recipe_of_its_own(recipe: str) -> None:
    variants = VARIANTS[recipes.load(recipe).method["name"]]
    made = [recipes.load(recipe, variant.split()).model_dump_json() for variant in variants]
    assert len(set(made)) == len(made)


def test_an_image_counts_that_stands_every_attack() -> None:
    torch.manual_seed(0)
    network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,)).eval()
    images = torch.rand(40, 1, 8, 8)
    labels = network(images).argmax(1)
    noise = NoiseParameters(norm="linf", epsilon=0.1, tries=2)
    pgd = PGDParameters(norm="linf", epsilon=0.1, steps=5, step_size=0.05)
    assert standing(network, images, labels, []) == 1
    alone = standing(network, images, labels, [pgd])
    assert (
        standing(network, images, labels, [noise, pgd]) <= alone < standing(network, images, labels, [noise])
    )


def test_it_trains_each_variant_with_each_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.json"
    monkeypatch.setattr(ablation, "_BASELINES", ("method={name: standard}",))
    changes = [
        "epochs=1",
        "batch_size=120",
        "model.arguments={width: 8}",
        "dataset.options.test_fraction=0.05",
    ]
    main("fs-digits", ["method.matching=identity"], changes, seeds=2, steps=2, threads=0, json_path=results)
    accuracy = json.loads(results.read_text())["accuracy"]
    assert list(accuracy) == ["method.matching=identity", "method={name: standard}"]
    assert all(len(runs) == 2 for runs in accuracy.values())
    first, second = accuracy["method.matching=identity"]
    assert first != second, "another seed is another network"
    assert "Means over 2 seeds" in capsys.readouterr().out


def test_a_method_without_variants_asks_for_some() -> None:
    with pytest.raises(UsageError, match="pgd-at"):
        main("pgd-at-digits", seeds=1, threads=0)
