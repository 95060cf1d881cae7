"""What the monitor answers. It grows, and what is there keeps its name and its meaning."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Count = Annotated[int, Field(ge=0)]
_Milliseconds = Annotated[float, Field(ge=0)] | None


class RequestTotals(BaseModel):
    """Requests of all the time that is told of."""

    requests: Annotated[int, Field(ge=0, description="Requests that are over.")]
    succeeded: Annotated[int, Field(ge=0, description="Of those, the ones with a status below 400.")]
    client_errors: Annotated[int, Field(ge=0, description="With 4xx, but for 429 and 499.")]
    refused: Annotated[
        int, Field(ge=0, description="With 429 or 503: too many at once, or the server could not.")
    ]
    server_errors: Annotated[int, Field(ge=0, description="With 5xx, but for 503.")]
    gone: Annotated[int, Field(ge=0, description="Whose caller went away before the answer (499).")]
    p50_ms: Annotated[
        _Milliseconds,
        Field(description="What half of the requests did not exceed, to 5 %; null where there were none."),
    ]
    p95_ms: Annotated[_Milliseconds, Field(description="The same of 95 %.")]
    p99_ms: Annotated[_Milliseconds, Field(description="The same of 99 %.")]


class ClassificationTotals(RequestTotals):
    """Classifications of all the time that is told of."""

    images: Annotated[int, Field(ge=0, description="Images classified.")]
    natural: Annotated[int, Field(ge=0, description="Of those, judged natural by the manifold evidence.")]
    uncertain: Annotated[int, Field(ge=0, description="Judged neither natural nor suspect.")]
    suspect: Annotated[int, Field(ge=0, description="Judged suspect.")]
    unjudged: Annotated[int, Field(ge=0, description="Not judged: the model gives no evidence.")]
    batches: Annotated[
        int, Field(ge=0, description="Runs of the model, those for an attack's before and after included.")
    ]
    batch_images: Annotated[int, Field(ge=0, description="Images in those runs.")]
    largest_batch: Annotated[int, Field(ge=0, description="Most images in one run.")]


class RequestSeries(BaseModel):
    """The same figures of each step, oldest first; the last step is not over yet."""

    requests: list[_Count]
    succeeded: list[_Count]
    client_errors: list[_Count]
    refused: list[_Count]
    server_errors: list[_Count]
    gone: list[_Count]
    p50_ms: list[_Milliseconds]
    p95_ms: list[_Milliseconds]
    p99_ms: list[_Milliseconds]


class ClassificationSeries(RequestSeries):
    """The same figures of each step, oldest first; the last step is not over yet."""

    images: list[_Count]
    natural: list[_Count]
    uncertain: list[_Count]
    suspect: list[_Count]
    unjudged: list[_Count]
    batches: list[_Count]
    batch_images: list[_Count]
    largest_batch: list[_Count]


class MonitorRequests(BaseModel):
    """Requests of one kind."""

    total: RequestTotals
    series: RequestSeries


class MonitorClassifications(BaseModel):
    """Requests that classify."""

    total: ClassificationTotals
    series: ClassificationSeries


class MonitorModel(MonitorClassifications):
    """Classifications with one version of a model behind one defence."""

    model_config = ConfigDict(protected_namespaces=())

    model: str
    version: str
    defence: str


class MonitorAttack(BaseModel):
    """Images attacked on demand with one attack, on one version of a model behind one defence."""

    model_config = ConfigDict(protected_namespaces=())

    model: str
    version: str
    defence: str
    attack: str
    fooled: Annotated[int, Field(ge=0, description="Images on which the model was fooled.")]
    held: Annotated[int, Field(ge=0, description="Images on which it held.")]
    p50_ms: Annotated[_Milliseconds, Field(description="What half of the attacks did not exceed.")]
    p95_ms: Annotated[_Milliseconds, Field(description="The same of 95 %.")]


class MonitorServer(BaseModel):
    """The gateway itself."""

    state: Annotated[str, Field(description="starting, ready, draining, stopped or failed.")]
    ready: Annotated[bool, Field(description="Whether a classification can be expected to succeed.")]
    uptime_s: Annotated[float, Field(ge=0)]
    memory_bytes: Annotated[
        int | None, Field(description="Memory that the process holds; null where the system does not tell.")
    ]
    backend: Annotated[str, Field(description="What runs the models.")]
    versions: Annotated[dict[str, str], Field(description="Of Holdfast and of what it runs on.")]


class MonitorQueue(BaseModel):
    """Images that wait for a model; of a server elsewhere, requests that are under way."""

    waiting: Annotated[int, Field(ge=0)]
    running: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=0, description="How many may wait.")]


class MonitorAttacks(BaseModel):
    """Attacks on demand, at this moment."""

    waiting: Annotated[int, Field(ge=0)]
    running: Annotated[int, Field(ge=0)]


class MonitorJobs(BaseModel):
    """Jobs by their state, at this moment; those that are kept no longer are not counted."""

    queued: _Count = 0
    running: _Count = 0
    succeeded: _Count = 0
    failed: _Count = 0
    cancelled: _Count = 0


class MonitorReport(BaseModel):
    """A gateway's last minutes."""

    time: Annotated[datetime, Field(description="When this was so.")]
    begin: Annotated[datetime, Field(description="When the first step began.")]
    step_s: Annotated[int, Field(ge=1, description="Seconds of one step.")]
    steps: Annotated[int, Field(ge=1, description="How many there are: the length of every series.")]
    server: MonitorServer
    queue: Annotated[MonitorQueue | None, Field(description="null where the backend cannot tell.")]
    attacks: MonitorAttacks
    jobs: Annotated[MonitorJobs | None, Field(description="null where there were none yet, or none to ask.")]
    waiting: Annotated[
        list[_Count], Field(description="By step, the most images that a request found waiting.")
    ]
    in_flight: Annotated[
        list[_Count], Field(description="By step, the most requests that were being answered at once.")
    ]
    requests: Annotated[
        MonitorRequests,
        Field(description="All requests under /v1 and /v2 but those for this and for health."),
    ]
    attack_requests: Annotated[MonitorRequests, Field(description="Those for attacks on demand.")]
    classifications: Annotated[
        MonitorClassifications, Field(description="Those that classify, of all models together.")
    ]
    models: Annotated[
        list[MonitorModel], Field(description="The same by model, version and defence, those with any.")
    ]
    attacked: Annotated[list[MonitorAttack], Field(description="What came of attacks on demand.")]
