"""What the clients make of a server that fails, one test for both."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from support.facing import facing
from support.faulty_server import (
    Behaviour,
    answer,
    faulty_server,
    half,
    hang_up,
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
from serving.gateway.attack.example import ANSWER

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_waiting")]

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
RED = solid_png("red")


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
