"""Opening a .mar without trusting it."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from holdfast.archive import (
    FILES,
    HANDLER,
    MAR_MANIFEST,
    RECORD,
    SETTINGS,
    ArchiveError,
    ArchiveRecord,
    WorkerSettings,
    check_directory,
    expected_model,
    read_archive,
    unpack,
)
from holdfast.bundle import MANIFEST, TORCHSCRIPT
from holdfast.manifest import FileEntry

CONTENT = {
    TORCHSCRIPT: b"torchscript" * 1000,
    MANIFEST: b"{}",
    HANDLER: b"class Handler: pass",
    SETTINGS: b"minWorkers: 1\n",
}


def record(**changes: object) -> ArchiveRecord:
    files = {
        name: FileEntry(sha256=sha256(data).hexdigest(), size=len(data)) for name, data in CONTENT.items()
    }
    whole = ArchiveRecord(name="tiny", version="1", weights="0" * 64, holdfast="0.1", files=files)
    return whole.model_copy(update=changes)


def parts() -> dict[str, bytes]:
    mar = {"runtime": "python", "model": expected_model(record())}
    return {RECORD: record().to_json().encode(), MAR_MANIFEST: json.dumps(mar).encode(), **CONTENT}


def write(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "unpacked"
    directory.mkdir()
    return directory


def test_a_whole_archive_is_unpacked_and_agrees_with_its_record(tmp_path: Path, target: Path) -> None:
    archive = write(tmp_path / "tiny.mar", parts())
    assert unpack(archive, target) == read_archive(archive) == record()
    assert {path.name for path in target.iterdir()} == {RECORD, "MAR-INF", *FILES}
    for name, data in CONTENT.items():
        assert (target / name).read_bytes() == data
    assert check_directory(target) == record()


def replaced(name: str, data: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: files | {name: data}


def edited(**model: object) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    content = {"runtime": "python", "model": expected_model(record()) | model}
    return replaced(MAR_MANIFEST, json.dumps(content).encode())


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (replaced(TORCHSCRIPT, b"torchscripT" * 1000), "model.pt is not what archive.json says"),
        (replaced(TORCHSCRIPT, b"x"), "model.pt is not what"),
        (replaced(TORCHSCRIPT, b"\0" * 50_000_000), "model.pt is not what"),
        (replaced(HANDLER, b"import os"), "handler.py is not what"),
        (replaced("../outside.py", b"x"), "outside.py"),
        (replaced("/etc/holdfast", b"x"), "holdfast"),
        (replaced("requirements.txt", b"x"), "requirements.txt"),
        (replaced(RECORD, b"{}"), "archive.json"),
        (replaced(RECORD, b"x" * 100_000), "larger than"),
        (replaced(RECORD, record(files={}).to_json().encode()), "does not list"),
        (replaced(MAR_MANIFEST, b"[]"), "cannot be read"),
        (edited(modelName="other"), "does not match"),
        (edited(handler="../../other.py"), "does not match"),
        (edited(configFile="../../other.yaml"), "does not match"),
        (edited(requirementsFile="requirements.txt"), "does not match"),
        (lambda files: {k: v for k, v in files.items() if k != HANDLER}, "lacks, 'handler.py'"),
    ],
)
def test_what_is_unlisted_missing_or_changed_is_refused(
    damage: Callable[[dict[str, bytes]], dict[str, bytes]], complaint: str, tmp_path: Path, target: Path
) -> None:
    archive = write(tmp_path / "tiny.mar", damage(parts()))
    with pytest.raises(ArchiveError, match=complaint):
        unpack(archive, target)
    assert not (tmp_path / "outside.py").exists()
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    assert written < 100_000, "a file that is larger than its record says is not unpacked"


def test_a_symbolic_link_is_refused(tmp_path: Path, target: Path) -> None:
    archive = tmp_path / "tiny.mar"
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in parts().items():
            entry = zipfile.ZipInfo(name)
            kind = stat.S_IFLNK if name == HANDLER else stat.S_IFREG
            entry.external_attr = (kind | 0o644) << 16
            file.writestr(entry, data)
    with pytest.raises(ArchiveError, match=r"handler\.py is no plain file"):
        unpack(archive, target)


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path, target: Path) -> None:
    archive = write(tmp_path / "tiny.mar", parts())
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(HANDLER, CONTENT[HANDLER])
    with pytest.raises(ArchiveError, match="one file twice"):
        unpack(archive, target)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip at all"])
def test_what_is_no_zip_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiny.mar").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"is no \.mar archive"):
        read_archive(tmp_path / "tiny.mar")


def test_a_zip_damaged_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "tiny.mar", parts()).read_bytes()
    refused = 0
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "damaged.mar").write_bytes(damaged)
        target = tmp_path / f"to-{position}"
        target.mkdir()
        try:
            assert unpack(tmp_path / "damaged.mar", target) == record()
            assert check_directory(target) == record(), (
                "a flipped byte that matters to nobody: a date, a flag"
            )
        except ArchiveError:
            refused += 1
    assert refused > len(whole) // 7 // 2


def test_there_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="There is no archive") as caught:
        read_archive(tmp_path / "tiny.mar")
    assert "holdfast archive" in caught.value.hint


@pytest.mark.parametrize("name", FILES)
def test_a_file_changed_after_unpacking_is_noticed(name: str, tmp_path: Path, target: Path) -> None:
    unpack(write(tmp_path / "tiny.mar", parts()), target)
    (target / name).write_bytes(b"changed")
    with pytest.raises(ArchiveError, match=name):
        check_directory(target)
    (target / name).unlink()
    with pytest.raises(ArchiveError, match=name):
        check_directory(target)


def test_settings_are_written_in_torchserves_names() -> None:
    lines = WorkerSettings(workers=3, batch_size=8, batch_delay=5).to_yaml().splitlines()
    assert lines[:4] == ["minWorkers: 3", "maxWorkers: 3", "batchSize: 8", "maxBatchDelay: 5"]
