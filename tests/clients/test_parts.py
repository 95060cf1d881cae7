"""The parts that know nothing of sockets: settings, errors, reading, retrying, events, campaigns."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import solid_png

import holdfast_client as sdk
from holdfast_client import _calls
from holdfast_client._attack_results import Budget
from holdfast_client._call import Call, Repeat, Reply
from holdfast_client._campaign import campaign, opened
from holdfast_client._config import configure
from holdfast_client._html import attack_html, prediction_html
from holdfast_client._predictions import Answer, ManifoldEvidence
from holdfast_client._reading import UnreadableError, read
from holdfast_client._retries import Failure, Retries
from holdfast_client._sse import EventReader
from holdfast_client._watching import AttackListener
from serving.gateway.attack.example import ANSWER

SECRET = "holdfast_0pgZJTLzoQo_secret"


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configure(None, None, 1).base_url == "http://127.0.0.1:8000"
    monkeypatch.setenv("HOLDFAST_URL", "https://holdfast.example/here/")
    monkeypatch.setenv("HOLDFAST_API_KEY", SECRET + "\n")
    config = configure(None, None, 1)
    assert config.base_url == "https://holdfast.example/here"
    assert config.headers["Authorization"] == f"Bearer {SECRET}"
    assert configure("http://localhost:9", "", 1).headers.get("Authorization") is None


@pytest.mark.parametrize(
    "url", ["", "holdfast", "ftp://a", "http://", "http://a:b", "http://u:pw@a", "http://a?x=1", "http://[a"]
)
def test_address_that_is_none_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(sdk.ConfigurationError) as caught:
        sdk.Holdfast(url or "/")
    assert "pw" not in str(caught.value)


def test_other_settings_that_cannot_be_are_refused() -> None:
    for options in ({"timeout": 0}, {"max_retries": -1}, {"api_key": "a\nb"}, {"route_key": "ö"}):
        with pytest.raises(sdk.ConfigurationError):
            sdk.Holdfast(**options)  # type: ignore[arg-type]


def test_key_is_nowhere_to_be_seen_and_not_sent_unencrypted_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with sdk.Holdfast("http://holdfast.example", SECRET) as client:
        assert SECRET not in f"{client!r} {client._transport.config!r}"
    assert "unencrypted" in caplog.text
    assert SECRET not in caplog.text
    caplog.clear()
    sdk.Holdfast("http://127.0.0.1:8000", SECRET).close()
    sdk.Holdfast("https://holdfast.example", SECRET).close()
    assert "unencrypted" not in caplog.text


def test_transport_can_be_given_and_requests_say_who_sends_them() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"default": "a", "models": [], "news": 1})

    with sdk.Holdfast(
        "https://a.example/b", SECRET, route_key="me", transport=httpx.MockTransport(answer)
    ) as client:
        client.models.list()
    assert str(seen[0].url) == "https://a.example/b/v1/models"
    assert seen[0].headers["user-agent"].startswith(f"holdfast-client/{sdk.__version__} (v1) Python/3")
    assert seen[0].headers["holdfast-route-key"] == "me"


@pytest.mark.parametrize("error", [each for each in vars(sdk).values() if isinstance(each, type)])
def test_errors_travel_between_processes(error: type) -> None:
    if not issubclass(error, sdk.HoldfastError):
        return
    problem = sdk.Problem("/problems#such", "Such", 422, "This.", members={"offered": ["a"]})
    made = error(problem) if issubclass(error, sdk.ProblemError) else error("What.", "Do.")
    if isinstance(made, sdk.APIError):
        made.request_id = "abc"
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error
    assert str(again) == str(made)
    assert getattr(again, "request_id", "abc") == "abc"


def test_names_cannot_lead_to_another_address() -> None:
    assert _calls.get_model("a/../b?c#d", None).path == "/v1/models/a%2F..%2Fb%3Fc%23d"
    for name in ("", ".", ".."):
        with pytest.raises(sdk.ConfigurationError):
            _calls.get_job(name)
    assert _calls.split_model("a/2", None) == ("a", "2")
    with pytest.raises(sdk.ConfigurationError):
        _calls.split_model("a/2", "1")


@dataclass(frozen=True)
class Inner:
    at: datetime
    pair: tuple[float, int]


@dataclass(frozen=True)
class Outer:
    name: str
    inner: list[Inner]
    more: dict[str, float] | None = None


def test_reading_leaves_out_what_is_new_and_names_what_is_missing() -> None:
    inner = {"at": "2026-01-02T03:04:05.250000Z", "pair": [1, 2], "new": {}}
    found = read(Outer, {"name": "a", "inner": [inner], "new": 1})
    assert found.inner[0].at == datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)
    assert found.inner[0].pair == (1.0, 2)
    for broken, words in (
        ({"name": "a"}, "the answer has no inner"),
        ({"name": 1, "inner": []}, r"the answer\.name is no str"),
        ({"name": "a", "inner": [{**inner, "pair": [1]}]}, r"inner\[0\]\.pair has 1 values, not 2"),
        ({"name": "a", "inner": [{**inner, "at": "now"}]}, r"at is no date"),
        ({"name": "a", "inner": [], "more": {"b": True}}, r"more\.b is no float"),
        ([], "the answer is no object"),
    ):
        with pytest.raises(UnreadableError, match=words):
            read(Outer, broken)


def test_attack_of_an_older_server_can_be_read() -> None:
    new, old = (json.loads(json.dumps(ANSWER)) for _ in range(2))
    del old["original"], old["trace"]["steps"][0]["probabilities"]
    found, less = (read(sdk.AttackResult, answer) for answer in (new, old))
    assert found.original == sdk.Picture(width=32, height=32, base64=ANSWER["original"]["base64"])
    assert less.original is None
    assert less.trace is not None
    assert less.trace.steps[0].probabilities == []
    assert (attack_html(found).count("<img"), attack_html(less).count("<img")) == (3, 2)
    assert repr(less) == repr(found)


def call(repeat: Repeat) -> Call[None]:
    return Call("POST", "/", lambda _: None, repeat)


def reply(status: int, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


GONE = sdk.APIConnectionError("gone")


@pytest.mark.parametrize(
    ("outcome", "repeated"),
    [
        (Failure(GONE, sent=False), {"always", "unanswered", "keyed", "unsent"}),
        (Failure(GONE, sent=True), {"always", "unanswered", "keyed"}),
        (Failure(GONE, sent=True, late=True), {"always", "keyed"}),
        (Failure(GONE, sent=True, answered=True), {"always", "keyed"}),
        (reply(429), {"always", "unanswered", "keyed", "unsent"}),
        (reply(503), {"always", "unanswered", "keyed"}),
        (reply(502), {"always", "keyed"}),
        (reply(504), {"always", "keyed"}),
        (reply(500), set()),
        (reply(507), set()),
        (reply(422), set()),
        (reply(200), set()),
    ],
)
def test_only_what_is_safe_is_repeated(outcome: Reply | Failure, repeated: set[str]) -> None:
    again = {each.value for each in Repeat if Retries(2).delay(call(each), outcome, 1) is not None}
    assert again == repeated


def test_delays_grow_differ_and_end() -> None:
    gone = Failure(GONE, sent=False)
    for chance, expected in ((0.0, [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]), (0.999999, [0.5, 1, 2, 4, 8, 8])):
        retries = Retries(6, chance=lambda chance=chance: chance)
        delays = [retries.delay(call(Repeat.ALWAYS), gone, attempt) for attempt in range(1, 8)]
        assert delays[:-1] == pytest.approx(expected, rel=1e-3)
        assert delays[-1] is None


def test_time_to_come_back_is_kept_to() -> None:
    retries = Retries(2, chance=lambda: 0.0)
    busy = call(Repeat.UNANSWERED)
    assert retries.delay(busy, reply(503, retry_after="7"), 1) == 7
    assert retries.delay(busy, reply(503, retry_after="0"), 1) == 0
    assert retries.delay(busy, reply(503, retry_after="soon"), 1) == 0.25
    assert retries.delay(busy, reply(503, retry_after="61"), 1) is None
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 18 < (retries.delay(busy, reply(503, retry_after=date), 1) or 0) <= 20


STREAM = (
    ': hello\r\nretry: 1500\r\n\r\nid: 1\r\nevent: queued\r\ndata: {"state": "queued"}\r\n\r\n'
    'id: 2\nevent: progress\ndata: {"share":\ndata:  0.5, "run": "é"}\n\n: ping\n\n'
    'id: 3\revent: succeeded\rdata: {"state": "succeeded"}\r\rid: 4\nevent: cut'
).encode()


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    reader = EventReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    events = [event for first, last in pairwise(edges) for event in reader.feed(STREAM[first:last])]
    assert [(each.number, each.kind, each.share) for each in events] == [
        (1, "queued", None),
        (2, "progress", 0.5),
        (3, "succeeded", None),
    ]
    assert (reader.last, reader.retry) == (3, 1.5)


WATCHED = (
    'event: waiting\ndata: {"waiting":2}\n\nevent: waiting\ndata: {"waiting":0}\n\n: still at it\n\n'
    'event: progress\ndata: {"done":3,"total":12,"seconds":0.5,"later":"é"}\n\n'
    'event: result\ndata: {"label":"é"}\n\n'
).encode()


@given(cuts=st.lists(st.integers(0, len(WATCHED)), max_size=8))
def test_attack_that_is_watched_is_told_step_by_step_however_the_bytes_are_cut(cuts: list[int]) -> None:
    told: list[sdk.AttackProgress] = []
    listener = AttackListener(told.append)
    edges = [0, *sorted(cuts), len(WATCHED)]
    for first, last in pairwise(edges):
        listener.hear(WATCHED[first:last])
    assert told == [
        sdk.AttackProgress(waiting=2),
        sdk.AttackProgress(),
        sdk.AttackProgress(done=3, total=12, seconds=0.5),
    ]
    assert [each.share for each in told] == [0, 0, 0.25]
    assert listener.reply(reply(200)) == replace(reply(200), content='{"label":"é"}'.encode())


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (b"event: progress\ndata: {\n\n", "not JSON"),
        (b"event: progress\ndata: []\n\n", "not JSON"),
        (b'event: waiting\ndata: {"waiting": "long"}\n\n', r"the event waiting\.waiting is no int"),
        (b"event: problem\ndata: {}\n\n", "the problem has no status"),
        (b'event: problem\ndata: {"status": 200}\n\n', "the problem has no status"),
    ],
)
def test_events_that_are_none_of_an_attack_say_so(events: bytes, words: str) -> None:
    def watch() -> None:
        listener = AttackListener(lambda _: None)
        listener.hear(events)
        listener.reply(reply(200))

    with pytest.raises(sdk.UnexpectedAnswerError, match=words):
        watch()


def test_campaign_says_what_was_asked_for() -> None:
    asked = campaign(
        models=["a", sdk.ModelChoice("b/2", ["imt", "none"])],
        attacks=[
            "pgd",
            sdk.AttackChoice("square", {"epsilon": Fraction(8, 255), "n": np.int64(5)}, name="s"),
        ],
        parameters={"epsilon": "8/255"},
        dataset=sdk.DatasetChoice("digits", count=10),
        labels="array",
        layout="nhwc",
        float_images=True,
        name="n",
    )
    assert json.loads(json.dumps(asked)) == {
        "models": ["a", {"model": "b/2", "defences": ["imt", "none"]}],
        "attacks": ["pgd", {"attack": "square", "name": "s", "parameters": {"epsilon": "8/255", "n": 5}}],
        "parameters": {"epsilon": "8/255"},
        "dataset": {"name": "digits", "first": 0, "count": 10},
        "labels": "array",
        "layout": "nhwc",
        "float_images": True,
        "name": "n",
    }


def test_images_of_a_job_are_packed_with_their_names_and_always_alike(tmp_path: Path) -> None:
    red = solid_png("red")
    for place in ("set/cat/1.png", "set/dog/1.png", "set/notes.txt", "one.zip"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(red if place.endswith("png") else b"PK\x03\x04")
    loose = tmp_path / "set" / "dog" / "1.png"
    images: list[Any] = [
        tmp_path / "set",
        tmp_path / "one.zip",
        loose,
        ("../up/x", red),
        red,
        np.zeros((4, 4), np.uint8),
        b"PK\x03\x04zip",
    ]
    packed = []
    for _ in range(2):
        with opened(images) as files:
            assert [name for name, _ in files] == ["images.zip", "one.zip", "000007.zip"]
            packed.append(files[0][1].read())
            with zipfile.ZipFile(files[0][1]) as archive:
                names = archive.namelist()
    assert packed[0] == packed[1]
    assert names == [
        "cat/1.png",
        "dog/1.png",
        "dog/000003-1.png",
        "up/x.png",
        "image-000005.png",
        "image-000006.png",
    ]
    with opened(np.zeros((3, 8, 8, 3), np.uint8)) as files, zipfile.ZipFile(files[0][1]) as archive:
        assert len(archive.namelist()) == 3


def test_pages_of_a_notebook_show_names_as_text() -> None:
    prediction = sdk.Prediction(
        label="<b>",
        class_index=0,
        probability=0.75,
        top_k=[],
        probabilities={"<script>": 0.75, "b": 0.25},
        manifold=ManifoldEvidence(score=0.9, evidence="discriminator", verdict="suspect"),
        model="m",
        version="1",
        defence="none",
        timings=sdk.Timings(decode_ms=0, queue_ms=0, inference_ms=0, total_ms=0),
        request_id="",
        source="gone.png",
    )
    html = prediction_html(prediction)
    assert "<script>" not in html
    assert "&lt;script&gt; 75.0 %" in html
    assert "suspect (0.900)" in html
    assert repr(prediction) == "<Prediction <b> 75.0%, suspect, by m/1>"
    assert isinstance(prediction, Answer)


def test_budgets_read_as_people_write_them() -> None:
    assert str(Budget(norm="linf", epsilon=8 / 255)) == "linf 8/255"
    assert str(Budget(norm="l2", epsilon=0.5)) == "l2 0.5"
