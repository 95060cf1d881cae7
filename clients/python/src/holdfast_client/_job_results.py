"""Jobs: campaigns of attacks, how far they are, and what they came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from holdfast_client._attack_results import Access, Budget, Flag, Norms, Outcome
from holdfast_client._pictures import decoded
from holdfast_client._reading import named

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

#: The states that a job does not leave any more.
FINISHED: tuple[State, ...] = ("succeeded", "failed", "cancelled")

#: Whose word counts for what an image is of.
LabelsFrom = Literal["model", "folder", "file", "array", "list"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is, counted in images times runs; ``share`` is from 0 to 1."""

    done: int
    total: int
    share: float
    eta_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """One attack on one model behind one defence, as far as it is."""

    model: str
    version: str
    defence: str
    attack: str
    images_done: int
    images: int
    fooled: int
    wrong_before: int
    robust_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """A job in the list of jobs.

    Attributes:
        id: Its id.
        name: A note of whoever began it.
        state: ``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``.
        created, started, finished, expires: When it was begun, taken up, over, and will be deleted.
        images: How many it attacks.
        progress: How far it is.
        error: Of a job that failed: what went wrong.
    """

    id: str
    name: str
    state: State
    created: datetime
    images: int
    progress: Progress
    started: datetime | None = None
    finished: datetime | None = None
    expires: datetime | None = None
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it succeeded, failed or was cancelled."""
        return self.state in FINISHED

    def __repr__(self) -> str:
        """Its id, its state, and how far it is."""
        named = f" '{self.name}'" if self.name else ""
        return f"<{type(self).__name__} {self.id}{named}: {self.state}, {self.progress.share:.0%}>"


@dataclass(frozen=True, kw_only=True, repr=False)
class Job(JobSummary):
    """One job.

    Attributes:
        labels: Whose word counts for what an image is of.
        runs: Every attack on every model behind every defence.
        note: Why nothing happens at the moment, if that is so.
    """

    labels: LabelsFrom
    runs: list[RunProgress]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Jobs, newest first; ``older`` is what to pass as ``before`` for the next page, if there is one."""

    jobs: list[JobSummary]
    next: str | None = field(default=None, repr=False)

    @property
    def older(self) -> str | None:
        """The last job's id, where there are older ones."""
        return self.jobs[-1].id if self.next and self.jobs else None

    def __iter__(self) -> Iterator[JobSummary]:
        """One by one."""
        return iter(self.jobs)

    def __len__(self) -> int:
        """How many are on this page."""
        return len(self.jobs)


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        number: Its place, from 1; pass it as ``after`` to go on behind it.
        kind: ``queued``, ``running``, ``progress``, ``succeeded``, ``failed`` or ``cancelled``.
        data: What there is to say: ``state``; of progress also ``share`` and ``run``.
    """

    number: int
    kind: str
    data: Mapping[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.kind in FINISHED

    @property
    def share(self) -> float | None:
        """How far the job is, from 0 to 1, where the event says so."""
        return self.data.get("share")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of the images, with its 95 % Wilson interval."""

    value: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        """In per cent: ``40.0 % [27.6 %, 53.8 %]``."""
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f} %, {100 * high:.1f} %]"


