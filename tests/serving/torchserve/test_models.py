"""Preparing archives for TorchServe."""

from __future__ import annotations

import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from holdfast.archive import HANDLER, RECORD, SETTINGS, ArchiveError, ArchiveRecord, check_directory
from holdfast.bundle import MANIFEST, TORCHSCRIPT
from holdfast.errors import UsageError
from holdfast.manifest import FileEntry
from serving.torchserve import models
from serving.torchserve.models import find_archives, prepare


def rewritten(archive: Path, target: Path, changes: dict[str, bytes]) -> Path:
    """The archive with other files, and a record that vouches for them: what a stranger could send."""
    with zipfile.ZipFile(archive) as source:
        files = {entry.filename: source.read(entry) for entry in source.infolist()} | changes
    record = ArchiveRecord.model_validate_json(files[RECORD])
    entries = {n: FileEntry(sha256=sha256(files[n]).hexdigest(), size=len(files[n])) for n in record.files}
    files[RECORD] = record.model_copy(update={"files": entries}).to_json().encode()
    with zipfile.ZipFile(target, "w") as result:
        for name, data in files.items():
            result.writestr(name, data)
    return target


def test_an_archive_becomes_a_directory_of_its_models_name(archived_store: Path, tmp_path: Path) -> None:
    model = prepare(archived_store / "digits.mar", tmp_path)
    assert (model.record.name, model.manifest.version, model.workers) == ("digits", "1", 1)
    assert model.path == "/predictions/digits/1"
    check_directory(tmp_path / "digits")


def test_the_number_of_workers_can_be_set_without_changing_anything_else(
    archived_store: Path, tmp_path: Path
) -> None:
    assert prepare(archived_store / "digits.mar", tmp_path, workers=3).workers == 3
    lines = (tmp_path / "digits" / SETTINGS).read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["minWorkers: 3", "maxWorkers: 3"]
    assert "maxBatchDelay: 30" in lines
    check_directory(tmp_path / "digits", (TORCHSCRIPT, MANIFEST, HANDLER))


def test_a_handler_that_an_archive_brings_is_never_run(archived_store: Path, tmp_path: Path) -> None:
    strange = rewritten(
        archived_store / "digits.mar", tmp_path / "digits.mar", {HANDLER: b"import os; os.system('reboot')"}
    )
    (tmp_path / "models").mkdir()
    prepare(strange, tmp_path / "models")
    installed = Path(models.__file__).with_name(HANDLER).read_bytes()
    assert (tmp_path / "models" / "digits" / HANDLER).read_bytes() == installed


def test_a_manifest_of_another_model_is_refused(
    archived_store: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    other = (tiny_bundle / MANIFEST).read_bytes()
    mixed = rewritten(archived_store / "digits.mar", tmp_path / "digits.mar", {MANIFEST: other})
    (tmp_path / "models").mkdir()
    with pytest.raises(ArchiveError, match="not of the same model"):
        prepare(mixed, tmp_path / "models")


def test_two_archives_of_one_model_are_refused(archived_store: Path, tmp_path: Path) -> None:
    prepare(archived_store / "digits.mar", tmp_path)
    with pytest.raises(UsageError, match="Two of the archives hold the model 'digits'"):
        prepare(archived_store / "digits.mar", tmp_path)


def test_without_an_archive_the_error_says_how_to_make_one(archived_store: Path, tmp_path: Path) -> None:
    for store in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"no \.mar archive") as caught:
            find_archives(store)
        assert "holdfast archive" in caught.value.hint
    with pytest.raises(UsageError, match=r"archived models there: .*digits") as caught:
        find_archives(archived_store, ["cifar"])
    assert caught.value.hint.endswith("holdfast archive cifar")


def test_archives_are_found_by_name_once_each(archived_store: Path) -> None:
    digits = archived_store / "digits.mar"
    assert digits in find_archives(archived_store)
    assert find_archives(archived_store, ["digits", "digits"]) == [digits]
