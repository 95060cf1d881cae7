"""The TorchServe backend against a real TorchServe, beside the embedded backend."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from support.digits import copy_bundle, digit_pngs, digits

from holdfast import npy
from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle, BundleNotFoundError, ModelStore
from holdfast.images import decode
from holdfast.manifest import Defence
from holdfast.manifold import classify_transformed
from serving.backends.answer import NotServedError, OtherWeightsError
from serving.backends.base import (
    Backend,
    DeadlineExceededError,
    OverloadedError,
    Prediction,
    UnavailableError,
    UnknownModelError,
    UnknownVersionError,
    UnsupportedDefenceError,
)
from serving.backends.onnx import OnnxBackend
from serving.backends.torchserve import TorchServeBackend
from serving.torchserve.launch import TorchServe, free_port
from training.models.evidence import classify_with_evidence
from training.rebuild import rebuild

pytestmark = pytest.mark.torchserve

IMAGES = 200
PATIENCE = 60.0


@asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[Backend]:
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


def backend_of(server: TorchServe, store: Path, **options: object) -> TorchServeBackend:
    return TorchServeBackend(ModelStore(store), server.url, **options)  # type: ignore[arg-type]


def real_images(bundle: Bundle) -> NDArray[np.float32]:
    """200 images that nobody made up: the bundle's own data set where it is at hand, else scanned digits."""
    from training.data import load
    from training.data.errors import DataError

    try:
        test = load(bundle.manifest.dataset.name).test
    except DataError:
        test = None
    if test is not None and test.images.shape[1:] == bundle.manifest.input.shape:
        return test.images[:IMAGES].astype(np.float32) / 255
    return np.stack([decode(png, bundle.manifest.input) for png in digit_pngs(IMAGES)])


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def worker_of(server: TorchServe, model: str) -> psutil.Process:
    """The process that runs a model."""
    for process in psutil.Process(server.pid).children(recursive=True):
        directory = Path(process.cwd())
        if directory.joinpath("bundle.json").is_file() and directory.resolve().name == model:
            return process
    raise AssertionError(f"no worker runs {model}")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.1)


def test_it_answers_200_real_images_as_the_embedded_backend_does(
    torchserve: TorchServe, archived_store: Path
) -> None:
    async def compare() -> None:
        async with (
            running(OnnxBackend(ModelStore(archived_store), threads=1)) as embedded,
            running(backend_of(torchserve, archived_store)) as remote,
        ):
            assert [b.name for b in remote.models()] == [b.name for b in embedded.models()]
            for bundle in remote.models():
                images = real_images(bundle)
                assert len(images) == IMAGES
                parts = np.array_split(images, 25)
                ours = await asyncio.gather(*(embedded.predict(bundle.name, None, p) for p in parts))
                theirs = await asyncio.gather(*(remote.predict(bundle.name, None, p) for p in parts))
                expected = np.concatenate([prediction.logits for prediction in ours])
                found = np.concatenate([prediction.logits for prediction in theirs])
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
                np.testing.assert_allclose(softmax(found), softmax(expected), atol=1e-4)
                assert len(set(found.argmax(axis=1))) > 1, "a model that always says the same proves little"

    asyncio.run(compare())


