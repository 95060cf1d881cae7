"""Running the server: new models without a restart, which version answers, and the way back."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.gated import GatedBackend, GatedModel
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import make_tiny_bundle, solid_png

from holdfast.bundle import CARD, MANIFEST, PREDICT, ModelStore
from holdfast.routing import ROUTING, set_weights
from serving.backends.base import Reload, ReloadUnsupportedError

pytestmark = pytest.mark.anyio

RED = solid_png("red")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that a test may change: tiny 1."""
    make_tiny_bundle(tmp_path / "store")
    return tmp_path / "store"


async def answering(served: Gateway, requests: int = 40, **headers: str) -> Counter[str]:
    """Which versions answer requests that name none."""
    answers = [
        await served.client.post(CLASSIFY, content=RED, headers=PNG | headers) for _ in range(requests)
    ]
    return Counter(answer.json()["version"] for answer in answers)


async def put_routing(served: Gateway, weights: dict[str, int]) -> dict[str, object]:
    answer = await served.client.put("/v1/admin/models/tiny/routing", json={"weights": weights})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_new_version_is_served_after_a_reload_and_not_before(store: Path) -> None:
    async with gateway(store) as served:
        make_tiny_bundle(store, version="2")
        assert await answering(served, 1) == {"1": 1}
        report = (await served.client.post("/v1/admin/reload")).json()
        assert report == {"opened": ["tiny/2"], "kept": ["tiny/1"], "withdrawn": [], "refused": []}
        assert await answering(served, 1) == {"2": 1}
        named = await served.client.post("/v1/models/tiny/versions/1/classify", content=RED, headers=PNG)
        assert named.json()["version"] == "1"


async def test_version_that_is_gone_is_no_longer_served(store: Path) -> None:
    make_tiny_bundle(store, version="2")
    async with gateway(store) as served:
        shutil.rmtree(store / "tiny" / "2")
        report = (await served.client.post("/v1/admin/reload")).json()
        assert (report["withdrawn"], report["kept"]) == (["tiny/2"], ["tiny/1"])
        assert await answering(served, 1) == {"1": 1}
        gone = await served.client.post("/v1/models/tiny/versions/2/classify", content=RED, headers=PNG)
        assert_problem(gone, 404, "unknown-version")


