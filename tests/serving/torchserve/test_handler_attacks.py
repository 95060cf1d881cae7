"""The handler in a worker for attacks: what it is ordered, it does as the engine would, by autograd."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.defended import last_digits

from holdfast import npy
from holdfast.archive import unpack
from holdfast.attacking import remote
from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.bundle import Bundle, ModelStore
from holdfast.manifest import Defence
from serving.torchserve import handler as module
from serving.torchserve.handler import HoldfastHandler

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves the file with its version open
    from ts.context import Context, RequestProcessor


@pytest.fixture(scope="module", params=["judged", "centred"])
def bundle(request: pytest.FixtureRequest, defended_store: Path) -> Bundle:
    return ModelStore(defended_store).open(request.param)


@pytest.fixture(scope="module")
def directory(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.archive import archive

    target = tmp_path_factory.mktemp("model")
    unpack(archive(bundle, tmp_path_factory.mktemp("archive")), target)
    return target


def context(name: str, directory: Path, **headers: str) -> Context:
    made = Context(name, str(directory), {}, 1, None, "0.12.0")
    made.request_ids = {0: "id"}
    made.request_processor = [RequestProcessor({"explain": "False", **headers})]
    return made


@pytest.fixture(scope="module")
def attacker(bundle: Bundle, directory: Path) -> HoldfastHandler:
    made = HoldfastHandler()
    with pytest.MonkeyPatch.context() as patch:
        nice: list[int] = []
        patch.setattr(os, "nice", nice.append)  # it would be for good
        made.initialize(context(f"{bundle.name}{remote.SUFFIX}", directory))
        assert nice == [module.NICENESS]
    return made


def order(
    attacker: HoldfastHandler, directory: Path, images: np.ndarray, defence: str = "none", **asked: Any
) -> tuple[int, dict[str, Any]]:
    """The status and the answer."""
    text = remote.RemoteOrder(**{"seconds": 60, **asked}).model_dump_json()
    headers = {remote.HEADER: text, "X-Holdfast-Defence": defence}
    made = context("x", directory, **headers)
    [answer] = attacker.handle([{"body": bytearray(npy.encode(images))}], made)
    return made.get_response_status(0)[0], json.loads(answer)


def test_an_attack_by_autograd_is_the_attack_on_the_graphs(
    attacker: HoldfastHandler, directory: Path, bundle: Bundle
) -> None:
    images, _ = last_digits(12)
    parameters = PGDParameters(epsilon=0.1, steps=5, seed=2)
    losses = ["ce", "ftc"] if bundle.name == "centred" else ["ce", "ce+manifold"]
    for loss, defence in [(losses[0], d) for d in bundle.manifest.defences] + [
        (losses[1], bundle.manifest.defences[-1])
    ]:
        chosen = parameters.model_copy(update={"loss": loss})
        status, answer = order(
            attacker, directory, images, defence, attack="pgd", parameters=chosen.model_dump(mode="json")
        )
        assert status == 200, answer
        assert answer["defence"] == defence
        found = remote.unpack(answer["attacked"])
        oracle = open_oracle(bundle, defence, threads=1)
        expected = attack(oracle, images, oracle.logits(images).argmax(1), chosen)
        # A gradient that is 0 but for rounding has anybody's sign, so an image or two may go another way.
        same = np.isclose(found.result.images, expected.images, atol=1e-5).all(axis=(1, 2, 3))
        assert same.mean() > 0.7, (loss, defence, same)
        np.testing.assert_array_equal(found.result.success[same], expected.success[same])
        np.testing.assert_array_equal(found.labels, oracle.logits(images).argmax(1))
        assert found.result.backwards > 0


def test_a_model_is_measured(attacker: HoldfastHandler, directory: Path, bundle: Bundle) -> None:
    status, answer = order(attacker, directory, last_digits(1)[0])
    assert status == 200
    assert remote.read_speed(answer).gradient > 0
    assert answer["weights"] == bundle.manifest.files["model.safetensors"].sha256


def test_an_order_that_runs_out_of_time_says_how_far_it_was(
    attacker: HoldfastHandler, directory: Path
) -> None:
    parameters = {"steps": 10_000, "stop_at_success": False}
    _, answer = order(
        attacker, directory, last_digits(1)[0], attack="pgd", parameters=parameters, seconds=0.2
    )
    done, total = answer["stopped"]
    assert done < total == 10_000


@pytest.mark.parametrize(
    ("asked", "defence"),
    [({"attack": "zap"}, "none"), ({"attack": "pgd"}, "zap"), ({"attack": "pgd", "labels": [1, 2]}, "none")],
)
def test_an_order_that_cannot_be_carried_out_is_refused(
    attacker: HoldfastHandler, directory: Path, asked: dict[str, Any], defence: Defence
) -> None:
    status, problem = order(attacker, directory, last_digits(1)[0], defence, **asked)
    assert status == 400
    assert problem["detail"]


def test_it_classifies_too(attacker: HoldfastHandler, directory: Path) -> None:
    made = context("x", directory)
    [answer] = attacker.handle([{"body": bytearray(npy.encode(last_digits(2)[0]))}], made)
    assert len(json.loads(answer)["logits"]) == 2


def test_a_worker_that_classifies_attacks_nothing(bundle: Bundle, directory: Path) -> None:
    made = HoldfastHandler()
    made.initialize(context(bundle.name, directory))
    status, problem = order(made, directory, last_digits(1)[0], attack="pgd")
    assert status == 400
    assert f"{bundle.name}{remote.SUFFIX}" in problem["detail"]