def test_three_runtimes_give_one_answer_behind_every_defence(
    torchserve: TorchServe, archived_store: Path
) -> None:
    """Clean, attacked and noisy images, by the embedded backend, by TorchServe, and by torch itself."""
    store = ModelStore(archived_store)

    async def ask(backend: Backend, name: str, images: NDArray[np.float32], defence: Defence) -> Prediction:
        parts = np.array_split(images, 10)
        answers = [await backend.predict(name, None, part, defence=defence) for part in parts]
        joined = [
            None if answers[0].manifold is None else np.concatenate([a.manifold for a in answers]),  # type: ignore[misc]
            None if answers[0].moved is None else np.concatenate([a.moved for a in answers]),  # type: ignore[misc]
        ]
        logits = np.concatenate([a.logits for a in answers])
        return Prediction(logits, joined[0], answers[0].timings, joined[1])

    def in_torch(bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> list[NDArray[np.float32]]:
        network, batch = rebuild(bundle), torch.from_numpy(images)
        with torch.no_grad():
            if defence == "none":
                logits, score = classify_with_evidence(network, batch)
                assert score is not None
                return [logits.numpy(), score.numpy()]
            imt = bundle.manifest.imt
            assert imt is not None
            logits, found = classify_transformed(
                network,
                batch,
                epsilon=imt.epsilon,
                halved=imt.halved if defence == "imt+" else None,
            )
            return [logits.numpy(), torch.sigmoid(found.logit).numpy(), found.step.numpy()]

    async def compare() -> None:
        async with (
            running(OnnxBackend(store, threads=1)) as embedded,
            running(backend_of(torchserve, archived_store)) as remote,
        ):
            for name in ("judged", "centred"):
                bundle = store.open(name)
                images = five_hundred(bundle)
                for defence in bundle.manifest.defences:
                    ours = await ask(embedded, name, images, defence)
                    theirs = await ask(remote, name, images, defence)
                    logits, score, *moved = in_torch(bundle, images, defence)
                    for answer in (ours, theirs):
                        assert answer.manifold is not None
                        np.testing.assert_allclose(answer.manifold, score, atol=1e-4)
                        if moved:
                            assert answer.moved is not None
                            np.testing.assert_allclose(answer.moved, moved[0], atol=1e-6)
                        difference = np.abs(answer.logits - logits).max(1)
                        # Behind a transformation the sign of a gradient of nearly 0 is a toss-up.
                        assert (difference < 1e-4).mean() >= (1.0 if defence == "none" else 0.97)
                        top = np.sort(logits, 1)
                        clear = top[:, -1] - top[:, -2] > 2 * difference
                        assert clear.mean() > 0.95
                        assert (answer.logits.argmax(1) == logits.argmax(1))[clear].all()

    asyncio.run(compare())


def five_hundred(bundle: Bundle) -> NDArray[np.float32]:
    """Scanned digits as they are, attacked, and with noise."""
    images, labels = digits()
    clean, truth = images[-167:], labels[-167:]
    moved = attack(OnnxOracle(bundle, threads=1), clean, truth, PGDParameters(epsilon=0.1, steps=5)).images
    noisy = np.random.default_rng(0).uniform(0, 1, (166, *clean.shape[1:])).astype(np.float32)
    return np.concatenate([clean, moved, noisy])


def test_the_digits_are_recognised(torchserve: TorchServe, archived_store: Path) -> None:
    async def accuracy() -> float:
        async with running(backend_of(torchserve, archived_store)) as backend:
            images, labels = digits()
            prediction = await backend.predict("digits", "1", images[-IMAGES:])
            assert prediction.manifold is None
            assert prediction.timings.batch_size >= IMAGES
            assert prediction.timings.inference > 0
            return float((prediction.logits.argmax(axis=1) == labels[-IMAGES:]).mean())

    assert asyncio.run(accuracy()) > 0.8


def test_one_bad_image_in_a_dynamic_batch_fails_its_own_caller_alone(torchserve: TorchServe) -> None:
    good = digit_pngs(7)
    bodies = [*good[:3], b"no image at all", *good[3:]]

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=torchserve.url, timeout=PATIENCE) as client:
            headers = {"Content-Type": "image/png"}
            posts = (client.post("/predictions/digits", content=body, headers=headers) for body in bodies)
            return await asyncio.gather(*posts)

    deadline = time.monotonic() + PATIENCE
    met = False
    while not met:
        responses = asyncio.run(send())
        bad = responses.pop(3)
        assert bad.status_code == 422
        assert bad.headers["content-type"] == "application/problem+json"
        assert bad.json()["status"] == 422
        assert [response.status_code for response in responses] == [200] * 7
        # All seven ran together, so the eighth, sent in their midst, was among them.
        met = all(response.json()["batch_size"] == 7 for response in responses)
        assert time.monotonic() < deadline, "the requests never met in one batch"


