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
