"""What is answered about jobs, as pydantic models: the same models render the answer and document it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from holdfast.attacking.record import Answer, AttackRecord, FlagRecord, Outcome
from holdfast.manifest import ThreatModel
from serving.jobs.examples import IMAGES, JOB
from serving.jobs.plan import LabelsFrom

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class _View(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Dataset(_View):
    """A data set of the server."""

    name: str
    images: int
    labels: Annotated[
        Literal["array", "folder"] | None,
        Field(description="Where its labels are: beside the array, or in the names of folders."),
    ] = None
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    bytes: int


class DatasetList(_View):
    """The data sets that a job may name."""

    datasets: list[Dataset]


class Progress(_View):
    """How far a job is, counted in images times runs."""

    done: int
    total: int
    share: Annotated[float, Field(ge=0, le=1)]
    eta_seconds: Annotated[
        float | None, Field(description="What is left, at the pace so far; none before there is one.")
    ] = None


class RunProgress(_View):
    """One run, as far as it is."""

    model: str
    version: str
    defence: str
    attack: Annotated[str, Field(description="What the request called it.")]
    images_done: int
    images: int
    fooled: int
    wrong_before: int
    robust_accuracy: Annotated[
        float | None,
        Field(description="Of the images done; none for targeted attacks, unbounded ones, and model labels."),
    ] = None


class Links(_View):
    """Where to go from here."""

    self: str
    events: str
    result: str
    images: str


class JobSummary(_View):
    """A job in the list of jobs."""

    id: str
    name: str
    state: State
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    expires: Annotated[
        datetime | None, Field(description="When it is deleted, with its result and its Idempotency-Key.")
    ] = None
    images: int
    progress: Progress
    error: Annotated[str, Field(description="Of a job that failed: what went wrong.")] = ""
    links: Links


class Job(JobSummary):
    """One job."""

    model_config = ConfigDict(json_schema_extra={"examples": [JOB]}, protected_namespaces=())

    labels: LabelsFrom
    note: Annotated[
        str, Field(description="Why nothing happens at the moment, if that is so; else empty.")
    ] = ""
    runs: list[RunProgress]


class JobList(_View):
    """Jobs, newest first."""

    jobs: list[JobSummary]
    next: Annotated[str | None, Field(description="Where the older ones are, if there are any.")] = None


class Share(_View):
    """A share of the images, with its 95 % Wilson interval."""

    value: float
    interval: tuple[float, float]


class RunResult(_View):
    """What one run came to."""

    model: str
    version: str
    digest: Annotated[str, Field(description="SHA-256 of the bundle's manifest.")]
    defence: str
    attack: Annotated[str, Field(description="What the request called it.")]
    images_done: int
    clean_accuracy: Annotated[Share | None, Field(description="None where the labels are the model's own.")]
    robust_accuracy: Share | None
    record: AttackRecord


class WorstCase(_View):
    """Attacks of one budget and one aim together: an image counts as fooled if any of them fooled it."""

    model: str
    version: str
    defence: str
    attacks: list[str]
    budget: ThreatModel
    images: int
    wrong_before: int
    fooled: int
    held: int
    success_rate: float | None
    robust_accuracy: Share | None
    held_images: Annotated[list[str], Field(description="The images that withstood all of them.")]


class JobResult(_View):
    """What a job came to."""

    schema_version: Literal[1] = 1
    job: str
    name: str
    state: State
    complete: Annotated[bool, Field(description="Whether all images went through all runs.")]
    created: datetime
    finished: datetime | None
    holdfast: Annotated[str, Field(description="The version that put this together.")]
    labels: LabelsFrom
    images: int
    runs: list[RunResult]
    worst_cases: list[WorstCase]
    flags: Annotated[list[FlagRecord], Field(description="What only shows between several attacks.")]


class JobImage(_View):
    """One image of a job, before and after an attack."""

    index: Annotated[int, Field(description="Its place among the images of the job, from 0.")]
    image: Annotated[str, Field(description="Its name.")]
    label: Annotated[str, Field(description="The class to leave.")]
    target: Annotated[str | None, Field(description="The class to reach, in a targeted attack.")]
    outcome: Annotated[
        Outcome,
        Field(description="'wrong before': the model did what the attacker wants of the image as it was."),
    ]
    survives_rounding: Annotated[
        bool, Field(description="The model does what the attacker wants of the PNG, too.")
    ]
    before: Annotated[Answer, Field(description="What the model said of the image.")]
    after: Annotated[Answer, Field(description="Of the exact result.")]
    linf: Annotated[float, Field(description="How far the exact result is from the image.")]
    l2: float
    original: Annotated[
        str | None,
        Field(
            description="The image as the model was shown it, in 8 bits: a PNG in base64. Null where nothing "
            "says any more what size that was: the model is not served, and no attack on it changed an image."
        ),
    ]
    adversarial: Annotated[
        str | None,
        Field(description="The result in 8 bits: a PNG in base64. Null where the model was wrong before."),
    ]


class JobImages(_View):
    """A page of the images of one run."""

    model_config = ConfigDict(json_schema_extra={"examples": [IMAGES]}, protected_namespaces=())

    total: Annotated[int, Field(description="How many images match; of a job that runs, so far.")]
    next: Annotated[str | None, Field(description="Where the next page is, if there is one.")]
    images: Annotated[list[JobImage], Field(description="In the order of the job.")]


class Removal(_View):
    """What became of a job that was not wanted any more."""

    id: str
    outcome: Literal["cancelled", "deleted"]


class Event(_View):
    """Something that happened to a job, as server-sent events tell it."""

    number: int
    kind: str
    data: dict[str, Any]


class Happened(NamedTuple):
    """What happened to a job after some event.

    Attributes:
        events: In order; of many, the first ones.
        more: Whether more has happened already.
        over: Whether these are the last that there will ever be.
    """

    events: Sequence[Event]
    more: bool
    over: bool
