"""The manifest of a bundle, ``bundle.json``: what a model is, what it takes, and what was measured on it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from holdfast.precision import Precision
from holdfast.record import Record

SCHEMA_VERSION = 1

#: Model names are what TorchServe's archiver and a URL path segment both accept.
NAME_PATTERN = r"^[a-z][a-z0-9_.-]{0,63}$"
VERSION_PATTERN = r"^[1-9][0-9]{0,8}$"

Defence = Literal["none", "imt", "imt+"]
Head = Literal["linear", "cosine"]
Norm = Literal["linf", "l2"]
Verdict = Literal["natural", "uncertain", "suspect"]


class InputSpec(Record):
    """What the graphs take: float32 NCHW images in [0, 1]; normalisation is the model's own first layer."""

    channels: Literal[1, 3]
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's shape, ``(channels, height, width)``."""
        return self.channels, self.height, self.width


class FileEntry(Record):
    """One file of the bundle, as it was when the manifest was written."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class ThreatModel(Record):
    """What an adversary may do: move an image by at most ``epsilon`` (image units) in ``norm``."""

    norm: Norm
    epsilon: Annotated[float, Field(ge=0)]


class Architecture(Record):
    """How to build the network again: a name in ``training.models`` and its arguments.

    Of an imported network, whatever built it; see :class:`Imported`.
    """

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    parameters: Annotated[int, Field(ge=0, description="Number of trainable parameters.")] = 0


#: What the data set is called of which a model was trained that was imported, where nobody said it.
UNKNOWN_DATASET = "unknown"


class Dataset(Record):
    """What the model was trained on."""

    name: str
    train_images: Annotated[
        int | None, Field(ge=0, description="Null where nobody said, of an imported network.")
    ]
    note: str = ""


class Parity(Record):
    """The largest differences seen between the exported graphs and eager torch when they were exported."""

    images: Annotated[int, Field(ge=1, description="Images compared, over all batch sizes.")]
    batch_sizes: list[int]
    logits: Annotated[float, Field(ge=0, description="Largest absolute difference of a logit.")]
    gradient: Annotated[
        float | None,
        Field(
            ge=0,
            description="Largest difference over the image's largest gradient; null where the bundle has no "
            "gradient graph.",
        ),
    ]
    gradient_sign: Annotated[
        float | None,
        Field(ge=0, le=1, description="Share of equal signs where the gradient is not negligible."),
    ]


class TrainingRun(Record):
    """How the weights came about."""

    epochs: Annotated[float, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    seed: int
    hardware: str
    seconds: Annotated[float, Field(ge=0, description="Wall time of the training loop.")]
    images_per_second: Annotated[float, Field(ge=0)] = 0.0


class WeightsFile(Record):
    """The file that an imported network's weights were read from."""

    name: Annotated[str, Field(description="Without its directory.")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


#: What may not be known of an imported network, because nobody said it.
Unstated = Literal["weights", "preprocessing", "classes", "dataset", "threat model", "images"]


class Imported(Record):
    """Where a network that Holdfast did not train comes from, and what nobody said of it.

    Nothing here is ever imported or run when a bundle is opened: it is for people to read.
    """

    factory: Annotated[str, Field(description="What built the network, as package.module:attribute.")]
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Annotated[
        WeightsFile | None, Field(description="Null where the weights are those that it was built with.")
    ] = None
    unstated: Annotated[
        list[Unstated], Field(description="What was assumed, for want of anybody saying it.")
    ] = Field(default_factory=list)


class Figure(Record):
    """One measured accuracy, with what it takes to measure it again."""

    name: Annotated[str, Field(description="What was measured, e.g. 'clean' or 'PGD-20'.")]
    defence: Annotated[
        Defence | Literal["all"],
        Field(description="all: of a worst case, the images that hold behind every one of the defences."),
    ] = "none"
    attack: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    threat_model: ThreatModel | None = None
    adaptive: Annotated[bool, Field(description="Whether the attack saw all that the defence does.")] = True
    accuracy: Annotated[float, Field(ge=0, le=1)]
    interval: Annotated[tuple[float, float], Field(description="95 % Wilson interval of the accuracy.")]
    images: Annotated[int, Field(ge=1)]
    flags: list[str] = Field(default_factory=list)
    passes: Annotated[
        tuple[float, float] | None,
        Field(description="Forward and backward passes spent on an image, on average."),
    ] = None
    distance: Annotated[
        float | None,
        Field(ge=0, description="For an attack that minimises a norm: its mean over the images it fooled."),
    ] = None

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Left out of a manifest, and of its digest, where there is none: older bundles know nothing of it.
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if k not in ("passes", "distance") or v is not None}


class Evaluation(Record):
    """The figures of one ``holdfast evaluate``, and the command that made them."""

    command: str
    date: datetime
    dataset: str
    seed: int
    figures: list[Figure]
    unreliable: Annotated[str | None, Field(description="Why not to believe the robust figures, if so.")] = (
        None
    )


class Discriminator(Record):
    """How to build ATLD's discriminator again, by its name in ``training.models``, and what it judges."""

    architecture: str
    latent: Literal["features", "logits"]


