"""The embedded backend serves every bundle of a store, verified and warm, and answers as the bundle does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from support.tiny import make_tiny_bundle

from holdfast.bundle import (
    PREDICT,
    Bundle,
    BundleNotFoundError,
    ChangedFileError,
    ManifestError,
    ModelStore,
    describe_files,
    write_manifest,
)
from serving.backends.base import (
    Backend,
    InferenceError,
    UnavailableError,
    UnknownModelError,
    UnknownVersionError,
    UnsupportedDefenceError,
)
from serving.backends.onnx import OnnxBackend

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(store: Path, *, max_batch: int = 4, threads: int = 1) -> AsyncIterator[OnnxBackend]:
    backend = OnnxBackend(ModelStore(store), max_batch=max_batch, threads=threads)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


def random_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 8, 8), dtype=np.float32)


def rewrite(
    directory: Path, change: Callable[[onnx.ModelProto], object] = lambda model: None, **update: object
) -> None:
    """Change a bundle's graph or manifest, and seal it again so that it opens."""
    manifest = Bundle.open(directory).manifest
    model = onnx.load(directory / PREDICT, load_external_data=False)
    change(model)
    (directory / PREDICT).write_bytes(model.SerializeToString())
    files = describe_files(directory, list(manifest.files))
    write_manifest(directory, manifest.model_copy(update={**update, "files": files}))


async def test_answers_are_those_of_the_graph_in_the_order_of_the_images(tiny_store: Path) -> None:
    async with serving(tiny_store) as backend:
        images = random_images(11)
        prediction = await backend.predict("tiny", None, images)
    np.testing.assert_allclose(prediction.logits, 10 * images.mean(axis=(2, 3)), rtol=1e-5)
    assert prediction.logits.dtype == np.float32
    assert prediction.manifold is None
    assert prediction.timings.inference > 0


async def test_answers_do_not_depend_on_who_shares_the_batch(tiny_store: Path) -> None:
    async with serving(tiny_store, max_batch=8) as backend:
        batches = [random_images(1 + seed % 3, seed) for seed in range(40)]
        together = await asyncio.gather(*(backend.predict("tiny", "1", images) for images in batches))
    assert max(prediction.timings.batch_size for prediction in together) > 3
    for images, prediction in zip(batches, together, strict=True):
        np.testing.assert_allclose(prediction.logits, 10 * images.mean(axis=(2, 3)), rtol=1e-5)


async def test_it_is_a_backend_that_is_ready_between_start_and_close(tiny_store: Path) -> None:
    backend = OnnxBackend(ModelStore(tiny_store))
    assert isinstance(backend, Backend)
    assert not await backend.ready()
    assert list(backend.models()) == []
    with pytest.raises(UnavailableError):
        await backend.predict("tiny", None, random_images(1))
    await backend.start()
    assert await backend.ready()
    assert [(bundle.name, bundle.version) for bundle in backend.models()] == [("tiny", "1")]
    await backend.close()
    assert not await backend.ready()
    with pytest.raises(UnavailableError):
        await backend.predict("tiny", None, random_images(1))
    await backend.close()


