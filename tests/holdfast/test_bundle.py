"""Opening bundles: what is whole opens, and everything else gets its own clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny import make_tiny_bundle

from holdfast.bundle import (
    CARD,
    GRADIENT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PREDICT,
    WEIGHTS,
    Bundle,
    BundleNotFoundError,
    ChangedFileError,
    ManifestError,
    MissingFileError,
    ModelStore,
    SchemaVersionError,
    UnlistedFileError,
    resolve,
    write_manifest,
)
from holdfast.errors import HoldfastError
from holdfast.manifest import SCHEMA_VERSION


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that a test may break."""
    return make_tiny_bundle(tmp_path / "store")


def rewrite(root: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> None:
    """Change the manifest's JSON; with ``seal`` so that its digest is right again."""
    path = root / MANIFEST
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    if seal:
        from holdfast.manifest import Manifest

        write_manifest(root, Manifest.model_validate(content))


# A whole bundle


def test_whole_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert (opened.name, opened.version) == ("tiny", "1")
    assert opened.manifest.input.shape == (3, 8, 8)
    assert opened.path(PREDICT) == bundle / PREDICT


def test_manifest_comes_back_as_it_was_written(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    before = (bundle / MANIFEST).read_bytes()
    write_manifest(bundle, manifest)
    assert (bundle / MANIFEST).read_bytes() == before
    assert Bundle.open(bundle).manifest == manifest


def test_writing_the_manifest_leaves_no_other_file(bundle: Path) -> None:
    assert {entry.name for entry in bundle.iterdir()} == {MANIFEST, PREDICT, GRADIENT, WEIGHTS, CARD}


def test_asking_for_a_file_that_the_bundle_has_not_names_those_that_it_has(bundle: Path) -> None:
    with pytest.raises(MissingFileError, match=r"has no predict_imt.onnx; it has .*predict\.onnx"):
        Bundle.open(bundle).path("predict_imt.onnx")


# Damaged files


@pytest.mark.parametrize("name", [PREDICT, GRADIENT, WEIGHTS, CARD])
def test_one_flipped_bit_is_noticed(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(ChangedFileError, match=rf"{name} has changed: its SHA-256"):
        Bundle.open(bundle)


def test_flipped_bit_is_what_verification_is_for(bundle: Path) -> None:
    content = bytearray((bundle / CARD).read_bytes())
    content[3] ^= 1
    (bundle / CARD).write_bytes(content)
    Bundle.open(bundle, verify=False)


@pytest.mark.parametrize("verify", [True, False])
def test_changed_size_is_noticed_even_without_hashing(bundle: Path, verify: bool) -> None:
    size = (bundle / CARD).stat().st_size
    with (bundle / CARD).open("a") as file:
        file.write("More.\n")
    with pytest.raises(ChangedFileError, match=rf"{CARD} has {size + 6} bytes where {MANIFEST} says {size}"):
        Bundle.open(bundle, verify=verify)


def test_missing_file_is_named(bundle: Path) -> None:
    (bundle / GRADIENT).unlink()
    with pytest.raises(MissingFileError, match=rf"{GRADIENT} is missing") as caught:
        Bundle.open(bundle)
    assert "holdfast export" in caught.value.hint


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "model.pt"])
def test_extra_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_text("?")
    with pytest.raises(UnlistedFileError, match=rf"{name} is not listed"):
        Bundle.open(bundle)


def test_extra_directory_is_named(bundle: Path) -> None:
    (bundle / "more").mkdir()
    with pytest.raises(UnlistedFileError, match="more is not listed"):
        Bundle.open(bundle)


def test_symbolic_link_is_refused_even_to_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    (bundle / CARD).rename(tmp_path / CARD)
    (bundle / CARD).symlink_to(tmp_path / CARD)
    with pytest.raises(ChangedFileError, match="not a regular file"):
        Bundle.open(bundle)


def test_directory_in_a_files_place_is_refused(bundle: Path) -> None:
    (bundle / CARD).unlink()
    (bundle / CARD).mkdir()
    with pytest.raises(ChangedFileError, match="not a regular file"):
        Bundle.open(bundle)


# Damaged manifests


def test_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=f"no {MANIFEST}"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
    ids=["empty", "cut", "binary", "deep", "huge number"],
)
def test_manifest_that_is_not_json_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(ManifestError, match="is not JSON"):
        Bundle.open(bundle)


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"schema_version": "1"}'])
def test_json_that_is_no_manifest_is_refused(bundle: Path, content: str) -> None:
    (bundle / MANIFEST).write_text(content)
    with pytest.raises(ManifestError, match="no schema_version"):
        Bundle.open(bundle)


