"""What the clients make of a server that fails, one test for both."""

from __future__ import annotations

import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.faulty_server import (
    Behaviour,
    FaultyServer,
    answer,
    faulty_server,
    half,
    hang_up,
    late,
    problem,
    reset,
    silent,
    slow,
    stream,
)
from support.gateway_process import free_port
from support.tiny import solid_png
from support.twins import Kind, Twin, twin

import holdfast_client as sdk
from holdfast_client import _retries
from holdfast_client._async.transport import AsyncTransport
from holdfast_client._sync.transport import Transport
from serving.gateway.attack.example import ANSWER
from serving.settings import Settings

pytestmark = pytest.mark.anyio

CLASSIFICATION = {
    "model": "tiny",
    "version": "1",
    "defence": "none",
    "predictions": [
        {
            "label": "red",
            "class_index": 0,
            "probability": 0.9,
            "top_k": [{"label": "red", "class_index": 0, "probability": 0.9}],
            "probabilities": {"red": 0.9, "green": 0.1},
        }
    ],
    "timings": {"decode_ms": 0.1, "queue_ms": 0, "inference_ms": 1, "total_ms": 1.5},
    "request_id": "abc",
}
JOB = {
    "id": "j1",
    "name": "",
    "state": "queued",
    "created": "2026-11-21T12:00:00Z",
    "images": 1,
    "progress": {"done": 0, "total": 1, "share": 0.0, "eta_seconds": None},
    "labels": "model",
    "runs": [],
}
RED = solid_png("red")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off for next to no time."""
    monkeypatch.setattr(_retries.Retries, "backoff", lambda self, attempt: 0.02 * attempt)


@asynccontextmanager
async def facing(
    kind: Kind, *behaviours: Behaviour, pause: float = 0.0, **options: Any
) -> AsyncIterator[tuple[Twin, FaultyServer]]:
    """A client and the server that it has."""
    with faulty_server(*behaviours, pause=pause) as server:
        async with twin(kind, server.url, model="tiny", **{"timeout": 10.0, **options}) as client:
            yield client, server


async def classify(client: Twin) -> Any:
    return await client.do(lambda each: each.classify(RED))


@pytest.mark.parametrize("fault", [hang_up, reset], ids=["hang-up", "reset"])
async def test_classification_is_repeated_where_the_connection_ends_before_an_answer(
    kind: Kind, fault: Behaviour
) -> None:
    async with facing(kind, fault, fault, answer(200, CLASSIFICATION)) as (client, server):
        assert (await classify(client)).label == "red"
        assert len(server.requests) == 3
        assert len({each.headers["x-request-id"] for each in server.requests}) == 1
        assert all(each.body == RED for each in server.requests)


async def test_connection_that_keeps_ending_is_an_error_that_says_how_often(kind: Kind) -> None:
    async with facing(kind, hang_up) as (client, server):
        with pytest.raises(sdk.APIConnectionError, match="ended before an answer") as caught:
            await classify(client)
        assert caught.value.attempts == len(server.requests) == 3
        assert caught.value.request_id == server.requests[0].headers["x-request-id"]


async def test_server_that_is_not_there_is_an_error_with_its_address(kind: Kind) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with twin(kind, url, model="tiny") as client:
        with pytest.raises(sdk.APIConnectionError, match=f"{url}.*cannot be reached") as caught:
            await classify(client)
        assert caught.value.attempts == 3


async def test_answer_that_breaks_off_is_not_asked_for_again(kind: Kind) -> None:
    async with facing(kind, half(CLASSIFICATION), answer(200, CLASSIFICATION)) as (client, server):
        with pytest.raises(sdk.APIConnectionError, match="within the answer"):
            await classify(client)
        assert len(server.requests) == 1


async def test_reading_is_repeated_even_where_an_answer_breaks_off(kind: Kind) -> None:
    models = {"default": "tiny", "models": []}
    async with facing(kind, half(models), answer(200, models)) as (client, server):
        assert (await client.do(lambda each: each.models.list())).default == "tiny"
        assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "name"), [(429, "rate-limited"), (503, "overloaded")])
async def test_busy_server_is_asked_again_when_it_says(kind: Kind, status: int, name: str) -> None:
    busy = problem(status, name, Retry_After="1")
    async with facing(kind, busy, answer(200, CLASSIFICATION)) as (client, server):
        began = time.monotonic()
        assert (await classify(client)).label == "red"
        assert 1.0 <= time.monotonic() - began < 3.0
        assert len(server.requests) == 2


async def test_time_to_come_back_that_is_too_far_off_is_left_to_the_caller(kind: Kind) -> None:
    async with facing(kind, problem(429, "rate-limited", Retry_After="3600")) as (client, server):
        with pytest.raises(sdk.RateLimitedError) as caught:
            await classify(client)
        assert caught.value.retry_after == 3600
        assert len(server.requests) == 1


async def test_refusal_stays_one_after_all_attempts(kind: Kind) -> None:
    async with facing(kind, problem(503, "not-ready")) as (client, server):
        with pytest.raises(sdk.UnavailableError, match="503 not-ready: It is not-ready") as caught:
            await classify(client)
        assert caught.value.attempts == len(server.requests) == 3
        assert caught.value.request_id == "of-the-server"
        assert json.loads(caught.value.body)["status"] == 503


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 504, 507])
async def test_other_refusals_are_not_repeated(kind: Kind, status: int) -> None:
    async with facing(kind, problem(status, "such")) as (client, server):
        with pytest.raises(sdk.ProblemError) as caught:
            await classify(client)
        assert caught.value.status == status
        assert len(server.requests) == 1


async def test_silent_server_is_given_up_in_time_and_not_asked_again(kind: Kind) -> None:
    async with facing(kind, silent(3), timeout=0.3) as (client, server):
        began = time.monotonic()
        with pytest.raises(sdk.APITimeoutError, match=r"not answered within 0\.3 s") as caught:
            await classify(client)
        assert time.monotonic() - began < 2
        assert isinstance(caught.value, TimeoutError)
        assert len(server.requests) == 1


async def test_answer_that_trickles_is_given_up_when_its_time_is_over(kind: Kind) -> None:
    async with facing(kind, slow(CLASSIFICATION, 0.05), timeout=0.5) as (client, server):
        began = time.monotonic()
        with pytest.raises(sdk.APITimeoutError):
            await classify(client)
        assert time.monotonic() - began < 2
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "no object"),
        ({"model": "tiny"}, "has no version"),
        ({**CLASSIFICATION, "predictions": "none"}, "predictions is no list"),
        ({**CLASSIFICATION, "predictions": []}, "0 answers came"),
    ],
)
async def test_answer_that_is_none_says_what_is_wrong_with_it(kind: Kind, content: Any, reason: str) -> None:
    async with facing(kind, answer(200, content), answer(404, b"")) as (client, server):
        with pytest.raises(sdk.UnexpectedAnswerError, match=reason):
            await classify(client)
        assert sum(each.path != "/openapi.json" for each in server.requests) == 1


async def test_error_page_of_a_proxy_is_shown(kind: Kind) -> None:
    async with facing(kind, answer(502, b"<h1>Bad gateway</h1>")) as (client, _):
        with pytest.raises(sdk.ServerError, match="<h1>Bad gateway</h1>") as caught:
            await classify(client)
        assert caught.value.body == b"<h1>Bad gateway</h1>"


async def test_redirection_is_not_followed_with_the_key(kind: Kind) -> None:
    with faulty_server(answer(200, CLASSIFICATION)) as elsewhere:
        away = answer(307, b"", Location=f"{elsewhere.url}/v1/models/tiny/classify")
        async with facing(kind, away, api_key="secret") as (client, server):
            with pytest.raises(sdk.UnexpectedAnswerError, match="leads elsewhere"):
                await classify(client)
            assert server.requests[0].headers["authorization"] == "Bearer secret"
        assert elsewhere.requests == []


@pytest.mark.parametrize("fault", [hang_up, half(JOB), problem(502, "gateway"), problem(503, "overloaded")])
async def test_job_is_created_again_under_one_key_and_with_its_images(kind: Kind, fault: Behaviour) -> None:
    async with facing(kind, fault, answer(202, JOB)) as (client, server):
        job = await client.do(lambda each: each.jobs.create([RED, RED], models="tiny"))
        assert job.id == "j1"
        first, second = server.requests
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert second.body.count(b"PK\x03\x04") == 2
        assert len(first.body) == len(second.body)


async def test_job_that_is_taken_on_late_is_not_sent_again(kind: Kind, tmp_path: Path) -> None:
    """It is more than a socket holds, so that sending takes its time; with the answer more than there is."""
    images = tmp_path / "images.npz"
    images.write_bytes(bytes(20_000_000))
    async with facing(kind, late(JOB, 1.2), pause=1.4) as (client, server):
        job = await client.do(lambda each: each.jobs.create(images, models="tiny", timeout=2))
        assert job.id == "j1"
        assert [len(each.body) > 20_000_000 for each in server.requests] == [True]


async def test_jobs_have_as_much_time_as_a_server_takes_to_check_them(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    for transport in (Transport, AsyncTransport):

        def opened(self: Any, call: Any, headers: Any, timeout: float, once: Any = transport._open) -> Any:
            given.append(timeout)
            return once(self, call, headers, timeout)

        monkeypatch.setattr(transport, "_open", opened)
    whole = Settings().jobs_upload_time
    async with facing(kind, answer(202, JOB)) as (client, _):
        await client.do(lambda each: each.jobs.create(RED, models="tiny"))
        await client.do(lambda each: each.jobs.create(dataset="d", models="tiny"))
        await client.do(lambda each: each.jobs.create(RED, models="tiny", timeout=7))
    assert given[0] > 2 * whole
    assert given[1] > whole
    assert given[2] == 7


async def test_jobs_have_keys_of_their_own_unless_the_caller_has_one(kind: Kind) -> None:
    async with facing(kind, answer(202, JOB)) as (client, server):
        for key in (None, None, "mine"):
            await client.do(
                lambda each, key=key: each.jobs.create(models="tiny", dataset="d", idempotency_key=key)
            )
        one, other, mine = (each.headers["idempotency-key"] for each in server.requests)
        assert one != other
        assert mine == "mine"
        for none in ("Prüfung", "two words", 'a"b', "a\n", "", "x" * 256):
            with pytest.raises(sdk.ConfigurationError, match="255 visible ASCII"):
                await client.do(
                    lambda each, key=none: each.jobs.create([RED], models="tiny", idempotency_key=key)
                )
        assert len(server.requests) == 3


async def test_removal_of_a_job_is_never_repeated_after_it_was_sent(kind: Kind) -> None:
    async with facing(kind, hang_up, answer(200, {"id": "j1", "outcome": "deleted"})) as (client, server):
        with pytest.raises(sdk.APIConnectionError):
            await client.do(lambda each: each.jobs.delete("j1"))
        assert len(server.requests) == 1


async def test_job_is_cancelled_again_where_nobody_knows_what_became_of_the_first_time(kind: Kind) -> None:
    over = answer(200, {**JOB, "state": "succeeded"})
    async with facing(kind, hang_up, problem(429, "rate-limited"), over) as (client, server):
        assert (await client.do(lambda each: each.jobs.cancel("j1"))).state == "succeeded"
        assert [(each.method, each.path) for each in server.requests] == [("POST", "/v1/jobs/j1/cancel")] * 3


def event(number: int, name: str) -> bytes:
    return f'id: {number}\r\nevent: {name}\r\ndata: {{"state": "running"}}\r\n\r\n'.encode()


async def test_events_go_on_behind_the_last_one_after_the_connection_was_lost(kind: Kind) -> None:
    quick = b"retry: 10\n\n"
    behaviours = [
        stream(quick, event(1, "queued"), event(2, "running"), event(3, "progress")[:-4]),
        reset,
        problem(503, "overloaded"),
        stream(event(2, "running"), event(3, "progress"), event(4, "succeeded"), event(5, "progress")),
    ]
    async with facing(kind, *behaviours) as (client, server):
        events = await client.collect(lambda each: each.jobs.events("j1"))
        assert [(each.number, each.kind) for each in events] == [
            (1, "queued"),
            (2, "running"),
            (3, "progress"),
            (4, "succeeded"),
        ]
        assert [each.headers["last-event-id"] for each in server.requests] == ["0", "2", "2", "2"]


async def test_events_end_where_all_of_them_were_known_already(kind: Kind) -> None:
    over = answer(200, {**JOB, "state": "succeeded"})
    nothing = stream(b": events of this job\r\nretry: 10\r\n\r\n")
    async with facing(kind, nothing, answer(200, JOB), nothing, over, nothing) as (client, server):
        assert await client.collect(lambda each: each.jobs.events("j1", after=5)) == []
        assert [each.path for each in server.requests] == ["/v1/jobs/j1/events", "/v1/jobs/j1"] * 2 + [
            "/v1/jobs/j1/events"
        ]


async def test_last_event_is_told_though_it_came_after_a_stream_had_ended_without_any(kind: Kind) -> None:
    over = answer(200, {**JOB, "state": "succeeded"})
    behaviours = [stream(b"retry: 10\n\n"), over, stream(event(6, "succeeded"))]
    async with facing(kind, *behaviours) as (client, _):
        events = await client.collect(lambda each: each.jobs.events("j1", after=5))
        assert [(each.number, each.kind) for each in events] == [(6, "succeeded")]


async def watch(client: Twin, told: list[sdk.AttackProgress]) -> Any:
    return await client.do(lambda each: each.attack(RED, progress=told.append))


def told_of(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


ADVANCE = told_of("progress", {"done": 1, "total": 2, "seconds": 0.1})


async def test_older_server_answers_who_watches_without_events(kind: Kind) -> None:
    async with facing(kind, answer(200, ANSWER, Content_Type="application/json")) as (client, server):
        told: list[sdk.AttackProgress] = []
        assert (await watch(client, told)).outcome == "held"
        assert told == []
        assert server.requests[0].headers["accept"] == "text/event-stream, application/json;q=0.5"


async def test_problem_at_the_end_of_events_is_raised_as_ever(kind: Kind) -> None:
    late = {"type": "/problems#deadline-exceeded", "title": "Late", "status": 504, "detail": "Too late."}
    async with facing(kind, stream(ADVANCE, told_of("problem", late))) as (client, server):
        told: list[sdk.AttackProgress] = []
        with pytest.raises(sdk.DeadlineExceededError, match="504 deadline-exceeded: Too late"):
            await watch(client, told)
        assert [each.done for each in told] == [1]
        assert len(server.requests) == 1


async def test_events_that_break_off_are_an_error_and_not_asked_for_again(kind: Kind) -> None:
    async with facing(kind, stream(ADVANCE, b"event: result\ndata: {")) as (client, server):
        with pytest.raises(sdk.APIConnectionError, match="within the answer: the events ended too soon"):
            await watch(client, [])
        assert len(server.requests) == 1


async def test_error_of_who_watches_reaches_the_caller(kind: Kind) -> None:
    def fail(_: sdk.AttackProgress) -> None:
        raise ValueError("mine")

    async with facing(kind, stream(ADVANCE, told_of("result", ANSWER))) as (client, _):
        with pytest.raises(ValueError, match="mine"):
            await client.do(lambda each: each.attack(RED, progress=fail))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_events_are_asked_for_again_by_who_was_turned_away(kind: Kind, status: int) -> None:
    quick, busy = stream(b"retry: 10\n\n", event(1, "queued")), problem(status, "such", Retry_After="1")
    async with facing(kind, quick, busy, stream(event(2, "succeeded")), max_retries=0) as (client, server):
        began = time.monotonic()
        events = await client.collect(lambda each: each.jobs.events("j1"))
        assert [each.number for each in events] == [1, 2]
        assert 1.0 <= time.monotonic() - began < 3.0
    async with facing(kind, problem(status, "such", Retry_After="90")) as (client, server):
        with pytest.raises(sdk.ProblemError) as caught:
            await client.collect(lambda each: each.jobs.events("j1"))
        assert (caught.value.status, caught.value.retry_after, len(server.requests)) == (status, 90, 1)


@pytest.mark.parametrize("status", [401, 403, 404, 422, 500])
async def test_events_end_with_any_other_refusal(kind: Kind, status: int) -> None:
    async with facing(kind, problem(status, "such")) as (client, server):
        with pytest.raises(sdk.ProblemError):
            await client.collect(lambda each: each.jobs.events("j1"))
        assert len(server.requests) == 1


async def test_events_of_a_job_that_is_gone_end_with_an_error(kind: Kind) -> None:
    behaviours = [stream(b"retry: 10\n\n", event(1, "queued")), problem(404, "unknown-job")]
    async with facing(kind, *behaviours) as (client, _):
        with pytest.raises(sdk.NotFoundError):
            await client.collect(lambda each: each.jobs.events("j1"))


async def test_events_are_given_up_after_the_patience_for_a_server_that_is_gone(kind: Kind) -> None:
    async with facing(kind, stream(b"retry: 10\n\n", event(1, "queued")), hang_up) as (client, server):
        began = time.monotonic()
        with pytest.raises(sdk.APIConnectionError):
            await client.collect(lambda each: each.jobs.events("j1", patience=0.3))
        assert time.monotonic() - began < 3
        assert len(server.requests) > 2


async def test_package_that_breaks_off_leaves_no_file(kind: Kind, tmp_path: Any) -> None:
    async with facing(kind, half("x" * 1000)) as (client, server):
        with pytest.raises(sdk.APIConnectionError):
            await client.do(lambda each: each.jobs.download("j1", tmp_path / "result.zip"))
        assert list(tmp_path.iterdir()) == []
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [hang_up, reset, silent(2), *(problem(status, "such") for status in (429, 502, 503, 504))],
    ids=["hang-up", "reset", "silent", "429", "502", "503", "504"],
)
async def test_package_is_asked_for_again_until_it_begins_to_come(
    kind: Kind, fault: Behaviour, tmp_path: Path
) -> None:
    async with facing(kind, fault, fault, answer(200, b"PK"), timeout=0.5) as (client, server):
        place = await client.do(lambda each: each.jobs.download("j1", tmp_path / "result.zip"))
        assert place.read_bytes() == b"PK"
        assert len({each.headers["x-request-id"] for each in server.requests}) == 1
        assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [hang_up, problem(503, "such")], ids=["hang-up", "503"])
async def test_package_that_never_comes_is_an_error_that_says_how_often(
    kind: Kind, fault: Behaviour, tmp_path: Path
) -> None:
    async with facing(kind, fault) as (client, server):
        with pytest.raises((sdk.APIConnectionError, sdk.UnavailableError)) as caught:
            await client.do(lambda each: each.jobs.download("j1", tmp_path / "result.zip"))
        assert caught.value.attempts == len(server.requests) == 3
        assert list(tmp_path.iterdir()) == []


async def test_waiting_for_a_job_has_an_end_where_it_was_given_one(kind: Kind) -> None:
    async with facing(kind, answer(200, JOB)) as (client, _):
        with pytest.raises(sdk.WaitTimeoutError, match=r"queued, 0%.*0.5 s"):
            await client.do(lambda each: each.jobs.wait("j1", timeout=0.5))


async def test_server_of_another_time_is_named_where_an_answer_makes_no_sense(kind: Kind) -> None:
    newer = {"info": {"title": "Holdfast", "version": "9.1.0"}, "paths": {"/v2/models": {"get": {}}}}
    missing = problem(404, "not-found")
    async with facing(kind, missing, answer(200, newer)) as (client, _):
        with pytest.raises(sdk.NotFoundError) as caught:
            await classify(client)
        assert "Holdfast 9.1.0" in caught.value.hint
        assert "POST /v1/models/{model}/classify" in caught.value.hint


async def test_server_that_is_no_gateway_is_called_that(kind: Kind) -> None:
    async with facing(kind, answer(404, b"nothing here")) as (client, server):
        with pytest.raises(sdk.NotFoundError, match="nothing here") as caught:
            await classify(client)
        assert f"What answers at {server.url} does not describe itself" in caught.value.hint


async def test_many_images_end_with_the_first_failure_or_give_all_of_them(kind: Kind) -> None:
    good, bad = answer(200, CLASSIFICATION), problem(422, "not-an-image")
    async with facing(kind, good, bad, good) as (client, server):
        results = await client.do(
            lambda each: each.classify_many([RED] * 4, concurrency=1, return_errors=True)
        )
        assert [type(each).__name__ for each in results] == [
            "Prediction",
            "InvalidRequestError",
            "Prediction",
            "Prediction",
        ]
    async with facing(kind, good, bad, good) as (client, server):
        with pytest.raises(sdk.InvalidRequestError):
            await client.do(lambda each: each.classify_many(iter([RED] * 50), concurrency=1))
        assert len(server.requests) < 10


@pytest.mark.parametrize("good", [0, 5])
async def test_error_of_who_gives_the_images_reaches_the_caller(kind: Kind, good: int) -> None:
    def images() -> Iterator[bytes]:
        for _ in range(good):
            yield RED
        raise ValueError("mine")

    async with facing(kind, answer(200, CLASSIFICATION)) as (client, _):
        with pytest.raises(ValueError, match="mine"):
            await client.do(lambda each: each.classify_many(images(), concurrency=3))


async def test_picture_that_cannot_be_read_does_not_keep_the_others(kind: Kind) -> None:
    cut_off = Image.open(io.BytesIO(solid_png("red", (64, 64))[:-40]))
    async with facing(kind, answer(200, CLASSIFICATION)) as (client, server):
        results = await client.do(
            lambda each: each.classify_many([RED, cut_off, Image.new("La", (3, 3)), RED], return_errors=True)
        )
        assert [type(each).__name__ for each in results] == [
            "Prediction",
            "ImageInputError",
            "ImageInputError",
            "Prediction",
        ]
        assert len(server.requests) == 2