def test_a_form_with_one_image_is_answered_too(torchserve: TorchServe) -> None:
    response = httpx.post(
        f"{torchserve.url}/predictions/digits/1",
        files={"image": ("digit.png", digit_pngs(1)[0], "image/png")},
        timeout=PATIENCE,
    )
    assert response.status_code == 200
    assert response.json()["label"] in set("0123456789")
    assert response.headers["content-type"] == "application/json"


def test_models_versions_and_defences_that_are_not_served_have_their_errors(
    torchserve: TorchServe, archived_store: Path
) -> None:
    image = np.zeros((1, 1, 8, 8), dtype=np.float32)

    async def ask() -> None:
        async with running(backend_of(torchserve, archived_store)) as backend:
            with pytest.raises(UnknownModelError):
                await backend.predict("cats", None, image)
            with pytest.raises(UnknownVersionError):
                await backend.predict("digits", "2", image)
            with pytest.raises(UnsupportedDefenceError):
                await backend.predict("digits", "1", image, defence="imt")
            with pytest.raises(DeadlineExceededError):
                await backend.predict("digits", "1", image, deadline=time.monotonic() - 1)
        with pytest.raises(UnavailableError):
            await backend.predict("digits", "1", image)
        assert not await backend.ready()

    asyncio.run(ask())


def test_more_images_than_one_body_takes_come_back_in_order(
    torchserve: TorchServe, archived_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchServeBackend, "max_body", 10 * 8 * 8 * 4)

    async def ask() -> None:
        async with running(backend_of(torchserve, archived_store, max_in_flight=4)) as backend:
            images = digits()[0][:35]
            whole = await backend.predict("digits", None, images)
            for index in (0, 17, 34):
                alone = await backend.predict("digits", None, images[index : index + 1])
                np.testing.assert_allclose(whole.logits[index], alone.logits[0], atol=1e-4)
            with pytest.raises(OverloadedError):
                await backend.predict("digits", None, digits()[0][:45])

    asyncio.run(ask())


def test_the_requests_id_reaches_torchserve(torchserve: TorchServe, archived_store: Path) -> None:
    # The handler names the request that it refuses; this one it refuses because it is out of range.
    name = f"caller-{os.getpid()}"

    async def ask() -> None:
        async with running(
            backend_of(torchserve, archived_store, headers=lambda: {"X-Request-Id": name})
        ) as backend:
            with pytest.raises(Exception, match="refused the images"):
                await backend.predict("digits", None, np.full((1, 1, 8, 8), 2, dtype=np.float32))

        async def logged() -> bool:
            return name in torchserve.log_path.read_text(encoding="utf-8")

        await until(logged)

    asyncio.run(ask())


def test_a_store_without_torchserves_models_is_refused_at_the_start(
    torchserve: TorchServe, digits_store: Path, tmp_path: Path
) -> None:
    source = digits_store / "digits" / "1"
    copy_bundle(source, tmp_path / "other", name="unheard-of")
    with pytest.raises(NotServedError, match="serves none of the store's models: unheard-of version 1"):
        asyncio.run(backend_of(torchserve, tmp_path / "other").start())
    copy_bundle(source, tmp_path / "changed", other_weights=True)
    with pytest.raises(OtherWeightsError, match="other weights as digits version 1") as caught:
        asyncio.run(backend_of(torchserve, tmp_path / "changed").start())
    assert "holdfast archive digits/1 --force" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleNotFoundError):
        asyncio.run(backend_of(torchserve, tmp_path / "empty").start())


