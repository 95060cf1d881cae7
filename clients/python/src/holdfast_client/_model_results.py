"""The models that are served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from holdfast_client._attack_results import Budget
from holdfast_client._predictions import Defence


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A model in the list of models.

    Attributes:
        name: What it is called.
        description: What it is.
        versions: Oldest first.
        latest: The newest version.
        default: The version that answers most of the requests that name none.
        shares: By version, its share of these requests.
        dataset: What it was trained on.
        classes: How many classes it tells apart.
        defences: What ``defence`` may be.
    """

    name: str
    description: str
    versions: list[str]
    latest: str
    default: str
    shares: dict[str, float]
    dataset: str
    classes: int
    defences: list[Defence]


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """The models that are served; iterate over it, or ask for one by name.

    >>> [model.name for model in client.models.list()]

    Attributes:
        default: The one to ask, for whoever does not know.
        models: All of them, by name.
    """

    default: str
    models: list[ModelSummary]

    def __iter__(self) -> Iterator[ModelSummary]:
        """One by one."""
        return iter(self.models)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.models)

    def __getitem__(self, name: str) -> ModelSummary:
        """The model of that name.

        Raises:
            KeyError: There is none.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a model takes; an image of another size is scaled and cropped to it by the server."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a model was trained on."""

    name: str
    train_images: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """How a model tells natural images from adversarial ones."""

    evidence: Literal["discriminator", "centre"]
    uncertain: float
    suspect: float
    false_positive_rates: tuple[float, float]
    images: int


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured accuracy, with what it takes to measure it again."""

    name: str
    accuracy: float
    interval: tuple[float, float]
    images: int
    defence: str = "none"
    attack: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    threat_model: Budget | None = None
    adaptive: bool = True
    flags: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The figures of one measurement, and the command that made them."""

    command: str
    date: datetime
    dataset: str
    seed: int
    figures: list[Figure]
    unreliable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """One version of a model: what it takes, what it answers, and what was measured on it.

    Attributes:
        name: What it is called.
        version: Which version this is.
        versions: All versions, oldest first.
        description: What it is.
        created: When the bundle was made.
        method: The training method.
        dataset: What it was trained on.
        classes: The classes' names, in the model's order.
        input: What it takes.
        head: ``linear`` or ``cosine``.
        defences: What ``defence`` may be.
        manifold: How it tells natural images from adversarial ones, if it does.
        threat_model: What it was trained to withstand.
        evaluations: What was measured, and how.
        digest: SHA-256 of the bundle's manifest.
        card: The model card, in Markdown.
        imported: Where it comes from, if Holdfast did not train it, and what nobody said of it.
        architecture, training, parity, calibration, imt, precision: As the manifest has them; ``training``
            is None of a network that was imported.
    """

    name: str
    version: str
    versions: list[str]
    description: str
    created: datetime
    method: str
    dataset: TrainingData
    classes: list[str]
    input: InputSpec
    head: str
    defences: list[Defence]
    threat_model: Budget
    evaluations: list[Evaluation]
    digest: str
    card: str = field(repr=False)
    manifold: Thresholds | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None
    imported: Mapping[str, Any] | None = None
    parity: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    imt: Mapping[str, Any] | None = None
    precision: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        """Its name, version, method and data."""
        return f"<Model {self.name}/{self.version}: {self.method} on {self.dataset.name}>"

    def _repr_markdown_(self) -> str:
        return self.card