async def test_half_written_bundle_is_refused_and_takes_no_others_place(store: Path) -> None:
    async with gateway(store) as served:
        make_tiny_bundle(store, version="2")
        whole = (store / "tiny" / "2" / PREDICT).read_bytes()
        (store / "tiny" / "2" / PREDICT).write_bytes(whole[: len(whole) // 2])
        (store / "tiny" / "1" / CARD).write_bytes(b"")
        report = (await served.client.post("/v1/admin/reload")).json()
        assert [(each["model"], each["version"]) for each in report["refused"]] == [
            ("tiny", "1"),
            ("tiny", "2"),
        ]
        assert "not those that the manifest describes" in report["refused"][0]["reason"]
        assert str(store) not in str(report)
        assert await answering(served, 1) == {"1": 1}
        (store / "tiny" / "2" / PREDICT).write_bytes(whole)
        assert (await served.client.post("/v1/admin/reload")).json()["opened"] == ["tiny/2"]


async def test_empty_store_is_an_error_and_all_is_served_as_before(store: Path) -> None:
    async with gateway(store) as served:
        (store / "tiny").rename(store.parent / "away")
        answer = await served.client.post("/v1/admin/reload")
        document = assert_problem(answer, 500, "store-unusable")
        assert str(store) not in document["detail"]
        assert await answering(served, 1) == {"1": 1}


async def test_card_that_was_written_anew_is_shown_and_opens_no_model_again(store: Path) -> None:
    from holdfast.bundle import Bundle, describe_files, write_manifest

    async with gateway(store) as served:
        directory = store / "tiny" / "1"
        manifest = Bundle.open(directory).manifest
        (directory / CARD).write_text("# Measured again\n", encoding="utf-8")
        files = describe_files(directory, sorted(manifest.files))
        write_manifest(directory, manifest.model_copy(update={"files": files}))
        assert (await served.client.post("/v1/admin/reload")).json()["kept"] == ["tiny/1"]
        shown = (await served.client.get("/v1/models/tiny")).json()
        assert shown["card"] == "# Measured again\n"


async def test_manifest_that_was_cut_off_is_refused(store: Path) -> None:
    async with gateway(store) as served:
        manifest = store / "tiny" / "1" / MANIFEST
        manifest.write_bytes(manifest.read_bytes()[:100])
        report = (await served.client.post("/v1/admin/reload")).json()
        assert "manifest is damaged" in report["refused"][0]["reason"]
        assert await answering(served, 1) == {"1": 1}


async def test_requests_are_answered_while_the_store_is_looked_at(store: Path) -> None:
    import anyio

    async with gateway(store) as served:
        make_tiny_bundle(store, version="2")
        statuses: list[int] = []

        async def ask() -> None:
            statuses.extend([(await served.classify(RED)).status_code for _ in range(50)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            for _ in range(5):
                assert (await served.client.post("/v1/admin/reload")).status_code == 200
        assert statuses == [200] * 50


async def test_canary_gets_its_share_and_a_rollback_takes_it_back(store: Path) -> None:
    make_tiny_bundle(store, version="2")
    async with gateway(store) as served:
        state = await put_routing(served, {"1": 3, "2": 1})
        assert state == {"model": "tiny", "default": "1", "shares": {"1": 0.75, "2": 0.25}}
        found = await answering(served, 200)
        assert 25 < found["2"] < 75  # 50 expected, with a standard deviation of 6
        (model,) = (await served.client.get("/v1/models")).json()["models"]
        assert (model["default"], model["latest"], model["shares"]) == ("1", "2", {"1": 0.75, "2": 0.25})
        rolled = await served.client.post("/v1/admin/models/tiny/rollback")
        assert rolled.json()["shares"] == {"2": 1.0}
        assert await answering(served, 5) == {"2": 5}


async def test_same_route_key_and_same_request_id_come_to_the_same_version(store: Path) -> None:
    make_tiny_bundle(store, version="2")
    async with gateway(store) as served:
        await put_routing(served, {"1": 1, "2": 1})
        assert len(await answering(served, 10, **{"Holdfast-Route-Key": "alice"})) == 1
        assert len(await answering(served, 10, **{"X-Request-Id": "retried"})) == 1
        assert len(await answering(served, 40)) == 2


async def test_routing_outlives_the_server(store: Path) -> None:
    make_tiny_bundle(store, version="2")
    async with gateway(store) as served:
        await put_routing(served, {"1": 1})
    async with gateway(store) as served:
        assert await answering(served, 3) == {"1": 3}
        assert (await served.client.delete("/v1/admin/models/tiny/routing")).json()["shares"] == {"2": 1.0}
        assert await answering(served, 3) == {"2": 3}


async def test_version_that_is_not_served_gets_no_requests(store: Path) -> None:
    async with gateway(store) as served:
        make_tiny_bundle(store, version="2")  # in the store, and not loaded yet
        answer = await served.client.put("/v1/admin/models/tiny/routing", json={"weights": {"2": 1}})
        assert "Served: 1" in assert_problem(answer, 409, "routing-refused")["detail"]
        assert not (store / "tiny" / ROUTING).exists()


async def test_rollback_of_what_was_never_changed_is_refused(store: Path) -> None:
    async with gateway(store) as served:
        assert_problem(await served.client.post("/v1/admin/models/tiny/rollback"), 409, "routing-refused")
        assert_problem(await served.client.post("/v1/admin/models/huge/rollback"), 404, "unknown-model")


async def test_damaged_routing_is_refused_at_a_reload_and_the_former_one_stays(store: Path) -> None:
    make_tiny_bundle(store, version="2")
    async with gateway(store) as served:
        await put_routing(served, {"1": 1})
        (store / "tiny" / ROUTING).write_text("{")
        assert_problem(await served.client.post("/v1/admin/reload"), 409, "routing-refused")
        assert await answering(served, 3) == {"1": 3}


class Fixed(GatedBackend):
    """Takes its models when it starts, as those do that run elsewhere."""

    async def reload(self) -> Reload:
        """Not here."""
        raise ReloadUnsupportedError("The server takes its models only when it starts.")


async def test_routing_is_followed_at_a_reload_by_a_gateway_whose_models_run_elsewhere(store: Path) -> None:
    make_tiny_bundle(store, version="2")
    models = ModelStore(store)
    async with gateway(store, backend=Fixed(models, GatedModel(open=True))) as served:
        assert await answering(served, 3) == {"2": 3}
        set_weights(models, "tiny", {"1": 1})
        assert await answering(served, 3) == {"2": 3}
        assert_problem(await served.client.post("/v1/admin/reload"), 501, "reload-unsupported")
        assert await answering(served, 3) == {"1": 3}
        (store / "tiny" / ROUTING).write_text("{")
        assert_problem(await served.client.post("/v1/admin/reload"), 409, "routing-refused")
        assert await answering(served, 3) == {"1": 3}


async def test_damaged_routing_at_the_start_ends_it_with_the_file_named(store: Path) -> None:
    (store / "tiny" / ROUTING).write_text("{")
    async with gateway(store) as served:
        assert "routing.json of 'tiny'" in str(served.services.lifecycle.error)
        assert (await served.client.get("/readyz")).status_code == 503


async def test_address_that_takes_several_methods_names_them_all(store: Path) -> None:
    async with gateway(store) as served:
        answer = await served.client.get("/v1/admin/models/tiny/routing")
        assert_problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "DELETE, PUT"


@pytest.mark.parametrize("weights", [{}, {"0": 1}, {"1": True}, {"1": -1}, {"1": 0.5}, {"1": None}])
async def test_weights_that_are_none_are_refused(store: Path, weights: dict[str, object]) -> None:
    async with gateway(store) as served:
        answer = await served.client.put("/v1/admin/models/tiny/routing", json={"weights": weights})
        assert_problem(answer, 422, "invalid-request")


async def test_weights_that_nobody_has_are_refused(store: Path) -> None:
    async with gateway(store) as served:
        answer = await served.client.put("/v1/admin/models/tiny/routing", json={"weights": {"1": 0}})
        assert "nobody would answer" in assert_problem(answer, 409, "routing-refused")["detail"]
