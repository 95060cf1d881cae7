"""A model is found by name, its newest version first."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny import make_tiny_bundle

from holdfast.bundle import ModelStore
from serving.backends.base import UnknownModelError, UnknownVersionError
from serving.backends.catalogue import Catalogue


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    for name, version in (("b", "2"), ("b", "10"), ("a", "1")):
        make_tiny_bundle(tmp_path, name, version)
    return Catalogue(reversed(list(ModelStore(tmp_path))))


def test_models_are_listed_by_name_and_versions_by_age(catalogue: Catalogue) -> None:
    assert catalogue.names() == ["a", "b"]
    assert catalogue.versions("b") == ["2", "10"]
    assert [(bundle.name, bundle.version) for bundle in catalogue.bundles] == [
        ("a", "1"),
        ("b", "2"),
        ("b", "10"),
    ]


def test_newest_version_answers_where_none_is_named(catalogue: Catalogue) -> None:
    assert catalogue.find("b").version == "10"
    assert catalogue.find("b", "2").version == "2"


def test_unknown_model_is_told_which_there_are(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownModelError, match="'c'") as caught:
        catalogue.find("c")
    assert "a, b" in caught.value.hint


def test_unknown_version_is_told_which_there_are(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownVersionError, match="'3'") as caught:
        catalogue.find("b", "3")
    assert "2, 10" in caught.value.hint


def test_weights_choose_among_versions_by_key(catalogue: Catalogue) -> None:
    split = Catalogue(catalogue.bundles, {"b": {"2": 1, "10": 1}})
    assert {split.find("b", key=f"request {number}").version for number in range(50)} == {"2", "10"}
    assert split.find("b", "2", key="request 1").version == "2"
    assert split.shares("b") == {"2": 0.5, "10": 0.5}


def test_heaviest_version_is_the_default(catalogue: Catalogue) -> None:
    assert catalogue.default("b") == "10"
    assert Catalogue(catalogue.bundles, {"b": {"2": 9, "10": 1}}).find("b").version == "2"


def test_weight_of_a_version_that_is_not_served_is_passed_over(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    split = Catalogue(catalogue.bundles, {"b": {"2": 1, "3": 99}, "a": {"7": 1}})
    assert split.shares("b") == {"2": 1.0}
    assert split.shares("a") == {"1": 1.0}
    assert "version 3, which is not served" in caplog.text
