"""What an attack is answered with, and what the catalogue says, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast.attacking.record import FlagRecord, Norms, Outcome
from holdfast.attacks.definition import Access
from holdfast.attacks.description import AttackDescription
from holdfast.manifest import Defence, ThreatModel
from serving.gateway.attack.example import ANSWER
from serving.gateway.schemas import ImagePrediction

Milliseconds = Annotated[float, Field(ge=0)]


class AttackPasses(BaseModel):
    """Passes through the model for one image, at most."""

    forwards: Annotated[int, Field(ge=0, description="Those before a backward pass included.")]
    backwards: Annotated[int, Field(ge=0)]
    classes: Annotated[int, Field(description="Of a model with so many classes.")]


class AttackEntry(AttackDescription):
    """One attack of the catalogue, and what it costs."""

    passes: Annotated[AttackPasses, Field(description="With the parameters' defaults.")]


class AttackCatalogue(BaseModel):
    """The attacks, from the plainest to the strongest."""

    attacks: list[AttackEntry]


class AppliedAttack(BaseModel):
    """Which attack it was."""

    name: str
    access: Access
    minimises: Annotated[bool, Field(description="Whether it looked for the smallest perturbation.")]
    parameters: Annotated[dict[str, Any], Field(description="All of them, those that were not given too.")]
    budget: Annotated[
        ThreatModel | None, Field(description="The norm asked for; none where it minimised one freely.")
    ] = None


class DefencePredictions(BaseModel):
    """What the model says behind one of its defences."""

    before: Annotated[ImagePrediction, Field(description="Of the image as it came.")]
    after: Annotated[ImagePrediction, Field(description="Of the exact result.")]
    after_in_8_bits: Annotated[ImagePrediction, Field(description="Of the PNG.")]
    fooled: Annotated[
        bool,
        Field(
            description="Whether the PNG does to this defence what the attack was to do to the one that it "
            "was crafted against: leave the label, or reach the target."
        ),
    ]


class AttackCounts(BaseModel):
    """What the attack spent."""

    forwards: Annotated[int, Field(description="Forward passes, those before a backward pass included.")]
    backwards: int
    queries: Annotated[int, Field(description="Images that the model was shown.")]


class AttackCost(BaseModel):
    """What an attack was reckoned to cost at most, before it began."""

    gradients: Annotated[int, Field(description="Gradient evaluations, for all images.")]
    forwards: Annotated[int, Field(description="Forward passes, those of the gradients included.")]
    images: int
    seconds: Annotated[float, Field(description="By the speed below.")]
    seconds_per_forward: Annotated[float, Field(description="Of one image; measured on this server.")]
    seconds_per_gradient: Annotated[float, Field(description="Of one image; measured on this server.")]


class Picture(BaseModel):
    """An image, lossless."""

    media_type: Literal["image/png"] = "image/png"
    width: int
    height: int
    base64: Annotated[str, Field(description="The file.")]


class PerturbationImage(Picture):
    """What was changed, around mid-grey."""

    scale: Annotated[float, Field(description="How many times larger than life it is shown.")]


class ExactImage(BaseModel):
    """The exact result, before rounding to 8 bits."""

    media_type: Literal["application/x-npy"] = "application/x-npy"
    dtype: Literal["float32"] = "float32"
    shape: Annotated[list[int], Field(description="(1, channels, height, width); values in [0, 1].")]
    base64: Annotated[str, Field(description="The `.npy` file, for `numpy.load`.")]


class TraceStep(BaseModel):
    """One image that the attack tried on its way."""

    query: Annotated[int, Field(ge=0, description="Which one it was, from 0.")]
    label: Annotated[str, Field(description="What the model said of it, behind the defence under attack.")]
    class_index: int
    probability: float
    probability_of_label: Annotated[float, Field(description="Of the class that was to be left.")]
    probabilities: Annotated[list[float], Field(description="Of every class, in the model's order.")]
    loss: Annotated[float | None, Field(description="What the attack ascends, if it follows gradients.")] = (
        None
    )
    linf: float
    l2: float
    png: Annotated[str, Field(description="Base64.")]


class AttackTrace(BaseModel):
    """The attack's way, evenly thinned out."""

    queries: Annotated[int, Field(description="Images that it tried, by gradient or else by scores.")]
    every: Annotated[int, Field(description="Each how many-th of them is shown.")]
    steps: list[TraceStep]


class AttackTimings(BaseModel):
    """Where the time went, in milliseconds on the server."""

    decode_ms: Annotated[Milliseconds, Field(description="Decoding and resizing the image.")]
    queue_ms: Annotated[Milliseconds, Field(description="Waiting for its turn.")]
    attack_ms: Annotated[Milliseconds, Field(description="The attack.")]
    predict_ms: Annotated[Milliseconds, Field(description="Classifying before and after, by every defence.")]
    total_ms: Annotated[Milliseconds, Field(description="From the request's headers to this answer.")]


class AttackWaiting(BaseModel):
    """The data of the event `waiting`."""

    waiting: Annotated[
        int, Field(ge=0, description="Attacks that have to end before this one begins; 0 when it begins.")
    ]


class AttackProgress(BaseModel):
    """The data of the event `progress`."""

    done: Annotated[int, Field(ge=0, description="Steps that are done.")]
    total: Annotated[int, Field(ge=0, description="Steps at most: it may need fewer.")]
    seconds: Annotated[float, Field(ge=0, description="Since it began.")]


class AttackAnswer(BaseModel):
    """What came of an attack on one image."""

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWER]}, protected_namespaces=())

    model: str
    version: str
    defence: Annotated[Defence, Field(description="The one that was attacked, and attacked through.")]
    attack: AppliedAttack
    label: Annotated[str, Field(description="The class that was to be left.")]
    class_index: int
    label_from: Annotated[
        Literal["request", "model"], Field(description="Who says so: the caller, or the model itself.")
    ]
    target: Annotated[str | None, Field(description="The class that was to be reached, if one was.")] = None
    outcome: Annotated[
        Outcome,
        Field(description="'wrong before': the model did what the attacker wants of the image as it was."),
    ]
    success: Annotated[bool, Field(description="The model does what the attacker wants of the result.")]
    survives_rounding: Annotated[
        bool, Field(description="It does so of the result in 8 bits too, which is the PNG.")
    ]
    reached: Annotated[Norms, Field(description="How far the exact result is from the image.")]
    reached_in_8_bits: Annotated[Norms, Field(description="How far the PNG is.")]
    predictions: Annotated[
        dict[Defence, DefencePredictions], Field(description="By every defence that the model offers.")
    ]
    counts: AttackCounts
    cost: AttackCost
    flags: Annotated[list[FlagRecord], Field(description="Why not to believe the outcome, in words.")]
    original: Annotated[
        Picture,
        Field(
            description="The image as the model was shown it, in 8 bits. It is not exactly what came where "
            "that was of another size, had more than 8 bits, was transparent, turned by EXIF, or of colours "
            "for a model of grey ones, or the reverse."
        ),
    ]
    adversarial: Annotated[Picture, Field(description="The result, of the model's input size.")]
    perturbation: PerturbationImage
    exact: Annotated[ExactImage | None, Field(alias="float", description="Only where it was asked for.")] = (
        None
    )
    trace: Annotated[AttackTrace | None, Field(description="Only where it was asked for.")] = None
    timings: AttackTimings
    request_id: Annotated[str, Field(description="The id in X-Request-Id and in the server's log.")]