async def test_every_version_is_served_and_the_newest_by_default(tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        make_tiny_bundle(tmp_path, version=version)

    def negate(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "positive"
        model.graph.node.append(helper.make_node("Neg", ["positive"], ["logits"]))

    rewrite(tmp_path / "tiny/10", negate)
    async with serving(tmp_path) as backend:
        images = random_images(2)
        expected = 10 * images.mean(axis=(2, 3))
        for version in ("1", "2"):
            answer = await backend.predict("tiny", version, images)
            np.testing.assert_allclose(answer.logits, expected, rtol=1e-5)
        newest = await backend.predict("tiny", None, images)
        np.testing.assert_allclose(newest.logits, -expected, rtol=1e-5)
        with pytest.raises(UnknownVersionError):
            await backend.predict("tiny", "3", images)
        with pytest.raises(UnknownModelError):
            await backend.predict("huge", None, images)


async def test_manifold_evidence_is_handed_on_where_the_graph_gives_it(tmp_path: Path) -> None:
    directory = make_tiny_bundle(tmp_path)

    def add_manifold(model: onnx.ModelProto) -> None:
        axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
        model.graph.initializer.append(axis)
        model.graph.node.append(helper.make_node("ReduceMax", ["logits", "axis"], ["manifold"], keepdims=0))
        model.graph.output.append(
            helper.make_tensor_value_info("manifold", onnx.TensorProto.FLOAT, ["batch"])
        )

    rewrite(directory, add_manifold)
    async with serving(tmp_path) as backend:
        images = random_images(9)
        prediction = await backend.predict("tiny", None, images)
    assert prediction.manifold is not None
    np.testing.assert_allclose(prediction.manifold, prediction.logits.max(axis=1))


async def test_defence_that_the_bundle_does_not_offer_is_refused(tiny_store: Path) -> None:
    async with serving(tiny_store) as backend:
        with pytest.raises(UnsupportedDefenceError) as refused:
            await backend.predict("tiny", None, random_images(1), defence="imt")
    assert "none" in refused.value.hint


async def test_answer_that_is_no_number_fails_its_own_caller_alone(tiny_store: Path) -> None:
    async with serving(tiny_store, max_batch=16) as backend:
        bad = random_images(1)
        bad[0, 0, 0, 0] = np.nan
        calls = [backend.predict("tiny", None, each) for each in (random_images(2), bad, random_images(1, 5))]
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(second, InferenceError)
    assert not isinstance(first, BaseException)
    assert not isinstance(third, BaseException)


async def test_changed_bundle_is_not_served(tmp_path: Path) -> None:
    directory = make_tiny_bundle(tmp_path)
    content = bytearray((directory / PREDICT).read_bytes())
    content[-1] ^= 1
    (directory / PREDICT).write_bytes(bytes(content))
    with pytest.raises(ChangedFileError):
        await OnnxBackend(ModelStore(tmp_path)).start()


async def test_graph_of_another_input_than_the_manifest_says_is_not_served(tmp_path: Path) -> None:
    directory = make_tiny_bundle(tmp_path)

    def widen(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 9

    rewrite(directory, widen)
    with pytest.raises(ManifestError, match="images"):
        await OnnxBackend(ModelStore(tmp_path)).start()


async def test_graph_of_other_classes_than_the_manifest_says_is_not_served(tmp_path: Path) -> None:
    directory = make_tiny_bundle(tmp_path)
    rewrite(directory, classes=["red", "green", "blue", "grey"])
    with pytest.raises(ManifestError, match="classes"):
        await OnnxBackend(ModelStore(tmp_path)).start()


async def test_empty_store_is_an_error_that_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError) as caught:
        await OnnxBackend(ModelStore(tmp_path)).start()
    assert "holdfast export" in caught.value.hint


async def test_close_during_the_start_ends_it(tiny_store: Path) -> None:
    backend = OnnxBackend(ModelStore(tiny_store))
    starting = asyncio.create_task(backend.start())
    await asyncio.sleep(0)
    await backend.close()
    await starting
    assert not await backend.ready()


def test_threads_are_at_least_one_for_each_batch_and_can_be_chosen(tiny_store: Path) -> None:
    chosen = OnnxBackend(ModelStore(tiny_store), threads=3)
    assert chosen.threads == 3
    assert chosen.workers >= 1
    assert 1 <= OnnxBackend(ModelStore(tiny_store)).threads <= 8


def test_serving_needs_no_torch(tiny_store: Path) -> None:
    program = f"""
import asyncio, sys
sys.modules["torch"] = None  # an import of it fails
from pathlib import Path
import numpy as np
from holdfast.bundle import ModelStore
from serving.backends.onnx import OnnxBackend
import serving.gateway.app, serving.server, serving.commands.serve

async def main():
    backend = OnnxBackend(ModelStore(Path({str(tiny_store)!r})), max_batch=1)
    await backend.start()
    prediction = await backend.predict("tiny", None, np.ones((1, 3, 8, 8), dtype=np.float32))
    await backend.close()
    print(prediction.logits.tolist())

asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[[10.0, 10.0, 10.0]]"


async def test_version_that_is_withdrawn_answers_whoever_was_on_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.backends.onnx._GRACE", 0.3)
    for version in ("1", "2"):
        make_tiny_bundle(tmp_path, version=version)
    async with serving(tmp_path) as backend:
        (tmp_path / "tiny" / "2").rename(tmp_path / ".away")
        assert (await backend.reload()).withdrawn == ("tiny/2",)
        assert [bundle.version for bundle in backend.models()] == ["1"]
        assert (await backend.predict("tiny", "2", random_images(1))).logits.shape == (1, 3)
        await asyncio.sleep(0.5)
        with pytest.raises(UnknownVersionError):
            await backend.predict("tiny", "2", random_images(1))