class Manifold(Record):
    """The evidence that a model gives of whether an image is natural, and what to make of it.

    ATLD's discriminator gives P(adversarial), suspicious where it is high; a head of class centres the cosine
    between the features and the centre of the predicted class, suspicious where it is low.
    """

    evidence: Literal["discriminator", "centre"]
    discriminator: Discriminator | None = None
    uncertain: Annotated[float, Field(description="Scores beyond this are not taken for natural.")]
    suspect: Annotated[float, Field(description="Scores beyond this are taken for adversarial.")]
    false_positive_rates: Annotated[
        tuple[float, float],
        Field(description="The share of clean images that the two thresholds were chosen to be beyond."),
    ]
    images: Annotated[int, Field(ge=1, description="Clean held-out images that they were chosen on.")]

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Manifold:
        if self.sign * self.uncertain > self.sign * self.suspect:
            raise ValueError(
                "an image that is suspect is beyond natural too: the thresholds are out of order"
            )
        if (self.evidence == "discriminator") != (self.discriminator is not None):
            raise ValueError("evidence of a discriminator names one, and no other does")
        return self

    @property
    def sign(self) -> int:
        """1 where a high score is suspicious, −1 where a low one is."""
        return 1 if self.evidence == "discriminator" else -1

    def verdict(self, score: float) -> Verdict:
        """What a score says of its image."""
        if self.sign * score > self.sign * self.suspect:
            return "suspect"
        return "uncertain" if self.sign * score > self.sign * self.uncertain else "natural"


class TransformationParity(Record):
    """Logits behind the transformation, of the exported graphs and of torch.

    Where a gradient is 0 but for rounding, its sign is anybody's guess, and two right answers may move that
    value of an image in opposite directions. So most images agree to rounding, and a few do not.
    """

    images: Annotated[int, Field(ge=1)]
    median: Annotated[
        float, Field(ge=0, description="The largest difference of a logit, of the image in the middle.")
    ]
    largest: Annotated[float, Field(ge=0, description="Of the image with the largest.")]
    within: Annotated[float, Field(ge=0, le=1, description="Share of images that agree within 1e-4.")]


class Transformation(Record):
    """IMT: how far an image is moved towards the natural before it is classified (ATLD eq. 26, Sec. 5.1)."""

    epsilon: Annotated[float, Field(ge=0, description="The step, in image units.")]
    halved: Annotated[
        tuple[float, float], Field(description="IMT+ halves the step where P(adversarial) is within these.")
    ] = (0.3, 0.7)
    parity: Annotated[
        TransformationParity | None,
        Field(description="The graphs held against torch when they were exported."),
    ] = None


class Calibration(Record):
    """How logits become probabilities: divided by a temperature that was fitted on held-out images."""

    temperature: Annotated[float, Field(gt=0)]
    error_before: Annotated[float, Field(ge=0, le=1, description="Expected calibration error without it.")]
    error_after: Annotated[
        float, Field(ge=0, le=1, description="With it, on images that it was not fitted on.")
    ]
    images: Annotated[int, Field(ge=1, description="Held-out images that it was fitted on.")]
    test_images: Annotated[int, Field(ge=1, description="Further ones that the errors are of.")]


#: Came later than the first bundles: left out of a manifest, and of its digest, where there is none.
_LATER = ("manifold", "imt", "calibration", "precision", "imported", "training")


class Manifest(Record):
    """``bundle.json``.

    ``digest`` is the SHA-256 of the rest of the manifest, so that a damaged manifest is noticed as surely as
    a damaged graph. It guards against accidents; a signature would be needed against an adversary.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    created: datetime
    description: str = ""
    method: str
    recipe: dict[str, Any] = Field(default_factory=dict)
    imported: Imported | None = None
    dataset: Dataset
    classes: Annotated[list[str], Field(min_length=2)]
    input: InputSpec
    architecture: Architecture
    head: Head = "linear"
    defences: Annotated[list[Defence], Field(min_length=1)] = ["none"]  # noqa: RUF012 - pydantic copies it
    manifold: Manifold | None = None
    imt: Transformation | None = None
    calibration: Calibration | None = None
    precision: Precision | None = None
    threat_model: ThreatModel
    training: TrainingRun | None = None
    parity: Parity
    libraries: dict[str, str]
    evaluations: list[Evaluation] = Field(default_factory=list)
    files: dict[str, FileEntry]
    digest: str = ""

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) != len(classes):
            raise ValueError("class names must differ from one another")
        return classes

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not name or "/" in name or "\\" in name or name.startswith("."):
                raise ValueError(f"{name!r} is not a plain file name")
        return files

    @model_validator(mode="after")
    def _static_model_is_always_there(self) -> Manifest:
        if "none" not in self.defences:
            raise ValueError("defences must include 'none', the static model")
        return self

    @model_validator(mode="after")
    def _transformations_say_how_far(self) -> Manifest:
        if {"imt", "imt+"} & set(self.defences) and (self.imt is None or self.manifold is None):
            raise ValueError("the defences imt and imt+ need the sections imt and manifold")
        return self

    @model_validator(mode="after")
    def _somebody_trained_it(self) -> Manifest:
        if (self.training is None) != (self.imported is not None):
            raise ValueError("a bundle has the section training or the section imported")
        return self

    def compute_digest(self) -> str:
        """SHA-256 over the manifest's canonical JSON without ``digest`` itself."""
        content = self._content()
        del content["digest"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def sealed(self) -> Manifest:
        """This manifest with its digest filled in."""
        return self.model_copy(update={"digest": self.compute_digest()})

    def to_json(self) -> str:
        """The text of ``bundle.json``, sealed."""
        return json.dumps(self.sealed()._content(), indent=2, ensure_ascii=False) + "\n"

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.model_dump(mode="json")
        return {key: value for key, value in content.items() if key not in _LATER or value is not None}
