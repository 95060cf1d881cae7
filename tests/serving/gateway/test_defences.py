"""Defences over HTTP: what the caller asks for, what is answered, and what the metrics say of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from support.defended import EPSILON
from support.digits import digit_pngs
from support.gateway import PNG, Gateway, assert_problem, gateway

from holdfast.bundle import DEFENDED, ModelStore
from holdfast.images import decode
from holdfast.probabilities import probabilities
from holdfast.sessions import open_session

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def defended(defended_store: Path) -> AsyncIterator[Gateway]:
    async with gateway(defended_store) as started:
        yield started


async def ask(defended: Gateway, model: str, png: bytes, query: str = "") -> dict[str, object]:
    response = await defended.client.post(f"/v1/models/{model}/classify{query}", content=png, headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


@pytest.mark.parametrize(
    ("query", "defence"),
    [
        ("", "none"),
        ("?defence=default", "none"),
        ("?defence=imt", "imt"),
        ("?defence=imt%2B", "imt+"),
        ("?defence=imt+", "imt+"),  # in an address, a bare + is a space
    ],
)
async def test_the_defence_that_is_asked_for_is_the_one_that_answers(
    defended: Gateway, defended_store: Path, query: str, defence: str
) -> None:
    bundle = ModelStore(defended_store).open("judged")
    [png] = digit_pngs(1)
    answer = await ask(defended, "judged", png, query)
    session = open_session(bundle, DEFENDED[defence], threads=1)  # type: ignore[index]
    image = decode(png, bundle.manifest.input)[None]
    found = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"images": image}), strict=True)
    )
    assert bundle.manifest.calibration is not None
    assert bundle.manifest.manifold is not None
    expected = probabilities(found["logits"], bundle.manifest.calibration.temperature)[0]
    [prediction] = answer["predictions"]  # type: ignore[misc]
    assert answer["defence"] == defence
    assert prediction["probability"] == pytest.approx(expected.max(), abs=1e-4)
    evidence = prediction["manifold"]
    assert evidence["score"] == pytest.approx(float(found["manifold"][0]), abs=1e-5)
    assert evidence["verdict"] == bundle.manifest.manifold.verdict(float(found["manifold"][0]))
    if defence == "none":
        assert "moved" not in evidence
    else:
        assert evidence["moved"] in (pytest.approx(EPSILON), pytest.approx(EPSILON / 2))


async def test_a_defence_that_the_model_does_not_offer_is_refused_with_those_that_it_does(
    defended: Gateway,
) -> None:
    response = await defended.client.post(
        "/v1/models/centred/classify?defence=imt", content=digit_pngs(1)[0], headers=PNG
    )
    problem = assert_problem(response, 422, "defence-not-offered")
    assert problem["offered"] == ["none"]


async def test_class_centres_are_evidence_over_http_too(defended: Gateway) -> None:
    [prediction] = (await ask(defended, "centred", digit_pngs(1)[0]))["predictions"]  # type: ignore[misc]
    evidence = prediction["manifold"]
    assert evidence["evidence"] == "centre"
    assert -1 <= evidence["score"] <= 1


async def test_verdicts_are_counted_by_model_and_defence(defended: Gateway) -> None:
    def counted(text: str) -> float:
        lines = [line for line in text.splitlines() if line.startswith("holdfast_manifold_verdicts_total{")]
        chosen = [line for line in lines if 'defence="imt"' in line and 'model="judged"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in chosen)

    async def monitored() -> list[int]:
        models = (await defended.client.get("/v1/monitor")).json()["models"]
        totals = [each["total"] for each in models if (each["model"], each["defence"]) == ("judged", "imt")]
        names = ("images", "natural", "uncertain", "suspect", "unjudged")
        return [sum(total[name] for total in totals) for name in names]

    before, (images, *verdicts, _) = counted((await defended.client.get("/metrics")).text), await monitored()
    for png in digit_pngs(3):
        await ask(defended, "judged", png, "?defence=imt")
    assert counted((await defended.client.get("/metrics")).text) == before + 3
    now, *judged, unjudged = await monitored()
    assert (now, sum(judged), unjudged) == (images + 3, sum(verdicts) + 3, 0)


async def test_a_model_tells_its_thresholds_and_its_step(defended: Gateway, defended_store: Path) -> None:
    manifest = ModelStore(defended_store).open("judged").manifest
    detail = (await defended.client.get("/v1/models/judged")).json()
    assert manifest.manifold is not None
    assert detail["manifold"]["suspect"] == manifest.manifold.suspect
    assert detail["imt"]["epsilon"] == pytest.approx(EPSILON)
    assert detail["defences"] == ["none", "imt", "imt+"]
    assert np.isfinite(detail["calibration"]["temperature"])
