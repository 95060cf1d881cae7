"""What happens is counted under conventional names, and no caller can make up a label."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.gated import GatedBackend, GatedModel
from support.gateway import CLASSIFY, PNG, Gateway, gateway
from support.tiny import solid_png

from holdfast.bundle import ModelStore
from serving.backends.load import Load

pytestmark = pytest.mark.anyio

RED = solid_png("red")
Labels = dict[str, str]


async def figures(started: Gateway) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Every sample of an exposition, by its name and labels."""
    text = (await started.client.get("/metrics")).text
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples


def value(samples: dict[str, dict[frozenset[tuple[str, str]], float]], name: str, **labels: str) -> float:
    """The sum of the samples that have these labels among theirs."""
    asked = set(labels.items())
    return sum(number for have, number in samples.get(name, {}).items() if asked <= have)


async def test_request_is_observed_with_all_that_it_was_about(tiny: Gateway) -> None:
    for _ in range(3):
        await tiny.classify(RED)
    await tiny.classify(b"no image")
    samples = await figures(tiny)
    labels = {"route": "/v1/models/{model}/classify", "method": "POST", "model": "tiny", "version": "1"}
    name = "holdfast_request_duration_seconds"
    assert value(samples, f"{name}_count", **labels, defence="none", status="200") == 3
    assert value(samples, f"{name}_count", **labels, defence="none", status="422") == 1
    assert value(samples, f"{name}_bucket", **labels, status="200", le="+Inf") == 3
    assert 0 < value(samples, f"{name}_sum", **labels, status="200") < 60


async def test_route_of_the_open_inference_protocol_is_its_whole_template(tiny: Gateway) -> None:
    body = {
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": [0.5] * 192}],
    }
    response = await tiny.client.post("/v2/models/tiny/infer", json=body)
    assert response.status_code == 200, response.text
    samples = await figures(tiny)
    labels = {"route": "/v2/models/{model}/infer", "model": "tiny", "status": "200"}
    assert value(samples, "holdfast_request_duration_seconds_count", **labels) == 1


async def test_parts_of_a_classification_are_timed_and_its_images_counted(tiny: Gateway) -> None:
    files = [("image", ("a.png", RED, "image/png"))] * 3
    await tiny.client.post(CLASSIFY, files=files)
    await tiny.classify(RED)
    samples = await figures(tiny)
    model = {"model": "tiny", "version": "1", "defence": "none"}
    for stage in ("decode", "queue", "inference"):
        assert value(samples, "holdfast_stage_duration_seconds_count", stage=stage, **model) == 2
    assert value(samples, "holdfast_images_total", **model) == 4
    assert value(samples, "holdfast_batch_size_images_count", **model) == 2
    assert value(samples, "holdfast_batch_size_images_sum", **model) == 4
    assert value(samples, "holdfast_batch_size_images_bucket", **model, le="2.0") == 1


async def test_callers_make_no_series(tiny: Gateway) -> None:
    async def series() -> set[tuple[str, str]]:
        samples = await figures(tiny)
        return {(name, str(sorted(labels))) for name, found in samples.items() for labels in found}

    for status_of in ("/v1/models/none", "/nowhere", "/v1/models/tiny/versions/9/classify"):
        await tiny.client.get(status_of)
    await tiny.client.post("/v1/models/none/classify", content=RED, headers=PNG)
    await tiny.client.post(f"{CLASSIFY}?defence=none-such", content=RED, headers=PNG)
    await tiny.client.request("BREW", "/nowhere")
    await series()
    before = await series()
    for made_up in range(30):
        await tiny.client.get(f"/v1/models/none-{made_up}")
        await tiny.client.get(f"/nowhere/{made_up}")
        await tiny.client.get(f"/v1/models/tiny/versions/{made_up + 50}/classify")
        await tiny.client.post(f"/v1/models/none-{made_up}/classify", content=RED, headers=PNG)
        await tiny.client.post(f"{CLASSIFY}?defence=made-{made_up}", content=RED, headers=PNG)
        await tiny.client.request(f"BREW{made_up}", "/nowhere")
    assert await series() == before


async def test_state_of_the_moment_is_told(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    backend.load = lambda: Load(  # type: ignore[attr-defined]
        backend.batcher.waiting, backend.batcher.running, 8
    )
    async with gateway(tiny_store, backend=backend) as started:
        requests = [asyncio.create_task(started.classify(RED)) for _ in range(3)]
        await model.wait_started(1)
        while backend.batcher.waiting + backend.batcher.running < 3:
            await asyncio.sleep(0.002)
        samples = await figures(started)
        assert value(samples, "holdfast_requests_in_flight") == 4  # this one is the fourth
        assert value(samples, "holdfast_running_images") == backend.batcher.running
        assert value(samples, "holdfast_queue_images") == backend.batcher.waiting
        assert value(samples, "holdfast_queue_limit_images") == 8
        assert value(samples, "holdfast_backend_up", backend="gated") == 1
        assert value(samples, "holdfast_ready") == 1
        model.open()
        await asyncio.gather(*requests)
        started.services.lifecycle.drain()
        samples = await figures(started)
        assert value(samples, "holdfast_requests_in_flight") == 1
        assert (value(samples, "holdfast_ready"), value(samples, "holdfast_backend_up")) == (0, 1)


async def test_caller_that_goes_away_is_counted_as_gone(tiny_store: Path) -> None:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async with gateway(tiny_store) as started:
        await started.call(gone)
        samples = await figures(started)
    assert value(samples, "holdfast_request_duration_seconds_count", status="499") == 1


async def test_process_and_build_are_described(tiny: Gateway) -> None:
    samples = await figures(tiny)
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
        assert value(samples, name) > 0
    assert "holdfast_build_info" in samples
    assert "python_info" in samples


async def test_names_and_units_are_those_that_prometheus_asks_for(tiny: Gateway) -> None:
    await tiny.classify(RED)
    tiny.services.metrics.count_attack("tiny", "1", "pgd", "none", True, 0.5)
    tiny.services.metrics.set_jobs("queued", 2)
    text = (await tiny.client.get("/metrics")).text
    families = [each for each in text_string_to_metric_families(text) if each.name.startswith("holdfast_")]
    assert len(families) > 15
    for family in families:
        assert re.fullmatch(r"holdfast_[a-z][a-z_]*[a-z]", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|millis|milliseconds|kb|mb|percent|count|sum|bucket)$", family.name)
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_images"))
    assert (
        'holdfast_attacks_total{attack="pgd",defence="none",model="tiny",outcome="success",version="1"} 1.0'
        in text
    )
    assert 'holdfast_jobs{state="queued"} 2.0' in text
