"""What another process is asked to attack, and what it answers, goes over the wire and back unchanged."""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.attacking import remote
from holdfast.attacking.execution import Attacked, execute
from holdfast.attacks import AutoAttackParameters, FABParameters, PGDParameters
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
from holdfast.errors import UsageError


@pytest.fixture
def oracle(tiny_bundle: Path) -> OnnxOracle:
    return OnnxOracle(Bundle.open(tiny_bundle), threads=1)


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, 8, 8), dtype=np.float32)


def there_and_back(attacked: Attacked) -> Attacked:
    return remote.unpack(json.loads(json.dumps(remote.pack(attacked))))


@pytest.mark.parametrize(
    "parameters",
    [
        PGDParameters(epsilon=0.02, steps=3),
        PGDParameters(epsilon=0.02, steps=3, target=1),
        FABParameters(steps=2),
        AutoAttackParameters(epsilon=0.01, steps=2, query_budget=5),
    ],
    ids=lambda parameters: type(parameters).__name__,
)
def test_a_result_comes_back_as_it_was(oracle: OnnxOracle, parameters: Any) -> None:
    attacked = execute(oracle, images(), None, parameters, trace=4)
    found = there_and_back(attacked)
    for field in fields(attacked.result):
        ours, theirs = getattr(attacked.result, field.name), getattr(found.result, field.name)
        np.testing.assert_array_equal(theirs, ours)
        assert type(theirs) is type(ours)
    np.testing.assert_array_equal(found.labels, attacked.labels)
    assert attacked.trace is not None
    assert found.trace is not None
    assert (found.trace.queries, found.trace.every) == (attacked.trace.queries, attacked.trace.every)
    for ours, theirs in zip(attacked.trace.iterates, found.trace.iterates, strict=True):
        assert (theirs.query, theirs.loss) == (ours.query, ours.loss)
        np.testing.assert_array_equal(theirs.image, ours.image)
        np.testing.assert_array_equal(theirs.logits, ours.logits)


def test_an_order_is_carried_out_as_the_attack_itself_would_be(oracle: OnnxOracle) -> None:
    parameters = PGDParameters(epsilon=0.02, steps=3, seed=5)
    order = remote.RemoteOrder(
        attack="pgd", parameters=parameters.model_dump(mode="json"), labels=[0, 1, 2], seconds=60
    )
    text = order.model_dump_json()
    content = remote.carry_out(oracle, images(), remote.parse_order(text))
    expected = execute(oracle, images(), np.array([0, 1, 2]), parameters)
    np.testing.assert_array_equal(remote.unpack(content["attacked"]).result.images, expected.result.images)


def test_an_order_stops_when_its_time_is_over(oracle: OnnxOracle) -> None:
    order = remote.RemoteOrder(
        attack="pgd",
        parameters={"epsilon": 0.0001, "steps": 10_000, "restarts": 1000, "stop_at_success": False},
        seconds=0.2,
    )
    done, total = remote.carry_out(oracle, images(), order)["stopped"]
    assert 0 < done < total == 10_000_000


def test_a_model_is_measured(oracle: OnnxOracle) -> None:
    speed = remote.read_speed(remote.carry_out(oracle, images(1), remote.RemoteOrder(seconds=60)))
    assert 0 < speed.forward < 1
    assert 0 < speed.gradient < 1
    assert speed.batch_size == 1


def test_what_the_model_has_not_got_is_said(oracle: OnnxOracle) -> None:
    order = remote.RemoteOrder(attack="pgd", parameters={"loss": "so"}, seconds=60)
    assert "'so'" in remote.carry_out(oracle, images(), order)["not_applicable"]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"seconds": 0}', '{"seconds": 1, "trace": -1}', '{"seconds":1,"x":1}']
)
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        remote.parse_order(text)


@pytest.mark.parametrize(
    ("attack", "parameters"), [("zap", {}), ("pgd", {"steps": 0}), ("pgd", {"target": 9})]
)
def test_an_order_that_cannot_be_carried_out_is_refused(
    oracle: OnnxOracle, attack: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        remote.carry_out(
            oracle, images(), remote.RemoteOrder(attack=attack, parameters=parameters, seconds=60)
        )


def test_what_is_no_answer_is_refused(oracle: OnnxOracle) -> None:
    packed = remote.pack(execute(oracle, images(), None, PGDParameters(steps=1)))
    objects = BytesIO()
    np.savez(objects, images=np.array([{}], dtype=object))
    for broken in (
        {},
        {**packed, "arrays": "%%%"},
        {**packed, "arrays": base64.b64encode(b"hello").decode()},
        {**packed, "arrays": base64.b64encode(objects.getvalue()).decode()},
        {**packed, "flags": [1]},
        {name: value for name, value in packed.items() if name != "seed"},
    ):
        with pytest.raises(remote.RemoteAnswerError):
            remote.unpack(broken)
    for speed in ({}, {"speed": 1}, {"speed": {"forward": "x", "gradient": 1, "batch_size": 1}}):
        with pytest.raises(remote.RemoteAnswerError):
            remote.read_speed(speed)