@dataclass(frozen=True, kw_only=True)
class ImageAnswer:
    """What the model said of an image."""

    label: str
    class_index: int
    probability: float
    probability_of_label: float


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One attack on one image of a job; its parts mean what those of an ``AttackResult`` mean."""

    image: str
    label: str
    class_index: int
    outcome: Outcome
    success: bool
    survives_rounding: bool
    before: ImageAnswer
    after: ImageAnswer
    reached: Norms
    reached_in_8_bits: Norms
    queries: int
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class Totals:
    """One attack over all images; medians are of the fooled, ``success_rate`` is fooled / (fooled + held)."""

    images: int
    wrong_before: int
    fooled: int
    held: int
    success_rate: float | None
    lost_by_rounding: int
    forwards: int
    backwards: int
    seconds: float
    robust_accuracy: float | None = None
    median_linf: float | None = None
    median_l2: float | None = None
    median_queries: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttackRecord:
    """One attack on all images; ``results`` is empty where they were left out."""

    attack: str
    access: Access
    minimises: bool
    parameters: Mapping[str, Any]
    totals: Totals
    flags: list[Flag]
    budget: Budget | None = None
    eot: int = 1
    results: list[ImageResult] = field(default_factory=list, repr=False)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one attack on one model behind one defence came to."""

    model: str
    version: str
    digest: str = field(repr=False)
    defence: str
    attack: str
    images_done: int
    record: AttackRecord = field(repr=False)
    clean_accuracy: Share | None = None
    robust_accuracy: Share | None = None


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """Attacks of one budget and one aim together: an image counts as fooled if any of them fooled it."""

    model: str
    version: str
    defence: str
    attacks: list[str]
    budget: Budget
    images: int
    wrong_before: int
    fooled: int
    held: int
    success_rate: float | None = None
    robust_accuracy: Share | None = None
    held_images: list[str] = field(default_factory=list, repr=False)


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job came to.

    >>> for run in client.jobs.result(job.id).runs:
    ...     print(run.model, run.attack, run.robust_accuracy)

    In a notebook it shows a table of the runs.

    Attributes:
        job: Its id.
        complete: Whether all images went through all runs.
        holdfast: The server's version that put this together.
        runs: Every attack on every model behind every defence.
        worst_cases: Attacks of one budget together.
        flags: What only shows between several attacks.
    """

    schema_version: int
    job: str
    name: str
    state: State
    complete: bool
    created: datetime
    finished: datetime | None
    holdfast: str
    labels: LabelsFrom
    images: int
    runs: list[RunResult]
    worst_cases: list[WorstCase]
    flags: list[Flag]

    def __repr__(self) -> str:
        """Whose result it is, and of how many."""
        part = "" if self.complete else ", not complete"
        return f"<JobResult of {self.job}: {len(self.runs)} runs on {self.images} images{part}>"

    def _repr_html_(self) -> str:
        from holdfast_client._html import job_html

        return job_html(self)


@dataclass(frozen=True, kw_only=True)
class JobImage:
    """One image of a job, before and after an attack.

    Attributes:
        index: Its place among the images of the job, from 0.
        image: Its name.
        label: The class that was to be left.
        outcome: ``fooled``, ``held``, or ``wrong before``.
        survives_rounding: The model does what the attacker wants of the PNG, too.
        before: What the model said of the image.
        after: What it said of the exact result.
        linf: How far the exact result is from the image, in image units.
        l2: The same in L2.
        target: The class that was to be reached, if one was.
        original_base64: The image as the model was shown it; none where the server cannot tell any more.
        adversarial_base64: The result in 8 bits; none where the model was wrong before.
    """

    index: int
    image: str
    label: str
    outcome: Outcome
    survives_rounding: bool
    before: ImageAnswer
    after: ImageAnswer
    linf: float
    l2: float
    target: str | None = None
    original_base64: str | None = field(default=None, repr=False, metadata=named("original"))
    adversarial_base64: str | None = field(default=None, repr=False, metadata=named("adversarial"))

    @property
    def original(self) -> bytes | None:
        """The image as the model was shown it, a PNG file."""
        return None if self.original_base64 is None else decoded(self.original_base64)

    @property
    def adversarial(self) -> bytes | None:
        """What the attack made of it, a PNG file."""
        return None if self.adversarial_base64 is None else decoded(self.adversarial_base64)

    def __repr__(self) -> str:
        """The outcome, and from what to what."""
        return (
            f"<JobImage {self.index} {self.image}, {self.outcome}: {self.before.label} "
            f"{self.before.probability:.1%} -> {self.after.label} {self.after.probability:.1%}>"
        )


@dataclass(frozen=True, kw_only=True)
class JobImagePage:
    """A page of a job's images, as the server answers it."""

    total: int
    images: list[JobImage]
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What became of a job that was not wanted any more."""

    id: str
    outcome: Literal["cancelled", "deleted"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set of the server, which a job may name."""

    name: str
    images: int
    bytes: int
    labels: Literal["array", "folder"] | None = None
    channels: int | None = None
    height: int | None = None
    width: int | None = None


#: In a class with a method ``list``, the type has to have another name.
Datasets = list[Dataset]


@dataclass(frozen=True, kw_only=True)
class DatasetList:
    """The data sets, as the server lists them."""

    datasets: Datasets
