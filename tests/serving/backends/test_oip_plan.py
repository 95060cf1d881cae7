"""How a bundle's model is found at a server of the Open Inference Protocol, and how it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.bundle import Bundle, ModelStore
from holdfast.errors import UsageError
from serving.backends.oip_plan import (
    OtherModelError,
    Remote,
    ServerDescription,
    offer,
    parse_models,
    plan_for,
    remote_of,
)

PLAIN = ServerDescription.of({"name": "mlserver", "version": "1", "extensions": []})
OURS = ServerDescription.of({"extensions": ["binary_tensor_data", "holdfast_defence"]})
PATH = "/v2/models/tiny"
INPUT = {"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 8]}


@pytest.fixture
def bundle(tiny_store: Path) -> Bundle:
    return ModelStore(tiny_store).open("tiny")


def test_a_server_says_what_it_can() -> None:
    assert (PLAIN.binary, PLAIN.defences, PLAIN.gives_no_metadata) == (False, False, False)
    assert (OURS.binary, OURS.defences, OURS.gives_no_metadata) == (True, True, False)
    torchserve = ServerDescription.of({"name": "Torchserve", "extenstion": ["kserve"]})
    assert (torchserve.binary, torchserve.gives_no_metadata) == (False, True)
    assert not ServerDescription.of({"extensions": "none"}).binary


def test_a_model_has_its_bundles_name_and_version_unless_the_setting_says_otherwise(bundle: Bundle) -> None:
    assert remote_of(bundle, "none", {}, PLAIN) == Remote("tiny", ["1", ""], {})
    named = parse_models(["tiny=colours"])
    assert remote_of(bundle, "none", named, PLAIN) == Remote("colours", ["1", ""], {})
    exact = parse_models(["tiny=colours", "tiny/1=shades/7"])
    assert remote_of(bundle, "none", exact, PLAIN) == Remote("shades", ["7"], {})


def test_a_defence_is_a_parameter_of_our_own_servers_and_a_model_of_its_own_elsewhere(bundle: Bundle) -> None:
    assert remote_of(bundle, "imt", {}, PLAIN) is None
    assert remote_of(bundle, "imt", {}, OURS) == Remote("tiny", ["1", ""], {"defence": "imt"})
    for word in ("tiny:imt=tiny_imt", "tiny/1:imt=tiny_imt"):
        for server in (PLAIN, OURS):
            assert remote_of(bundle, "imt", parse_models([word]), server) == Remote("tiny_imt", ["1", ""], {})


@pytest.mark.parametrize("word", ["tiny", "=colours", "tiny=", "tiny=/", "tiny=a/b/c"])
def test_a_setting_that_names_nothing_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="does not say what a server calls a model"):
        parse_models([word])


def test_tensors_have_the_names_that_the_server_gives_them(bundle: Bundle) -> None:
    metadata = {"inputs": [INPUT], "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]}
    plan = plan_for(bundle, PATH, metadata, OURS, {}, "none")
    assert (plan.input, plan.outputs, plan.listed, plan.binary) == ("x", {"logits": "scores"}, True, True)


def test_without_metadata_they_have_our_own(bundle: Bundle) -> None:
    plan = plan_for(bundle, PATH, {}, PLAIN, {}, "none")
    assert (plan.input, plan.outputs, plan.listed) == ("images", {"logits": "logits"}, False)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"inputs": [INPUT, INPUT]}, "takes 2 inputs"),
        ({"inputs": [INPUT | {"datatype": "UINT8"}]}, "takes UINT8"),
        ({"inputs": [INPUT | {"shape": [-1, 3, 32, 32]}]}, "takes FP32 [-1, 3, 8, 8]"),
        ({"inputs": [INPUT | {"shape": [-1, 192]}]}, "takes FP32 [-1, 192]"),
        ({"outputs": [{"name": "a"}, {"name": "b"}]}, "it gives a, b"),
    ],
)
def test_a_model_that_takes_or_gives_something_else_is_another(
    bundle: Bundle, metadata: dict[str, Any], said: str
) -> None:
    with pytest.raises(OtherModelError) as caught:
        plan_for(bundle, PATH, metadata, PLAIN, {}, "none")
    assert said in caught.value.message


@pytest.mark.parametrize("shape", [[-1, 3, 8, 8], [16, 3, 8, 8], [-1, -1, -1, -1], []])
def test_shapes_that_are_left_open_fit(bundle: Bundle, shape: list[int]) -> None:
    plan_for(bundle, PATH, {"inputs": [INPUT | {"shape": shape}]}, PLAIN, {}, "none")


def test_what_the_server_does_not_give_is_not_offered(bundle: Bundle) -> None:
    defended = replace(bundle, manifest=bundle.manifest.model_copy(update={"defences": ["imt", "none"]}))
    plain = plan_for(bundle, PATH, {}, PLAIN, {}, "none")
    offered = offer(defended, {"none": plain})
    assert offered.manifest.defences == ["none"]
    assert offered.manifest.imt is None
    assert bundle.manifest.defences == ["none"], "the store's own manifest is as it was"
