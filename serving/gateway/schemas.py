"""What the gateway answers, as pydantic models: the same models render the answer and document it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast.manifest import (
    Architecture,
    Calibration,
    Dataset,
    Defence,
    Evaluation,
    Head,
    Imported,
    InputSpec,
    Manifold,
    Parity,
    ThreatModel,
    TrainingRun,
    Transformation,
    Verdict,
)
from holdfast.precision import Precision
from holdfast.routing import Weights
from serving.gateway.examples import CLASSIFICATION, MODEL, PROBLEM


class ClassifyQuery(BaseModel):
    """What can be chosen in the address of a classification."""

    model_config = ConfigDict(extra="forbid")

    top_k: Annotated[
        int,
        Field(
            ge=1,
            description="How many of the most probable classes to list; all, if it is more than there are.",
        ),
    ] = 5
    defence: Annotated[
        str,
        Field(
            description="A defence at inference that the model offers; `GET /v1/models/{model}` lists them, "
            "the one that is meant by `default` first.",
            examples=["default", "none"],
        ),
    ] = "default"


class ClassProbability(BaseModel):
    """One class and how probable it is."""

    label: Annotated[str, Field(description="The class's name.")]
    class_index: Annotated[int, Field(ge=0, description="The class's number, from 0, in the model's order.")]
    probability: Annotated[float, Field(ge=0, le=1)]


class ManifoldEvidence(BaseModel):
    """How natural the model found the image as it came, before a defence moved it."""

    score: Annotated[
        float,
        Field(
            description="Of a discriminator, the probability that the image is adversarial; of centres, the "
            "cosine between the image's features and its class's centre, high where it is natural."
        ),
    ]
    evidence: Literal["discriminator", "centre"]
    verdict: Annotated[
        Verdict, Field(description="By the model's own thresholds; `GET /v1/models/{model}` says which.")
    ]
    moved: Annotated[
        float | None,
        Field(description="How far the defence moved each value of the image before it was classified."),
    ] = None


class ImagePrediction(ClassProbability):
    """The answer for one image: its most probable class, and all others."""

    top_k: Annotated[list[ClassProbability], Field(description="The most probable classes, best first.")]
    probabilities: Annotated[
        dict[str, float],
        Field(description="The probability of every class, in the model's order, rounded to six decimals."),
    ]
    manifold: Annotated[
        ManifoldEvidence | None,
        Field(description="The model's manifold evidence; only models that give it have this member."),
    ] = None


class RequestTimings(BaseModel):
    """Where the time went, in milliseconds on the server."""

    decode_ms: Annotated[float, Field(ge=0, description="Decoding and resizing the images.")]
    queue_ms: Annotated[float, Field(ge=0, description="Waiting for the model.")]
    inference_ms: Annotated[
        float, Field(ge=0, description="The model, for the whole batch that these images ran in.")
    ]
    total_ms: Annotated[float, Field(ge=0, description="From the request's headers to this answer.")]


class Classification(BaseModel):
    """The answer to a classification: one prediction for each image, in the order of the request."""

    model_config = ConfigDict(json_schema_extra={"examples": [CLASSIFICATION]}, protected_namespaces=())

    model: str
    version: str
    defence: Defence
    predictions: list[ImagePrediction]
    timings: RequestTimings
    request_id: Annotated[str, Field(description="The id in X-Request-Id and in the server's log.")]


class ModelSummary(BaseModel):
    """A model in the list of models."""

    name: str
    description: str
    versions: Annotated[list[str], Field(description="Oldest first.")]
    latest: Annotated[str, Field(description="The newest version.")]
    default: Annotated[
        str, Field(description="The version that answers most of the requests that name none.")
    ]
    shares: Annotated[
        dict[str, float],
        Field(
            description="By version, its share of the requests that name none; the others get none of them."
        ),
    ]
    dataset: str
    classes: Annotated[int, Field(description="How many classes it tells apart.")]
    defences: list[Defence]


class ModelList(BaseModel):
    """The models that are served."""

    default: Annotated[
        str,
        Field(description="The one to ask, for whoever does not know: the most robust one, or as set."),
    ]
    models: list[ModelSummary]


class RoutingBody(BaseModel):
    """How a model's requests are to be shared out."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"weights": {"1": 95, "2": 5}}]}
    )

    weights: Annotated[
        Weights,
        Field(min_length=1, max_length=100, description="By version; each gets its share of the sum."),
    ]


