"""What the clients make of a server that fails them over a job: one test for both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from support.facing import JOB, facing
from support.faulty_server import (
    Behaviour,
    answer,
    half,
    hang_up,
    late,
    problem,
    reset,
    silent,
    stream,
)
from support.tiny import solid_png
from support.twins import Kind

import holdfast_client as sdk
from holdfast_client._async.transport import AsyncTransport
from holdfast_client._sync.transport import Transport
from serving.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_waiting")]

RED = solid_png("red")


def event(number: int, name: str) -> bytes:
    return f'id: {number}\r\nevent: {name}\r\ndata: {{"state": "running"}}\r\n\r\n'.encode()


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
