"""Both clients against the real gateway: in this process, and over a socket with a worker of its own."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from PIL import Image
from support.campaigns import WEAK_RED, submitted, work
from support.gateway import gateway
from support.gateway_process import running_gateway
from support.tiny import solid_png
from support.twins import Twin, twin

import holdfast_client as sdk

pytestmark = pytest.mark.anyio


@dataclass
class Reached:
    """A client of a gateway, and what has the gateway's jobs done."""

    twin: Twin
    work: Callable[[str], None]
    connect: Callable[..., Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.twin, name)


@pytest.fixture(scope="module")
def url(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway in a process of its own."""
    place = tmp_path_factory.mktemp("jobs")
    settings = {"HOLDFAST_JOBS_DATABASE": f"sqlite:///{place}/jobs.sqlite", "HOLDFAST_THREADS": "1"}
    with running_gateway(tiny_store, **settings) as started:
        yield started


@pytest.fixture(params=["in-process", "sync", "async"])
async def client(request: pytest.FixtureRequest, tiny_store: Path) -> AsyncIterator[Reached]:
    """A client, three ways."""
    if request.param != "in-process":
        connect = partial(twin, request.param, request.getfixturevalue("url"))
        async with connect() as made:
            yield Reached(made, lambda job: None, connect)  # its own worker does it
        return
    async with gateway(tiny_store) as started:
        connect = partial(
            twin, "async", "http://gateway.localhost", transport=httpx.ASGITransport(started.app)
        )
        async with connect() as made:
            yield Reached(made, partial(work, started), connect)


async def test_image_is_classified(client: Reached) -> None:
    prediction = await client.do(lambda each: each.classify(solid_png("red"), top_k=2))
    assert prediction.label == "red"
    assert prediction.class_index == 0
    assert prediction.probability > 0.99
    assert list(prediction.probabilities) == ["red", "green", "blue"]
    assert [each.class_index for each in prediction.top_k][:1] == [0]
    assert len(prediction.top_k) == 2
    assert (prediction.model, prediction.version, prediction.defence) == ("tiny", "1", "none")
    assert prediction.manifold is None
    assert prediction.image.size == (8, 8)
    assert prediction.timings.total_ms > 0
    assert repr(prediction) == "<Prediction red 100.0%, by tiny/1>"
    assert "data:image/png;base64," in prediction._repr_html_()


async def test_image_may_be_anything_that_is_one(client: Reached, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "green.png"
    path.write_bytes(solid_png((0, 255, 0)))
    array = np.zeros((8, 8, 3), dtype=np.uint8)
    array[..., 1] = 255
    images: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        Image.open(path),
        array,
        array.astype(np.float32) / 255,
        torch.from_numpy(array).permute(2, 0, 1),
        torch.from_numpy(array).permute(2, 0, 1)[None] / 255,
    ]
    predictions = await client.do(lambda each: each.classify_many(images, model="tiny/1"))
    assert [each.label for each in predictions] == ["green"] * len(images)
    assert len({each.probability for each in predictions}) == 1


async def test_many_images_keep_their_order(client: Reached) -> None:
    colours = ["red", "green", "blue"] * 20
    images = (solid_png(colour) for colour in colours)
    predictions = await client.do(lambda each: each.classify_many(images, concurrency=5))
    assert [each.label for each in predictions] == colours


async def test_image_is_attacked(client: Reached) -> None:
    result = await client.do(
        lambda each: each.attack(
            solid_png(WEAK_RED), "pgd", epsilon="64/255", steps=20, label="red", exact=True, trace=3
        )
    )
    assert (result.outcome, result.success, result.survives_rounding) == ("fooled", True, True)
    assert result.attack.parameters["steps"] == 20
    assert str(result.attack.budget).startswith("linf 0.25")
    assert (result.before.label, result.label, result.label_from) == ("red", "red", "request")
    assert result.after.label != "red"
    assert result.probabilities == result.after.probabilities
    assert result.image.size == (8, 8)
    assert result.reached.linf <= 64 / 255 + 1e-6
    exact = result.exact.numpy()
    assert (exact.shape, exact.dtype) == ((1, 3, 8, 8), np.float32)
    assert result.trace.steps[0].png.startswith(b"\x89PNG")
    assert "fooled: red" in repr(result)
    assert len(result.original.image.getcolors()) == 1
    first = result.trace.steps[0]
    assert first.probabilities[first.class_index] == first.probability == max(first.probabilities)
    assert result._repr_html_().count("<img") == 3
    again = await client.do(lambda each: each.classify(result.adversarial.png))
    assert again.label == result.after.label


async def test_attack_that_is_watched_comes_to_the_same(client: Reached) -> None:
    asked = partial(dict, steps=100, epsilon="1/255", stop_at_success=False)
    told: list[sdk.AttackProgress] = []
    watched = await client.do(
        lambda each: each.attack(solid_png("red"), progress=told.append, trace=2, **asked())
    )
    alone = await client.do(lambda each: each.attack(solid_png("red"), trace=2, **asked()))
    assert told
    assert {each.total for each in told} == {100}
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert watched.adversarial == alone.adversarial
    assert watched.trace == alone.trace
    assert repr(watched) == repr(alone)
    with pytest.raises(sdk.InvalidRequestError, match="invalid-request"):
        await client.do(lambda each: each.attack(solid_png("red"), step=3, progress=told.append))


async def test_attack_takes_numbers_of_other_libraries_and_names_that_clash(client: Reached) -> None:
    result = await client.do(
        lambda each: each.attack(solid_png("red"), "fgsm", parameters={"epsilon": np.float32(0.125)})
    )
    assert result.attack.parameters["epsilon"] == 0.125
    assert result.exact is None
    assert result.trace is None


async def test_refusals_are_typed_and_say_what_there_is(client: Reached) -> None:
    image = solid_png("red")
    with pytest.raises(sdk.NotFoundError, match="404 unknown-model") as unknown:
        await client.do(lambda each: each.classify(image, model="large"))
    assert len(unknown.value.request_id) == 32
    with pytest.raises(sdk.NotFoundError, match="unknown-version"):
        await client.do(lambda each: each.classify(image, version="9"))
    with pytest.raises(sdk.InvalidRequestError) as offered:
        await client.do(lambda each: each.classify(image, defence="imt"))
    assert offered.value.offered == ["none"]
    with pytest.raises(sdk.InvalidRequestError) as wrong:
        await client.do(lambda each: each.attack(image, "pgd", step=3))
    assert "step" in wrong.value.errors[0]["where"]
    with pytest.raises(sdk.AttackTooCostlyError) as costly:
        await client.do(lambda each: each.attack(image, "pgd", steps=10_000, restarts=100))
    assert costly.value.cost["seconds"] > costly.value.limit
    with pytest.raises(sdk.InvalidRequestError, match="not-an-image"):
        await client.do(lambda each: each.classify(b"no image"))
    with pytest.raises(sdk.NotFoundError, match="unknown-job"):
        await client.do(lambda each: each.jobs.get("none"))


async def test_models_and_attacks_are_described(client: Reached) -> None:
    models = await client.do(lambda each: each.models.list())
    assert (models.default, [each.name for each in models], len(models)) == ("tiny", ["tiny"], 1)
    assert models["tiny"].defences == ["none"]
    model = await client.do(lambda each: each.models.get("tiny", "1"))
    assert model.classes == ["red", "green", "blue"]
    assert (model.input.height, str(model.threat_model), model.created.year) == (8, "linf 8/255", 2026)
    assert model.card.startswith("# tiny")
    attacks = await client.do(lambda each: each.attacks.list())
    assert {"pgd", "autoattack", "square"} <= {each.name for each in attacks}
    assert "steps" in (await client.do(lambda each: each.attacks.get("pgd"))).parameters["properties"]
    assert await client.do(lambda each: each.jobs.datasets()) == []


async def test_server_and_client_of_one_time_understand_one_another(client: Reached) -> None:
    from holdfast.version import __version__

    info = await client.do(lambda each: each.server())
    assert info.compatible, str(info)
    assert info.version == __version__


async def test_job_is_carried_out_followed_and_answered(client: Reached, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for colour, number, shade in (("red", 0, WEAK_RED), ("red", 1, WEAK_RED), ("green", 0, (0, 255, 0))):
        (images / colour).mkdir(parents=True, exist_ok=True)
        (images / colour / f"{number}.png").write_bytes(solid_png(shade))
    job = await client.do(
        lambda each: each.jobs.create(
            images,
            models="tiny",
            attacks=["fgsm", sdk.AttackChoice("pgd", {"steps": 5}, name="pgd-5")],
            parameters={"epsilon": "64/255"},
            labels="folder",
            name="colours",
        )
    )
    assert (job.images, [each.attack for each in job.runs]) == (3, ["fgsm", "pgd-5"])
    await anyio.to_thread.run_sync(client.work, job.id)
    seen: list[float] = []
    job = await client.do(
        lambda each: each.jobs.wait(job.id, timeout=120, progress=lambda now: seen.append(now.progress.share))
    )
    assert (job.state, job.is_over, seen[-1]) == ("succeeded", True, 1.0)
    events = await client.collect(lambda each: each.jobs.events(job.id))
    assert (events[0].kind, events[-1].kind, events[-1].is_last) == ("queued", "succeeded", True)
    later = await client.collect(lambda each: each.jobs.events(job.id, after=events[0].number))
    assert later == events[1:]
    assert await client.collect(lambda each: each.jobs.events(job.id, after=events[-1].number)) == []
    result = await client.do(lambda each: each.jobs.result(job.id))
    assert result.complete
    (fgsm, pgd) = result.runs
    assert pgd.clean_accuracy.value == 1.0
    assert str(pgd.robust_accuracy).startswith("33.3 % [")
    assert {each.image for each in pgd.record.results} == {"red/0.png", "red/1.png", "green/0.png"}
    assert result.worst_cases[0].attacks == ["fgsm", "pgd-5"]
    assert "<td>pgd-5</td>" in result._repr_html_()
    short = await client.do(lambda each: each.jobs.result(job.id, images=False))
    assert short.runs[0].record.results == []
    assert short.runs[0].record.totals == fgsm.record.totals
    broken = await client.collect(lambda each: each.jobs.images(job.id, 1, outcome="fooled", page=1))
    assert [(each.index, each.image, each.outcome) for each in broken] == [
        (1, "red/0.png", "fooled"),
        (2, "red/1.png", "fooled"),
    ]
    assert all(each.original.startswith(b"\x89PNG") for each in broken)
    again = await client.do(lambda each: each.classify(broken[0].adversarial))
    assert again.label == broken[0].after.label
    assert repr(broken[0]).startswith("<JobImage 1 red/0.png, fooled: red ")
    assert await client.collect(lambda each: each.jobs.images(job.id, outcome=["held"], first=1)) == []
    whole = await client.collect(lambda each: each.jobs.images(job.id, outcome=["held", "fooled"], page=2))
    assert [each.index for each in whole] == [0, 1, 2]
    with pytest.raises(sdk.NotFoundError, match="unknown-run"):
        await client.collect(lambda each: each.jobs.images(job.id, 2))
    place = await client.do(lambda each: each.jobs.download(job.id, tmp_path / "result.zip"))
    with zipfile.ZipFile(place) as package:
        assert "result.md" in package.namelist()
    assert job.id in [each.id for each in await client.do(lambda each: each.jobs.list(state="succeeded"))]
    assert (await client.do(lambda each: each.jobs.cancel(job.id))).state == "succeeded"
    assert (await client.do(lambda each: each.jobs.delete(job.id))).outcome == "deleted"
    with pytest.raises(sdk.NotFoundError):
        await client.do(lambda each: each.jobs.get(job.id))


async def test_job_is_the_same_under_one_key_and_can_be_cancelled(client: Reached) -> None:
    asked = partial(
        dict,
        models=sdk.ModelChoice("tiny/1"),
        attacks="pgd",
        parameters={"steps": 10_000, "restarts": 100, "epsilon": "1/255"},
        labels=["red"] * 2,
    )
    images = [("first", solid_png("red")), np.full((8, 8, 3), (255, 0, 0), np.uint8)]
    key = f"twice-{client.connect.args[0]}"
    jobs = [
        await client.do(lambda each: each.jobs.create(images, idempotency_key=key, **asked()))
        for _ in range(2)
    ]
    assert jobs[0].id == jobs[1].id
    with pytest.raises(sdk.InvalidRequestError, match="idempotency-key-reused"):
        await client.do(lambda each: each.jobs.create(images[::-1], idempotency_key=key, **asked()))
    with pytest.raises(sdk.ConflictError, match="job-not-finished"):
        await client.do(lambda each: each.jobs.result(jobs[0].id))
    assert not (await client.do(lambda each: each.jobs.result(jobs[0].id, partial=True))).complete
    assert (await client.do(lambda each: each.jobs.cancel(jobs[0].id))).state == "cancelled"
    events = await client.collect(lambda each: each.jobs.events(jobs[0].id))
    assert events[-1].kind == "cancelled"


@dataclass
class Late(httpx.AsyncBaseTransport):
    """Turns the first request that changes something away, and has ``meanwhile`` done before the next."""

    app: Any
    meanwhile: Callable[[], None]
    turned_away: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" or self.turned_away:
            return await httpx.ASGITransport(self.app).handle_async_request(request)
        self.turned_away += 1
        await anyio.to_thread.run_sync(self.meanwhile)
        return httpx.Response(429, json={}, headers={"Retry-After": "0"})


async def test_job_that_ends_while_it_is_being_cancelled_keeps_its_result(tiny_store: Path) -> None:
    async with gateway(tiny_store) as started:
        job = await submitted(started, solid_png("red"))
        late = Late(started.app, partial(work, started, job["id"]))
        async with twin("async", "http://gateway.localhost", transport=late) as client:
            assert (await client.do(lambda each: each.jobs.cancel(job["id"]))).state == "succeeded"
            assert late.turned_away == 1
            assert (await client.do(lambda each: each.jobs.result(job["id"]))).complete


@pytest.fixture
async def guarded(tiny_store: Path, tmp_path: Path) -> AsyncIterator[Any]:
    """What connects to a gateway that asks for keys, and a key for classifying."""
    from serving.keys.store import KeyStore

    store = KeyStore(tmp_path / "keys.json")
    token, _ = store.create("test", ("classify",))
    async with gateway(tiny_store, keys_file=tmp_path / "keys.json") as started:
        transport = httpx.ASGITransport(started.app)

        @asynccontextmanager
        async def connect(**options: Any) -> AsyncIterator[Twin]:
            async with twin("async", "http://gateway.localhost", transport=transport, **options) as client:
                yield client

        yield connect, token.reveal()


async def test_scopes_of_a_key_are_what_it_opens(
    guarded: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect, key = guarded
    caplog.set_level("DEBUG")
    async with connect() as client:
        with pytest.raises(sdk.AuthenticationError, match="401 unauthenticated"):
            await client.do(lambda each: each.classify(solid_png("red")))
        assert (await client.do(lambda each: each.server())).compatible
    monkeypatch.setenv("HOLDFAST_API_KEY", key)
    async with connect() as client:
        assert (await client.do(lambda each: each.classify(solid_png("red")))).label == "red"
        with pytest.raises(sdk.PermissionDeniedError, match="403 missing-scope") as caught:
            await client.do(lambda each: each.jobs.list())
        assert caught.value.problem.members["scope"] == "attack"
        assert key not in repr(client.client)
    assert any(each.name == "holdfast_client" for each in caplog.records)
    assert key not in caplog.text
