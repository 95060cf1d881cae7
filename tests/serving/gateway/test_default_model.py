"""The model that is named first: the operator's, or the most robust of those that compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gateway import gateway
from support.tiny import make_tiny_bundle

from holdfast.bundle import Bundle, write_manifest
from holdfast.manifest import Manifest

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three models of one data set and one of another, on which more of them holds."""
    for name, accuracy, dataset in (
        ("a", 0.3, "colours"),
        ("b", 0.4, "colours"),
        ("c", None, "colours"),
        ("d", 0.9, "digits"),
    ):
        root = make_tiny_bundle(tmp_path, name)
        write_manifest(root, measured(Bundle.open(root).manifest, accuracy, dataset))
    return tmp_path


def measured(manifest: Manifest, accuracy: float | None, dataset: str) -> Manifest:
    """The manifest with that accuracy under attack, or none."""
    content = manifest.model_dump()
    content["dataset"]["name"] = dataset
    for evaluation in content["evaluations"]:
        evaluation["figures"] = [
            figure | ({} if figure["attack"] is None else {"accuracy": accuracy})
            for figure in evaluation["figures"]
            if figure["attack"] is None or accuracy is not None
        ]
    return Manifest.model_validate(content)


async def named_first(store: Path, **settings: str) -> str:
    async with gateway(store, **settings) as served:
        default: str = (await served.client.get("/v1/models")).json()["default"]
        return default


async def test_most_robust_model_of_the_usual_data_set_is_named_first(store: Path) -> None:
    assert await named_first(store) == "b"


async def test_operator_may_name_another(store: Path) -> None:
    assert await named_first(store, default_model="d") == "d"


async def test_name_that_is_not_served_ends_the_start(store: Path) -> None:
    async with gateway(store, default_model="x") as served:
        assert "There is no model 'x'" in str(served.services.lifecycle.error)


async def test_default_that_is_withdrawn_gives_way(store: Path) -> None:
    async with gateway(store, default_model="d") as served:
        (store / "d").rename(store / ".d")
        assert (await served.client.post("/v1/admin/reload")).json()["withdrawn"] == ["d/1"]
        assert (await served.client.get("/v1/models")).json()["default"] == "b"