class RoutingState(BaseModel):
    """How a model's requests that name no version are shared out."""

    model: str
    default: Annotated[str, Field(description="The version that answers most of them.")]
    shares: Annotated[dict[str, float], Field(description="By version, of the versions that get any.")]


class RefusedBundle(BaseModel):
    """A bundle of the store that is not served as it is now."""

    model: str
    version: str
    reason: str


class ReloadReport(BaseModel):
    """What a look at the store brought."""

    opened: Annotated[list[str], Field(description="MODEL/VERSION that is new, or not the same as before.")]
    kept: Annotated[list[str], Field(description="Served on as it was.")]
    withdrawn: Annotated[list[str], Field(description="No longer in the store, and no longer served.")]
    refused: Annotated[
        list[RefusedBundle],
        Field(description="Cannot be opened; what was served in its place before still is."),
    ]


class ModelDetail(BaseModel):
    """One version of a model: what it takes, what it answers, and what was measured on it."""

    model_config = ConfigDict(json_schema_extra={"examples": [MODEL]})

    name: str
    version: str
    versions: Annotated[list[str], Field(description="All versions of the model, oldest first.")]
    description: str
    created: datetime
    method: Annotated[str, Field(description="The training method.")]
    dataset: Dataset
    classes: Annotated[list[str], Field(description="The classes' names, in the model's order.")]
    input: Annotated[
        InputSpec,
        Field(
            description="What the model takes. An image of another size is scaled, with antialiasing and its "
            "aspect kept, until it covers this size, and what stands out is cut off evenly."
        ),
    ]
    head: Head
    defences: Annotated[list[Defence], Field(description="What `defence` may be in a classification.")]
    manifold: Annotated[
        Manifold | None, Field(description="How it tells natural images from adversarial ones, if it does.")
    ] = None
    imt: Annotated[
        Transformation | None, Field(description="How far its defences imt and imt+ move an image.")
    ] = None
    calibration: Annotated[Calibration | None, Field(description="How its logits become probabilities.")] = (
        None
    )
    precision: Annotated[
        Precision | None,
        Field(description="How its weights are stored, if not as they were trained."),
    ] = None
    threat_model: Annotated[ThreatModel, Field(description="What it was trained to withstand.")]
    architecture: Architecture
    training: Annotated[TrainingRun | None, Field(description="How it was trained, if by Holdfast.")] = None
    imported: Annotated[
        Imported | None,
        Field(description="Where it comes from, if Holdfast did not train it, and what nobody said of it."),
    ] = None
    parity: Parity
    evaluations: Annotated[list[Evaluation], Field(description="What was measured, and how.")]
    digest: Annotated[str, Field(description="SHA-256 of the bundle's manifest, which lists every file's.")]
    card: Annotated[str, Field(description="The model card, in Markdown.")]


class Health(BaseModel):
    """Whether the server lives, or is ready."""

    status: Annotated[str, Field(examples=["ready"])]


class BadImage(BaseModel):
    """One image of several that cannot be used."""

    index: Annotated[int, Field(ge=0, description="Its place in the request, from 0.")]
    type: str
    title: str
    detail: str


class SchemaError(BaseModel):
    """One value that does not follow the schema."""

    where: Annotated[str, Field(examples=["query top_k"])]
    message: str


class ProblemDocument(BaseModel):
    """What went wrong, by RFC 9457 (`application/problem+json`)."""

    model_config = ConfigDict(json_schema_extra={"examples": [PROBLEM]})

    type: Annotated[str, Field(description="The kind of problem; a person can read about it there.")]
    title: Annotated[str, Field(description="The kind of problem, in words.")]
    status: Annotated[int, Field(ge=400, le=599, description="The HTTP status.")]
    detail: Annotated[str, Field(description="What was wrong with this request, and what to do about it.")]
    instance: Annotated[str, Field(description="The path that was asked for.")]
    request_id: Annotated[str, Field(description="The id in X-Request-Id and in the server's log.")]
    limit: Annotated[int | float | None, Field(description="What was exceeded, where it is one number.")] = (
        None
    )
    cost: Annotated[
        dict[str, float] | None, Field(description="What an attack would cost, where that is too much.")
    ] = None
    offered: Annotated[list[str] | None, Field(description="What is offered in place of what was asked.")] = (
        None
    )
    images: Annotated[
        list[BadImage] | None, Field(description="Of several images, every one that cannot be used.")
    ] = None
    errors: Annotated[
        list[SchemaError] | None, Field(description="Every value that does not follow the schema.")
    ] = None
