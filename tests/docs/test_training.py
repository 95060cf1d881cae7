"""docs/training.md: its recipe is one, and it leaves no key out."""

from __future__ import annotations

import re
from pathlib import Path

from training import recipe
from training.models import ARCHITECTURES
from training.recipe import (
    AveragingSection,
    CosineSchedule,
    DatasetOptions,
    DatasetSection,
    ModelSection,
    MonitorSection,
    OptimiserSection,
    Recipe,
    StepSchedule,
    ThreatModelSection,
)

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_its_recipe_can_be_read_and_changed_as_it_says(tmp_path: Path) -> None:
    (written,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(written, encoding="utf-8")
    (change,) = re.findall(r"`--set (schedule=.*?)`", PAGE)
    read = recipe.load(str(path), [change.replace("'", "")])
    assert read.dataset.options.size == 64
    assert isinstance(read.schedule, CosineSchedule)
    assert read.schedule.warmup == 1


def test_every_key_and_every_network_is_named() -> None:
    sections = (
        Recipe,
        DatasetSection,
        DatasetOptions,
        ModelSection,
        OptimiserSection,
        StepSchedule,
        CosineSchedule,
        AveragingSection,
        MonitorSection,
        ThreatModelSection,
    )
    named = set(re.findall(r"`([\w.]+)`", PAGE)) | set(re.findall(r"`(\w+): \w+`", PAGE))
    missing = {key for section in sections for key in section.model_fields} - named
    assert not missing
    for architecture in ARCHITECTURES:
        assert re.sub(r"wrn-\d+-\d+", "wrn-D-K", architecture) in PAGE


def test_its_defaults_are_the_recipes() -> None:
    for section, said in (
        (OptimiserSection(), "0.1, 0.9, 2e-4, no"),
        (MonitorSection(), "512, 10"),
        (StepSchedule(), "a tenth at 60 and 90"),
    ):
        assert f"| {said} |" in PAGE
        values = re.findall(r"[\d.]+(?:e-\d)?", said)
        dumped = [float(each) for value in section.model_dump().values() for each in _numbers(value)]
        assert {float(value) for value in values} <= {*dumped, 0.1}


def _numbers(value: object) -> list[float]:
    found = value if isinstance(value, list) else [value]
    return [float(each) for each in found if isinstance(each, int | float) and not isinstance(each, bool)]