def test_what_torchserve_does_not_serve_is_left_out(
    torchserve: TorchServe, archived_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(archived_store, store := tmp_path / "store")
    copy_bundle(store / "digits" / "1", store, version="2")

    async def ask() -> None:
        async with running(backend_of(torchserve, store)) as backend:
            digits_served = [bundle.version for bundle in backend.models() if bundle.name == "digits"]
            assert digits_served == ["1"]
            await backend.predict("digits", None, np.zeros((1, 1, 8, 8), dtype=np.float32))

    asyncio.run(ask())


def test_a_torchserve_that_is_not_there_is_an_error_that_says_how_to_start_it(digits_store: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    backend = TorchServeBackend(ModelStore(digits_store), url, start_timeout=0.2, health_interval=0.1)
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        asyncio.run(backend.start())
    assert "holdfast torchserve" in caught.value.hint


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_takes_connections_and_never_answers_does_not_hang_the_start(
    silent_port: int, digits_store: Path
) -> None:
    backend = TorchServeBackend(
        ModelStore(digits_store), f"http://127.0.0.1:{silent_port}", timeout=0.3, start_timeout=0.5
    )
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"did not answer within 0\.3 s"):
        asyncio.run(backend.start())
    assert time.monotonic() - began < 10


def test_a_torchserve_that_hangs_hangs_nobody_and_recovers(
    torchserve: TorchServe, archived_store: Path
) -> None:
    image = np.zeros((1, 1, 8, 8), dtype=np.float32)

    async def hang() -> None:
        options = {"timeout": 30.0, "patience": 3.0, "health_interval": 0.2, "max_in_flight": 2}
        async with running(backend_of(torchserve, archived_store, **options)) as backend:
            assert await backend.ready()
            os.kill(torchserve.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                with pytest.raises(UnavailableError, match="nor anybody else"):
                    await backend.predict("digits", None, image, deadline=began + 0.5)
                assert time.monotonic() - began < 2
                # The caller is gone; what TorchServe has queued still holds its place.
                waiting = asyncio.create_task(backend.predict("digits", None, image))
                await asyncio.sleep(0.1)
                with pytest.raises(OverloadedError):
                    await backend.predict("digits", None, image)
                # Nobody's timeout has come, but the backend's patience is over.
                with pytest.raises(UnavailableError, match="did not answer within"):
                    await waiting
                assert time.monotonic() - began < 10
                assert not await backend.ready()
                began = time.monotonic()
                with pytest.raises(UnavailableError, match="at the moment"):
                    await backend.predict("digits", None, image)
                assert time.monotonic() - began < 0.1, "whoever comes now waits for nothing"
            finally:
                os.kill(torchserve.pid, signal.SIGCONT)
            await until(backend.ready)
            assert (await backend.predict("digits", None, image)).logits.shape == (1, 10)

    asyncio.run(hang())


def test_a_worker_killed_outright_is_a_clear_error_and_comes_back(
    torchserve: TorchServe, archived_store: Path
) -> None:
    image = np.zeros((1, 1, 8, 8), dtype=np.float32)

    async def kill() -> None:
        options = {"timeout": 2.0, "health_interval": 0.2}
        async with running(backend_of(torchserve, archived_store, **options)) as backend:
            worker = worker_of(torchserve, "digits")
            worker.kill()
            began, answered = time.monotonic(), False
            while not answered:
                assert time.monotonic() - began < PATIENCE
                asked = time.monotonic()
                try:
                    answered = (await backend.predict("digits", None, image)).logits.shape == (1, 10)
                except UnavailableError:
                    assert time.monotonic() - asked < 5
                    await asyncio.sleep(0.2)
            await until(backend.ready)
            assert worker_of(torchserve, "digits").pid != worker.pid

    asyncio.run(kill())


def test_a_body_of_the_wrong_kind_is_refused_by_status_not_by_a_dead_worker(torchserve: TorchServe) -> None:
    worker = worker_of(torchserve, "digits").pid
    for body, status in (
        (npy.encode(np.zeros((2, 3, 8, 8), dtype=np.float32)), 422),
        (npy.MAGIC + os.urandom(100), 422),
        (b"", 422),
    ):
        response = httpx.post(
            f"{torchserve.url}/predictions/digits",
            content=body,
            headers={"Content-Type": npy.MEDIA_TYPE},
            timeout=PATIENCE,
        )
        assert response.status_code == status, body[:20]
    assert worker_of(torchserve, "digits").pid == worker
