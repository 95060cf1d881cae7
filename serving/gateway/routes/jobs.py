"""``/v1/jobs``: campaigns of attacks, and ``GET /v1/datasets``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse
from starlette.responses import StreamingResponse

from holdfast.attacking.record import Outcome
from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.attack.negotiation import choose_media_type
from serving.gateway.body import Body
from serving.gateway.disconnect import CancelOnDisconnect
from serving.gateway.jobs.description import EVENTS, IDEMPOTENCY_KEY, JOB_BODY, RESULT, TAKEN_ON
from serving.gateway.jobs.events import follow, last_event_id
from serving.gateway.jobs.upload import idempotency_key, most_bytes, reading
from serving.gateway.openapi import problem_responses
from serving.gateway.request_id import request_id_of
from serving.gateway.services import services_of
from serving.jobs.views import DatasetList, Job, JobImages, JobList, JobResult, Removal, State

router = APIRouter(tags=["jobs"], route_class=GatewayRoute)

_JSON, _ZIP = "application/json", "application/zip"

#: Images of a page, and the largest number that either database knows.
_MOST_IMAGES, _LARGEST = 200, 2**31 - 1

_STORAGE = (problem_kinds.INTERNAL_ERROR, problem_kinds.STORAGE_UNAVAILABLE, problem_kinds.NOT_READY)
_OF_ONE = (problem_kinds.UNKNOWN_JOB, *_STORAGE, problem_kinds.STORAGE_FULL)

JobId = Annotated[str, Path(description="The job's id.")]


def _owner(request: Request) -> str:
    """Whose the jobs of this caller are; empty where nobody is asked for a key."""
    key: str = request.scope["state"].get("key_id", "")
    return key


def _visible(request: Request) -> str | None:
    """Whose jobs this caller may see: its key's, or everybody's where nobody is asked for a key."""
    services = services_of(request)
    return None if services.gate.keyring is None else _owner(request)


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Begin a campaign of attacks on many images",
    response_model=Job,
    responses={**TAKEN_ON, **problem_responses(*problem_kinds.OF_SUBMISSIONS)},
    openapi_extra={**JOB_BODY, "parameters": [IDEMPOTENCY_KEY]},
)
@requires("attack")
async def create_job(request: Request) -> Response:
    """Attack many images with several attacks, on several models, behind several defences.

    Send the images as the files of a form (single images, zip files, `.npz` files), or name a data set of the
    server. Everything is checked before the job is taken on: the models, every parameter, every image, every
    label. Where one image cannot be used, none is attacked, and the problem's `images` member names the bad
    ones. The job outlives this server and whatever works on it.

    With an `Idempotency-Key`, the same request sent again gives the same job, as long as that is kept.
    """
    started = time.monotonic()
    services = services_of(request)
    settings = services.settings
    key = idempotency_key(request)
    limit = most_bytes(request, max_bytes=int(settings.jobs_max_bytes), max_images=settings.jobs_max_images)
    with services.jobs.admission.enter() as holding:
        body = Body(request, limit=limit, holding=holding)
        deadline = started + settings.jobs_upload_time
        async with (
            reading(request, body, max_images=settings.jobs_max_images, deadline=deadline) as submission,
            CancelOnDisconnect(request.receive),
        ):
            job, _ = await services.jobs.submit(
                submission, key=key, owner=_owner(request), request_id=request_id_of(request.scope)
            )
    return Response(job.model_dump_json(), 202, headers={"Location": job.links.self}, media_type=_JSON)


@router.get(
    "/v1/jobs",
    summary="List the jobs",
    responses=problem_responses(*_OF_ONE, problem_kinds.INVALID_REQUEST),
)
@requires("attack")
async def list_jobs(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 20,
    before: Annotated[str | None, Query(description="Only those that are older than this job.")] = None,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
) -> JobList:
    """Jobs, newest first. Where the server asks for keys, those of the caller's key."""
    return await services_of(request).jobs.page(_visible(request), limit=limit, before=before, state=state)


@router.get("/v1/jobs/{job}", summary="Ask how a job is", responses=problem_responses(*_OF_ONE))
@requires("attack")
async def get_job(request: Request, job: JobId) -> Job:
    """Its state, and how far each attack on each model behind each defence is."""
    return await services_of(request).jobs.get(job, _visible(request))


@router.get(
    "/v1/jobs/{job}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={
        **EVENTS,
        **problem_responses(*_OF_ONE, problem_kinds.INVALID_REQUEST, problem_kinds.OVERLOADED),
    },
)
@requires("attack")
async def follow_job(
    request: Request,
    job: JobId,
    last_seen: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The last event that was seen; those after it follow."),
    ] = None,
    after: Annotated[
        str | None, Query(description="The same, for callers that cannot set the header.")
    ] = None,
) -> Response:
    """What happens to a job, as server-sent events, from its beginning or from the last one that was seen.

    The events are `queued`, `running`, `progress`, and one of `succeeded`, `failed` and `cancelled`, after
    which the stream ends. It ends too when the server shuts down: come back with the last event's id.
    """
    services = services_of(request)
    return await follow(
        services.jobs,
        job,
        _visible(request),
        last_event_id(last_seen or after),
        services.settings.jobs_streams,
    )


