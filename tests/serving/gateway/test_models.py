"""What is served is described as its bundle says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gateway import Gateway, gateway
from support.tiny import make_tiny_bundle

from holdfast.bundle import Bundle
from serving.gateway.schemas import ModelDetail

pytestmark = pytest.mark.anyio


async def test_models_are_listed_with_their_versions(tmp_path: Path) -> None:
    for name, version in (("b", "2"), ("b", "10"), ("a", "1")):
        make_tiny_bundle(tmp_path, name, version)
    async with gateway(tmp_path) as started:
        models = (await started.client.get("/v1/models")).json()["models"]
        newest = (await started.client.get("/v1/models/b")).json()
        older = (await started.client.get("/v1/models/b/versions/2")).json()
    assert [(model["name"], model["versions"], model["latest"]) for model in models] == [
        ("a", ["1"], "1"),
        ("b", ["2", "10"], "10"),
    ]
    assert models[0]["classes"] == 3
    assert models[0]["defences"] == ["none"]
    assert (newest["version"], older["version"]) == ("10", "2")
    assert newest["versions"] == older["versions"] == ["2", "10"]


async def test_model_is_described_with_its_input_classes_figures_and_card(
    tiny: Gateway, tiny_bundle: Path
) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    response = await tiny.client.get("/v1/models/tiny")
    detail = ModelDetail.model_validate_json(response.content)
    assert detail.input == manifest.input
    assert detail.classes == manifest.classes
    assert detail.defences == manifest.defences
    assert detail.evaluations == manifest.evaluations
    assert detail.threat_model == manifest.threat_model
    assert detail.digest == manifest.digest
    assert detail.card == (tiny_bundle / "CARD.md").read_text(encoding="utf-8")
