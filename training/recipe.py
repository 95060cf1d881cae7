"""Recipes: everything that decides a training run, as one validated YAML file."""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from holdfast.errors import UsageError
from holdfast.manifest import NAME_PATTERN, Head
from holdfast.units import Budget
from training import methods

#: Recipes that come with Holdfast.
SHIPPED = Path(__file__).parent / "recipes"


class Section(BaseModel):
    """A part of a recipe: immutable, and a misspelt key is an error rather than a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetOptions(Section):
    """How a set is read, where it leaves a choice; see :func:`training.data.load`."""

    size: int | tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    test_fraction: Annotated[float | None, Field(gt=0, lt=1)] = None
    seed: Annotated[int | None, Field(ge=0)] = None
    crop: Annotated[int | None, Field(ge=0)] = None
    flip: bool | None = None


class DatasetSection(Section):
    """Which images, and whether they are cropped and mirrored as the set allows."""

    name: Annotated[str, Field(description="A name in training.data: cifar10, mnist, digits, npz:FILE, …")]
    augment: bool = True
    options: DatasetOptions = DatasetOptions()


class ModelSection(Section):
    """Which network."""

    architecture: str
    head: Annotated[
        Head, Field(description="A linear layer that learns, or cosines to fixed class centres (MAT, MMC).")
    ] = "linear"
    arguments: dict[str, Any] = Field(default_factory=dict)


class OptimiserSection(Section):
    """Stochastic gradient descent with momentum, as in all five papers."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 2e-4
    nesterov: bool = False


class StepSchedule(Section):
    """The learning rate times ``factor`` from each of ``milestones`` (epochs) on."""

    kind: Literal["step"] = "step"
    milestones: list[Annotated[float, Field(gt=0)]] = [60, 90]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1

    def at(self, progress: float, epochs: float) -> float:
        """The factor on the learning rate after ``progress`` of ``epochs`` epochs."""
        del epochs
        return float(self.factor ** sum(progress >= milestone for milestone in self.milestones))


class CosineSchedule(Section):
    """A linear warm-up over ``warmup`` epochs, then half a cosine down to ``final`` of the learning rate."""

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0)] = 0.0
    final: Annotated[float, Field(ge=0, le=1)] = 0.0

    def at(self, progress: float, epochs: float) -> float:
        """The factor on the learning rate after ``progress`` of ``epochs`` epochs."""
        if progress < self.warmup:
            return progress / self.warmup
        rest = (progress - self.warmup) / max(epochs - self.warmup, 1e-9)
        return self.final + (1 - self.final) * 0.5 * (1 + cos(pi * min(rest, 1.0)))


class AveragingSection(Section):
    """An exponential moving average of the weights, exported in their place."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999


class MonitorSection(Section):
    """Accuracy on a few test images after each epoch, for the eye; nothing is selected by it."""

    images: Annotated[int, Field(ge=0)] = 512
    steps: Annotated[int, Field(ge=0, description="Steps of the PGD beside the clean accuracy.")] = 10


class ThreatModelSection(Section):
    """What the model is meant to hold against; for the card, and the default of ``holdfast evaluate``."""

    norm: Literal["linf", "l2"] = "linf"
    epsilon: Budget = 8 / 255


class Recipe(Section):
    """A training run. ``source`` says what the paper states and where the recipe departs from it."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    source: str = ""
    method: dict[str, Any]
    dataset: DatasetSection
    model: ModelSection
    threat_model: ThreatModelSection = ThreatModelSection()
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2, description="Over all processes together.")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    optimiser: OptimiserSection = OptimiserSection()
    schedule: Annotated[StepSchedule | CosineSchedule, Field(discriminator="kind")] = StepSchedule()
    averaging: AveragingSection | None = None
    precision: Annotated[
        Literal["float32", "bfloat16"], Field(description="What the network's body computes in.")
    ] = "float32"
    channels_last: bool = False
    compile: bool = False
    monitor: MonitorSection = MonitorSection()

    @model_validator(mode="before")
    @classmethod
    def _complete_method(cls, content: Any) -> Any:
        """Validate the method's own parameters, and write its defaults out, so that the run records them."""
        if not isinstance(content, dict) or not isinstance(content.get("method"), dict):
            return content
        section = dict(content["method"])
        name = section.pop("name", None)
        if not isinstance(name, str):
            message = f"method.name is missing; there are {', '.join(methods.names())}"
            raise ValueError(message)  # noqa: TRY004 (pydantic turns a ValueError into a field's error)
        try:
            parameters = methods.find(name).Parameters.model_validate(section)
        except UsageError as error:
            raise ValueError(f"{error.message} {error.hint}") from None
        return {**content, "method": {"name": name, **parameters.model_dump(mode="json")}}

    def make_method(self) -> methods.Method[Any]:
        """The training method with this recipe's parameters."""
        kind = methods.find(self.method["name"])
        rest = {key: value for key, value in self.method.items() if key != "name"}
        return kind(kind.Parameters.model_validate(rest))


def completed(content: dict[str, Any]) -> dict[str, Any]:
    """What an older Holdfast recorded, with the defaults of what recipes did not say then."""
    try:
        return Recipe.model_validate(content).model_dump(mode="json")
    except ValidationError:
        return content


def shipped() -> list[str]:
    """The names of the recipes that come with Holdfast."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(reference: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by name or path, with ``key=value`` overrides.

    Args:
        reference: The name of a shipped recipe, or the path of a YAML file.
        overrides: E.g. ``epochs=10``, ``method.epsilon=4/255``; values are YAML.

    Raises:
        UsageError: There is no such recipe, or it is not valid; the message names the field.
    """
    path = Path(reference)
    if not path.is_file():
        path = SHIPPED / f"{reference}.yaml"
    if not path.is_file():
        raise UsageError(
            f"There is no recipe {reference!r}.", hint=f"Give a YAML file or one of: {', '.join(shipped())}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}.") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no mapping; a recipe is keys and values.")
    for override in overrides:
        _override(content, override)
    return validate(content, str(path))


def validate(content: dict[str, Any], where: str) -> Recipe:
    """A recipe from its content.

    Raises:
        UsageError: It is not valid; the message names each field that is wrong.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'method'}: {item['msg']}"
            for item in error.errors()
        )
        raise UsageError(f"The recipe {where} is not valid: {wrong}.") from None


def _override(content: dict[str, Any], assignment: str) -> None:
    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise UsageError(f"--set takes key=value, not {assignment!r}.", hint="For example: --set epochs=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {key}: {text!r} is not YAML.") from None
    *parents, last = key.split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UsageError(f"--set {key}: {parent!r} is no section of the recipe.")
    section[last] = value
