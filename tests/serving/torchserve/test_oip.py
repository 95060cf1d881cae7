"""TorchServe reached by the Open Inference Protocol, as the gateway's backend and by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.digits import digits

from holdfast.bundle import ModelStore
from serving.backends.oip import OipBackend
from serving.backends.onnx import OnnxBackend
from serving.torchserve.launch import TorchServe

pytestmark = pytest.mark.torchserve


def test_the_backend_answers_as_the_embedded_one_does_behind_every_defence(
    torchserve: TorchServe, archived_store: Path
) -> None:
    async def compare() -> None:
        remote = OipBackend(ModelStore(archived_store), torchserve.url)
        embedded = OnnxBackend(ModelStore(archived_store), threads=1)
        await asyncio.gather(remote.start(), embedded.start())
        try:
            assert [b.name for b in remote.models()] == [b.name for b in embedded.models()]
            for ours, theirs in zip(embedded.models(), remote.models(), strict=True):
                assert theirs.manifest.defences == ours.manifest.defences
                shape = (8, *ours.manifest.input.shape)
                images = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
                for defence in ours.manifest.defences:
                    expected = await embedded.predict(ours.name, None, images, defence=defence)
                    found = await remote.predict(ours.name, None, images, defence=defence)
                    # Behind a transformation the sign of a gradient of nearly 0 is a toss-up.
                    near = np.abs(found.logits - expected.logits).max(axis=1) < 1e-3
                    assert near.mean() >= (1.0 if defence == "none" else 0.7)
                    assert (found.manifold is None) == (expected.manifold is None)
                    assert (found.moved is None) == (expected.moved is None)
                    if found.manifold is not None and expected.manifold is not None:
                        np.testing.assert_allclose(found.manifold, expected.manifold, atol=1e-3)
        finally:
            await asyncio.gather(remote.close(), embedded.close())

    asyncio.run(compare())


def test_it_says_what_it_is_and_that_it_lives(torchserve: TorchServe) -> None:
    assert httpx.get(f"{torchserve.url}/v2").json()["name"] == "Torchserve"
    assert httpx.get(f"{torchserve.url}/v2/health/live").json() == {"live": True}


def test_an_inference_is_answered_over_its_own_address(torchserve: TorchServe) -> None:
    image = digits()[0][:1]
    entry = {"name": "images", "datatype": "FP32", "shape": list(image.shape), "data": image.tolist()}
    url = f"{torchserve.url}/v2/models/digits/infer"
    response = httpx.post(url, json={"id": "mine", "inputs": [entry]}, timeout=60)
    assert (response.status_code, response.json()["id"]) == (200, "mine")
    entry["datatype"] = "UINT8"
    response = httpx.post(url, json={"inputs": [entry]}, timeout=60)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