def test_enormous_manifest_is_not_read(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(ManifestError, match="larger than"):
        Bundle.open(bundle)


def test_newer_schema_asks_for_a_newer_holdfast(bundle: Path) -> None:
    rewrite(bundle, lambda content: content.update(schema_version=SCHEMA_VERSION + 1, unheard_of=True))
    with pytest.raises(SchemaVersionError, match=f"schema version {SCHEMA_VERSION + 1}") as caught:
        Bundle.open(bundle)
    assert "Upgrade" in caught.value.hint


def test_changed_figure_is_noticed(bundle: Path) -> None:
    rewrite(bundle, lambda content: content["evaluations"][0]["figures"][1].update(accuracy=0.99))
    with pytest.raises(ManifestError, match="digest"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda content: content.pop("classes"), "classes"),
        (lambda content: content.update(unheard_of=1), "unheard_of"),
        (lambda content: content.update(classes=["a", "a"]), "differ"),
        (lambda content: content.update(name="../up"), "name"),
        (lambda content: content["input"].update(channels=2), r"input\.channels"),
        (lambda content: content.update(defences=["imt"]), "defences"),
        (lambda content: content["files"].update({"../secret": content["files"][CARD]}), "files"),
        (lambda content: content["files"][CARD].update(sha256="0"), "sha256"),
    ],
)
def test_manifest_that_breaks_the_schema_says_where(
    bundle: Path, change: Callable[[dict[str, Any]], object], where: str
) -> None:
    rewrite(bundle, change)
    with pytest.raises(ManifestError, match=where):
        Bundle.open(bundle)


def test_every_error_has_a_message_and_none_is_a_stack_trace(bundle: Path) -> None:
    (bundle / CARD).unlink()
    with pytest.raises(HoldfastError) as caught:
        Bundle.open(bundle)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


# The store


def test_versions_are_sorted_as_numbers(tmp_path: Path) -> None:
    for version in ("10", "9", "1"):
        make_tiny_bundle(tmp_path, version=version)
    store = ModelStore(tmp_path)
    assert store.versions("tiny") == ["1", "9", "10"]
    assert store.open("tiny").version == "10"
    assert store.open("tiny", "9").version == "9"


def test_what_is_no_bundle_is_passed_over(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path)
    make_tiny_bundle(tmp_path, name="another")
    (tmp_path / "tiny.mar").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny" / "01").mkdir()
    (tmp_path / "tiny" / "latest").mkdir()
    (tmp_path / "tiny" / "2").mkdir()
    store = ModelStore(tmp_path)
    assert store.names() == ["another", "tiny"]
    assert store.versions("tiny") == ["1"]
    assert [(bundle.name, bundle.version) for bundle in store] == [("another", "1"), ("tiny", "1")]


def test_unknown_model_names_those_that_there_are(tiny_store: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no model 'nope'") as caught:
        ModelStore(tiny_store).open("nope")
    assert caught.value.hint == "It has: tiny."


@pytest.mark.parametrize("name", ["../store/tiny", "tiny/1", "", ".", "/etc"])
def test_name_that_is_a_path_leads_nowhere(tiny_store: Path, name: str) -> None:
    with pytest.raises(BundleNotFoundError):
        ModelStore(tiny_store).open(name)


@pytest.mark.parametrize("version", ["2", "01", "../1", ""])
def test_unknown_version_names_those_that_there_are(tiny_store: Path, version: str) -> None:
    with pytest.raises(BundleNotFoundError, match="no version") as caught:
        ModelStore(tiny_store).open("tiny", version)
    assert caught.value.hint == "It has: 1."


def test_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no model store"):
        ModelStore(tmp_path / "nowhere").names()


def test_bundle_in_another_models_place_is_refused(bundle: Path) -> None:
    moved = bundle.parents[1] / "other" / "7"
    moved.parent.mkdir()
    bundle.rename(moved)
    with pytest.raises(ManifestError, match="holds tiny version 1, not other version 7"):
        ModelStore(moved.parents[1]).open("other")


def test_references_are_directories_names_or_names_with_versions(
    tiny_store: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reference in (str(tiny_bundle), "tiny", "tiny/1"):
        assert resolve(reference, tiny_store).root == tiny_bundle
    monkeypatch.chdir(tiny_bundle)
    assert resolve(".", tiny_store).name == "tiny"


@pytest.mark.parametrize("reference", ["./tiny", "/nowhere/tiny", "a/b/c", "tiny/2", "tiny/x", "nope"])
def test_reference_to_nothing_is_refused(tiny_store: Path, reference: str) -> None:
    with pytest.raises(BundleNotFoundError):
        resolve(reference, tiny_store)
