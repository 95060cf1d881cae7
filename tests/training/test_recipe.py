"""Recipes: what is read, what is overridden, and how mistakes are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import UsageError
from training import recipe
from training.models import build
from training.recipe import CosineSchedule, StepSchedule


@pytest.mark.parametrize("name", recipe.shipped())
def test_every_shipped_recipe_is_valid_named_after_its_file_and_builds_its_method(name: str) -> None:
    plan = recipe.load(name)
    assert plan.name == name
    assert plan.source
    assert plan.make_method().parameters.model_dump()


def test_feature_scattering_on_cifar10_is_the_papers() -> None:
    plan = recipe.load("fs-cifar10")
    assert (plan.model.architecture, plan.epochs, plan.batch_size) == ("wrn-28-10", 200, 60)
    assert plan.method["epsilon"] == 8 / 255
    assert (plan.method["steps"], plan.method["label_smoothing"], plan.method["regularisation"]) == (
        1,
        0.5,
        0.01,
    )
    assert plan.schedule == StepSchedule(milestones=[60, 90], factor=0.1)


def test_values_are_overridden_by_dotted_keys() -> None:
    plan = recipe.load("fs-cifar10", ["epochs=3", "method.epsilon=4/255", "model.architecture=wrn-16-4"])
    assert (plan.epochs, plan.method["epsilon"], plan.model.architecture) == (3, 4 / 255, "wrn-16-4")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epoch=3", "epoch: Extra inputs"),
        ("epochs=0", "epochs: Input should be greater than or equal to 1"),
        ("method.epsilon=red", "'red' is not a budget"),
        ("method.eps=1", "eps"),
        ("method.name=madry", "There is no training method 'madry'"),
        ("schedule.kind=linear", "schedule"),
        ("epochs", "--set takes key=value"),
        ("epochs.many=1", "no section"),
        ("epochs=[", "not YAML"),
    ],
)
def test_a_wrong_value_is_answered_with_its_key(override: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe.load("fs-cifar10", [override])
    assert words in caught.value.message


def test_an_unknown_recipe_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        recipe.load("fs-cifar")
    assert "fs-cifar10" in caught.value.hint


def test_a_recipe_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "name: mine\nmethod: {name: standard}\ndataset: {name: digits}\nmodel: {architecture: small-cnn}\n"
        "epochs: 1\nbatch_size: 10\n"
    )
    assert recipe.load(str(own)).method == {"name": "standard", "label_smoothing": 0.0}


def test_the_step_schedule_falls_at_its_milestones() -> None:
    schedule = StepSchedule(milestones=[60, 90], factor=0.1)
    assert [schedule.at(epoch, 100) for epoch in (0, 59.9, 60, 90)] == pytest.approx([1, 1, 0.1, 0.01])


def test_the_cosine_schedule_warms_up_and_ends_at_its_final_value() -> None:
    schedule = CosineSchedule(warmup=2, final=0.1)
    assert [schedule.at(epoch, 10) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])


# PreActResNet-18 is counted with its last batch norm, which some versions leave out: 11,171,146 + 1,024.
@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [("wrn-28-10", 36_479_194), ("wrn-16-4", 2_748_890), ("preact-resnet-18", 11_172_170)],
)
def test_architectures_have_the_sizes_that_the_literature_counts(architecture: str, parameters: int) -> None:
    network = build(architecture, classes=10, channels=3, size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_an_unknown_architecture_or_argument_is_refused() -> None:
    facts = {"classes": 10, "channels": 3, "size": (32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    with pytest.raises(UsageError, match="no architecture"):
        build("resnet-18", **facts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="depth"):
        build("wrn-17-2", **facts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot be built"):
        build("small-cnn", **facts, depth=3)  # type: ignore[arg-type]
