"""The record of ``holdfast attack``: what ``attack.json`` says and ``--json`` prints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast.attacks.definition import Access
from holdfast.manifest import Defence, ThreatModel

#: Where a label came from: the model's own prediction, the option, the name of the folder or of the file.
LabelSource = Literal["model", "option", "folder", "file"]

Outcome = Literal["fooled", "held", "wrong before"]


class Part(BaseModel):
    """A part of the record: immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelRecord(Part):
    """Which bundle it was."""

    name: str
    version: str
    digest: Annotated[str, Field(description="SHA-256 of the manifest, which lists every file's.")]
    defence: Annotated[Defence, Field(description="At inference, and attacked through.")]


class Answer(Part):
    """What the model said of an image."""

    label: Annotated[str, Field(description="The most probable class.")]
    class_index: int
    probability: float
    probability_of_label: Annotated[float, Field(description="Of the class that the image is of.")]


class Norms(Part):
    """How far an adversarial image is from the original, in image units."""

    linf: float
    l2: float


class FilesRecord(Part):
    """What was written for an image, relative to the record."""

    adversarial: str
    perturbation: str
    perturbation_scale: Annotated[float, Field(description="How many times larger than life it is shown.")]
    float_image: Annotated[str | None, Field(description="float32 (1, channels, height, width), .npy.")] = (
        None
    )


class ImageResult(Part):
    """One attack on one image."""

    image: Annotated[str, Field(description="The file, as it was named.")]
    label: Annotated[str, Field(description="The class to leave.")]
    class_index: int
    target: Annotated[str | None, Field(description="The class to reach, in a targeted attack.")]
    outcome: Annotated[
        Outcome,
        Field(description="'wrong before': the model did what the attacker wants of the image as it was."),
    ]
    success: Annotated[bool, Field(description="The model does what the attacker wants of the result.")]
    survives_rounding: Annotated[bool, Field(description="It does so of the result in 8 bits, the PNG, too.")]
    before: Answer
    after: Annotated[Answer, Field(description="Of the exact result, before rounding to 8 bits.")]
    reached: Annotated[Norms, Field(description="By the exact result.")]
    reached_in_8_bits: Annotated[Norms, Field(description="By the PNG.")]
    queries: Annotated[int, Field(description="Images that the model was shown on behalf of this one.")]
    files: FilesRecord | None = None


class FlagRecord(Part):
    """A reason for doubt."""

    name: str
    meaning: str


class Totals(Part):
    """One attack over all images that it finished."""

    images: int
    wrong_before: int
    fooled: int
    held: int
    success_rate: Annotated[float | None, Field(description="fooled / (fooled + held)")]
    robust_accuracy: Annotated[
        float | None,
        Field(
            description="The share that is right under attack; none for targeted attacks, for those without "
            "a budget, and where the labels are the model's own."
        ),
    ]
    lost_by_rounding: Annotated[int, Field(description="Successes that are gone in 8 bits.")]
    median_linf: Annotated[float | None, Field(description="Of the fooled.")]
    median_l2: Annotated[float | None, Field(description="Of the fooled.")]
    median_queries: float | None
    forwards: Annotated[
        int,
        Field(
            description="Forward passes, those before a backward pass included: for all queries, and for "
            "each of a batch's first eight images, which are asked about twice. A query is one pass of a "
            "plain model, and two of one behind IMT."
        ),
    ]
    backwards: Annotated[
        int, Field(description="Backward passes, those that the model itself takes at inference included.")
    ]
    seconds: float


class AttackRecord(Part):
    """One attack on all images."""

    attack: str
    access: Access
    minimises: bool
    parameters: dict[str, Any]
    budget: Annotated[ThreatModel | None, Field(description="None: it minimises the norm freely.")]
    eot: Annotated[
        int,
        Field(description="It was crafted on means of so many answers of the model, judged on single ones."),
    ] = 1
    totals: Totals
    flags: Annotated[list[FlagRecord], Field(description="Why not to believe the outcome.")]
    results: list[ImageResult]


class ImageFailure(Part):
    """An image that could not be used."""

    image: str
    error: str


class Record(Part):
    """A whole run of ``holdfast attack``."""

    schema_version: Literal[1] = 1
    date: datetime
    holdfast: str
    libraries: dict[str, str]
    model: ModelRecord
    source: Annotated[ModelRecord | None, Field(description="What the images were crafted on, if another.")]
    labels: Annotated[LabelSource, Field(description="Where the labels came from.")]
    images: Annotated[int, Field(description="Images that were asked for.")]
    complete: Annotated[bool, Field(description="Whether it was not interrupted.")]
    seconds: Annotated[float, Field(description="Wall time, with reading and writing.")]
    attacks: list[AttackRecord]
    flags: Annotated[list[FlagRecord], Field(description="What only shows between several attacks.")]
    failures: list[ImageFailure]