@router.get(
    "/v1/jobs/{job}/result",
    summary="Ask what a job came to",
    response_model=JobResult,
    responses={
        **RESULT,
        **problem_responses(
            *_OF_ONE,
            problem_kinds.INVALID_REQUEST,
            problem_kinds.JOB_NOT_FINISHED,
            problem_kinds.NOT_ACCEPTABLE,
        ),
    },
)
@requires("attack")
async def get_result(
    request: Request,
    job: JobId,
    form: Annotated[
        Literal["json", "zip"] | None,
        Query(alias="format", description="In place of the Accept header: json or zip."),
    ] = None,
    images: Annotated[
        bool, Query(description="Whether the JSON has what came of every single image.")
    ] = True,
    partial: Annotated[
        bool, Query(description="Answer for a job that still runs, too, with what there is so far.")
    ] = False,
) -> Response:
    """Accuracies with their intervals, success rates, norms, counts, doubts, and every image's outcome.

    As a zip file: the same with tables as CSV and Markdown, figures as SVG, the adversarial images as PNG,
    and exactly, as `.npy`, where the job asked for `float_images`.
    """
    named = {"json": _JSON, "zip": _ZIP}
    media_type = named[form] if form else choose_media_type(request.headers.get("accept"), (_JSON, _ZIP))
    service = services_of(request).jobs
    reading = await service.result(job, _visible(request), partial=partial)
    if media_type == _ZIP:
        disposition = {"Content-Disposition": f'attachment; filename="holdfast-job-{reading.result.job}.zip"'}
        return StreamingResponse(service.package(reading), headers=disposition, media_type=_ZIP)
    if images:
        return StreamingResponse(service.render(reading), media_type=_JSON)
    return Response(await service.render_totals(reading), media_type=_JSON)


@router.get(
    "/v1/jobs/{job}/images",
    summary="Look at the images of a job",
    response_model=JobImages,
    responses=problem_responses(*_OF_ONE, problem_kinds.UNKNOWN_RUN, problem_kinds.INVALID_REQUEST),
)
@requires("attack")
async def get_images(
    request: Request,
    job: JobId,
    run: Annotated[int, Query(ge=0, le=_LARGEST, description="Which of the job's runs, from 0.")] = 0,
    outcome: Annotated[
        list[Outcome] | None,
        Query(description="Only images that came to this; may be given several times."),
    ] = None,
    first: Annotated[
        int, Query(ge=0, le=_LARGEST, description="How many that match to leave out at the beginning.")
    ] = 0,
    count: Annotated[int, Query(ge=1, le=_MOST_IMAGES, description="How many at most.")] = 60,
) -> Response:
    """Each image as the model saw it, beside what an attack made of it, and what the model says of both.

    They come in the order of the job, a page at a time. Of a job that runs it is what is finished so far: as
    its parts are not finished in order, what is on a page may change until the job is over.
    """
    # Only now: it needs the library of the database, which a gateway without jobs need not load.
    from serving.jobs.gallery import Wanted

    service = services_of(request).jobs
    wanted = Wanted(run, tuple(dict.fromkeys(outcome or ())), first, count)
    page = await service.images(job, _visible(request), wanted)
    return StreamingResponse(service.render_images(page), media_type=_JSON)


@router.post("/v1/jobs/{job}/cancel", summary="Cancel a job", responses=problem_responses(*_OF_ONE))
@requires("attack")
async def cancel_job(request: Request, job: JobId) -> Job:
    """A job that waits or runs is cancelled, and keeps what it has; a finished one stays as it is.

    The answer says how it is then. Sent again, this changes nothing. A worker that is at it stops between two
    steps of its attack, a second later at most.
    """
    return await services_of(request).jobs.cancel(job, _visible(request))


@router.delete(
    "/v1/jobs/{job}", summary="Cancel a job, or delete a finished one", responses=problem_responses(*_OF_ONE)
)
@requires("attack")
async def delete_job(request: Request, job: JobId) -> Removal:
    """A job that waits or runs is cancelled, and keeps what it has; a finished one is deleted with all of it.

    It may finish before this arrives: who only wants it cancelled sends `POST /v1/jobs/{job}/cancel`. A
    worker that is at it stops between two steps of its attack, a second later at most.
    """
    deleted = await services_of(request).jobs.remove(job, _visible(request))
    return Removal(id=job, outcome="deleted" if deleted else "cancelled")


@router.get(
    "/v1/datasets", summary="List the data sets", responses=problem_responses(problem_kinds.INTERNAL_ERROR)
)
@requires("attack")
async def list_datasets(request: Request) -> DatasetList:
    """The data sets that the server has, which a job may name in place of sending images."""
    return DatasetList(datasets=await services_of(request).jobs.datasets())
