"""The handler, in TorchServe's own loader and context, without a server around it."""

from __future__ import annotations

import base64
import json
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.defended import EPSILON, last_digits
from support.digits import digit_pngs, digits

from holdfast import npy
from holdfast.archive import HANDLER, ArchiveError, unpack
from holdfast.bundle import PREDICT, TORCHSCRIPT, Bundle, ModelStore
from holdfast.images import decode
from holdfast.manifest import Defence
from holdfast.sessions import open_session
from serving.torchserve import handler as module
from serving.torchserve.handler import HoldfastHandler

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves the file with its version open
    from ts.context import Context, RequestProcessor
    from ts.utils.util import list_classes_from_module


def huge_png() -> bytes:
    """A PNG whose header claims 50,000 pixels a side."""

    def chunk(data: bytes) -> bytes:
        return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))

    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(b"")) + chunk(b"IEND")


@pytest.fixture(scope="module")
def bundle(digits_store: Path) -> Bundle:
    return ModelStore(digits_store).open("digits")


@pytest.fixture(scope="module")
def directory(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.archive import archive

    target = tmp_path_factory.mktemp("model")
    unpack(archive(bundle, tmp_path_factory.mktemp("archive")), target)
    return target


def context(directory: Path, requests: int = 0) -> Context:
    made = Context("digits", str(directory), {}, 16, None, "0.12.0")
    made.request_ids = {index: f"id-{index}" for index in range(requests)}
    made.request_processor = [RequestProcessor({"explain": "False"}) for _ in range(requests)]
    return made


@pytest.fixture(scope="module")
def judged_directory(defended_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.archive import archive

    target = tmp_path_factory.mktemp("judged")
    bundle = ModelStore(defended_store).open("judged")
    unpack(archive(bundle, tmp_path_factory.mktemp("archive")), target)
    return target


@pytest.fixture(scope="module")
def judged(judged_directory: Path) -> HoldfastHandler:
    made = HoldfastHandler()
    made.initialize(context(judged_directory))
    return made


@pytest.fixture(scope="module")
def loaded(directory: Path) -> HoldfastHandler:
    made = HoldfastHandler()
    made.initialize(context(directory))
    return made


def ask(loaded: HoldfastHandler, directory: Path, *bodies: bytes) -> list[tuple[int, Any]]:
    """Each body's status and answer, all in one batch."""
    batch = [{"body": bytearray(body)} for body in bodies]
    asked = context(directory, len(batch))
    answers = loaded.handle(batch, asked)
    return [(asked.get_response_status(i)[0], json.loads(answer)) for i, answer in enumerate(answers)]


def test_torchserve_finds_one_class_in_the_file() -> None:
    assert list_classes_from_module(module) == [HoldfastHandler]


def test_the_packed_handler_is_the_one_tested_here(directory: Path) -> None:
    assert (directory / HANDLER).read_bytes() == Path(module.__file__).read_bytes()


def test_a_batch_of_arrays_is_answered_with_the_graphs_logits(
    loaded: HoldfastHandler, directory: Path, bundle: Bundle
) -> None:
    images = digits()[0][:5]
    ((status, answer),) = ask(loaded, directory, npy.encode(images))
    (expected,) = open_session(bundle, PREDICT).run(["logits"], {"images": images})
    assert status == 200
    np.testing.assert_allclose(np.float32(answer["logits"]), expected, atol=1e-4)
    assert (answer["model"], answer["version"], answer["batch_size"]) == ("digits", "1", 5)
    assert answer["inference_seconds"] > 0


def test_an_image_is_answered_with_its_class(
    loaded: HoldfastHandler, directory: Path, bundle: Bundle
) -> None:
    png = digit_pngs(1)[0]
    ((status, answer),) = ask(loaded, directory, png)
    session = open_session(bundle, PREDICT)
    (logits,) = session.run(["logits"], {"images": decode(png, bundle.manifest.input)[None]})
    assert status == 200
    assert answer["class_index"] == logits[0].argmax()
    assert answer["label"] == bundle.manifest.classes[answer["class_index"]]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert answer["probability"] == pytest.approx(max(answer["probabilities"].values()), abs=1e-6)


def test_one_bad_request_in_a_batch_fails_alone(loaded: HoldfastHandler, directory: Path) -> None:
    good = digit_pngs(2)
    images = digits()[0][:3]
    bodies = [good[0], b"no image", npy.encode(images), good[0][:60], b"", npy.encode(images * 2), good[1]]
    answers = ask(loaded, directory, *bodies)
    assert [status for status, _ in answers] == [200, 422, 200, 422, 422, 422, 200]
    alone = [ask(loaded, directory, body)[0][1] for body in (good[0], good[1])]
    for (_, together), single in zip((answers[0], answers[6]), alone, strict=True):
        assert together["label"] == single["label"]
        assert together["probability"] == pytest.approx(single["probability"], abs=1e-5)
        assert together["batch_size"] == 5, "the bad ones did not run"
    for status, problem in answers:
        if status != 200:
            assert problem["status"] == status
            assert problem["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"GIF89a" + b"\0" * 100, 415, id="another format"),
        pytest.param(huge_png(), 413, id="too many pixels"),
        pytest.param(b"\0" * (10 * 1024 * 1024 + 1), 413, id="too many bytes"),
        pytest.param(npy.encode(np.zeros((1, 3, 8, 8), dtype=np.float32)), 422, id="another shape"),
        pytest.param(npy.encode(np.full((1, 1, 8, 8), np.nan, dtype=np.float32)), 422, id="no number"),
        pytest.param(npy.MAGIC, 422, id="no header"),
    ],
)
def test_each_bad_body_has_its_status(
    loaded: HoldfastHandler, directory: Path, body: bytes, status: int
) -> None:
    assert ask(loaded, directory, body)[0][0] == status


@pytest.mark.parametrize("request_", [{}, {"a": bytearray(b"x"), "b": bytearray(b"y")}, {"body": "text"}])
def test_a_request_without_one_body_is_told_how_to_send_it(
    loaded: HoldfastHandler, directory: Path, request_: dict[str, Any]
) -> None:
    asked = context(directory, 1)
    (answer,) = loaded.handle([request_], asked)
    assert asked.get_response_status(0) == (400, "Bad Request")
    assert asked.get_response_content_type(0) == "application/problem+json"
    assert "curl -T" in json.loads(answer)["detail"]


def test_explanations_are_not_offered(loaded: HoldfastHandler, directory: Path) -> None:
    asked = context(directory, 1)
    asked.request_processor = [RequestProcessor({"explain": "True"})]
    loaded.handle([{"body": bytearray(digit_pngs(1)[0])}], asked)
    assert asked.get_response_status(0)[0] == 400


def test_more_images_than_run_at_once_keep_their_order(loaded: HoldfastHandler) -> None:
    images = digits()[0][: 2 * module.MAX_BATCH + 3]
    whole = loaded.predict(images)["logits"]
    assert whole.shape == (len(images), 10)
    np.testing.assert_allclose(whole[-3:], loaded.predict(images[-3:])["logits"], atol=1e-4)


def test_a_network_that_answers_nan_fails_only_that_request(
    loaded: HoldfastHandler, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = digits()[0][:2]

    def broken(batch: np.ndarray, defence: Defence) -> dict[str, np.ndarray]:
        found = HoldfastHandler.predict(loaded, batch, defence)
        found["logits"][0] = np.nan
        return found

    monkeypatch.setattr(loaded, "predict", broken)
    answers = ask(loaded, directory, npy.encode(images[:1]), npy.encode(images[1:]))
    assert [status for status, _ in answers] == [500, 200]


def test_requests_for_different_defences_in_one_batch_each_get_theirs(
    judged: HoldfastHandler, judged_directory: Path
) -> None:
    image = npy.encode(last_digits(1)[0])
    headers = [
        {},
        {"X-Holdfast-Defence": "imt"},
        {"x-holdfast-defence": "imt+"},
        {"X-Holdfast-Defence": "no"},
    ]
    asked = context(judged_directory, 4)
    asked.request_processor = [RequestProcessor({"explain": "False", **header}) for header in headers]
    answers = [json.loads(a) for a in judged.handle([{"body": bytearray(image)} for _ in headers], asked)]
    assert [asked.get_response_status(i)[0] for i in range(4)] == [200, 200, 200, 400]
    assert [answer.get("defence") for answer in answers[:3]] == ["none", "imt", "imt+"]
    assert "It offers: none, imt, imt+" in answers[3]["detail"]
    assert "moved" not in answers[0]
    assert answers[1]["moved"] == pytest.approx([EPSILON])
    assert answers[0]["manifold"] == pytest.approx(answers[1]["manifold"], abs=1e-6)
    assert answers[0]["logits"] != answers[1]["logits"]


def test_json_may_hold_the_image_and_the_defence(judged: HoldfastHandler, judged_directory: Path) -> None:
    png = digit_pngs(1)[0]
    bodies = [
        json.dumps({"image": base64.b64encode(png).decode(), "defence": "imt"}).encode(),
        json.dumps({"image": "no base64!"}).encode(),
        json.dumps({"image": base64.b64encode(png).decode(), "defense": "imt"}).encode(),
        b"{",
    ]
    answers = ask(judged, judged_directory, *bodies)
    assert [status for status, _ in answers] == [200, 400, 400, 400]
    evidence = answers[0][1]["manifold"]
    assert evidence["evidence"] == "discriminator"
    assert evidence["verdict"] in ("natural", "uncertain", "suspect")
    assert evidence["moved"] == pytest.approx(EPSILON)


def test_verdicts_are_counted_in_torchserves_metrics(judged: HoldfastHandler, judged_directory: Path) -> None:
    class Cache:
        counted: list[tuple[str, str]] = []  # noqa: RUF012

        def add_counter(self, name: str, value: int, dimensions: list[Any]) -> None:
            assert (name, value) == ("ManifoldVerdicts", 1)
            self.counted.append((dimensions[0].value, dimensions[1].value))

    asked = context(judged_directory, 1)
    asked.metrics = Cache()
    judged.handle([{"body": bytearray(npy.encode(last_digits(30)[0]))}], asked)
    assert len(Cache.counted) == 30
    assert {defence for _, defence in Cache.counted} == {"none"}


def test_the_inputs_gradient_can_be_had(loaded: HoldfastHandler) -> None:
    # What a defence at inference needs: the archive's network takes part in autograd.
    import torch

    images = torch.from_numpy(digits()[0][:2]).requires_grad_()
    (gradient,) = torch.autograd.grad(loaded.network(images).sum(), images)
    assert gradient.abs().max() > 0


def test_a_changed_torchscript_is_never_loaded(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import torch

    copy = tmp_path / "model"
    shutil.copytree(directory, copy)
    with (copy / TORCHSCRIPT).open("r+b") as file:
        file.seek(200)
        file.write(b"\0")
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("it was loaded"))
    with pytest.raises(ArchiveError, match=r"model\.pt is not what archive\.json says"):
        HoldfastHandler().initialize(context(copy))
