"""The TorchServe archive: what ``<name>.mar`` holds, and how to open one.

    archive.json           the record: name, version, and the SHA-256 of everything below
    model.pt               TorchScript
    bundle.json            the bundle's manifest: classes, input, figures
    handler.py             what TorchServe runs
    model-config.yaml      how TorchServe runs it
    MAR-INF/MANIFEST.json  what torch-model-archiver adds

A .mar is code: TorchServe imports its handler, and TorchScript is a program. So it is opened here, not by
TorchServe, which would follow a zip's paths and never compares a hash: what is unlisted, changed, or larger
than the record says is refused before any of it is run.

    HoldfastError
    └── ArchiveError    an archive cannot be made or used; the message says which and why
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import Field, ValidationError

from holdfast.bundle import MANIFEST, TORCHSCRIPT, sha256_file
from holdfast.errors import HoldfastError
from holdfast.manifest import NAME_PATTERN, VERSION_PATTERN, FileEntry
from holdfast.record import Record

RECORD = "archive.json"
HANDLER = "handler.py"
SETTINGS = "model-config.yaml"
MAR_MANIFEST = "MAR-INF/MANIFEST.json"

#: What every archive holds besides the record and TorchServe's own manifest.
FILES = (TORCHSCRIPT, MANIFEST, HANDLER, SETTINGS)
#: The record and TorchServe's manifest are read whole before anything is known about them.
MAX_RECORD_BYTES = 64 * 1024
#: Far above any image classifier; a bound all the same.
MAX_FILE_BYTES = 8 * 1024**3

_PACK_AGAIN = "Make it again with: holdfast archive --force"
_CHUNK = 1024 * 1024
#: All that zipfile raises at damage: a version, a flag, a name or an offset that makes no sense.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)


class ArchiveError(HoldfastError):
    """An archive cannot be made or used."""


class WorkerSettings(Record):
    """How TorchServe runs a model: ``model-config.yaml``."""

    workers: Annotated[int, Field(ge=1, le=256, description="Python processes that run the model.")] = 1
    batch_size: Annotated[int, Field(ge=1, le=1024, description="Requests run together at most.")] = 16
    batch_delay: Annotated[int, Field(ge=1, le=10_000, description="Milliseconds to wait for them.")] = 2
    response_timeout: Annotated[
        int, Field(ge=1, le=3600, description="Seconds until a silent worker is killed.")
    ] = 60
    startup_timeout: Annotated[int, Field(ge=1, le=3600, description="Seconds a worker may load.")] = 120

    def to_yaml(self) -> str:
        """The file's text, in TorchServe's names."""
        settings = {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch_size,
            "maxBatchDelay": self.batch_delay,
            "responseTimeout": self.response_timeout,
            "startupTimeout": self.startup_timeout,
            # TorchServe stops restarting a worker that keeps dying after five minutes, and goes on
            # answering that it is healthy. A day outlasts whatever made it die.
            "maxRetryTimeoutInSec": 86_400,
        }
        return "".join(f"{key}: {value}\n" for key, value in settings.items())


class ArchiveRecord(Record):
    """``archive.json``: what the archive was made of."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    weights: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bundle's model.safetensors.")
    ]
    holdfast: Annotated[str, Field(description="The Holdfast that made the archive.")]
    files: dict[str, FileEntry]

    def to_json(self) -> str:
        """The text of ``archive.json``."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


def read_archive(path: Path) -> ArchiveRecord:
    """The record of the .mar at ``path``; nothing else of it is read.

    Raises:
        ArchiveError: It is no archive of Holdfast's, or damaged.
    """
    with _open(path) as archive:
        _check_entries(archive, path)
        return _read_record(archive, path)


def unpack(path: Path, directory: Path) -> ArchiveRecord:
    """Unpack the .mar at ``path`` into the empty ``directory``, as TorchServe wants a model's directory.

    Raises:
        ArchiveError: It is no archive of Holdfast's, damaged, or holds what its record does not list.
    """
    with _open(path) as archive:
        _check_entries(archive, path)
        record = _read_record(archive, path)
        mar_manifest = _read_small(archive, MAR_MANIFEST, path)
        _check_mar_manifest(mar_manifest, record, path)
        (directory / MAR_MANIFEST).parent.mkdir()
        (directory / MAR_MANIFEST).write_bytes(mar_manifest)
        (directory / RECORD).write_text(record.to_json(), encoding="utf-8")
        for name, entry in record.files.items():
            try:
                with archive.open(name) as source, (directory / name).open("xb") as target:
                    _copy(source, target, name, entry, path)
            except _DAMAGE as error:
                raise ArchiveError(f"{path}: {name} is damaged: {error}.", hint=_PACK_AGAIN) from None
    return record


def check_directory(directory: Path, names: Iterable[str] = FILES) -> ArchiveRecord:
    """Compare files of an unpacked archive with its record.

    Args:
        directory: The model's directory.
        names: The files to compare.

    Raises:
        ArchiveError: The record cannot be read, or a file is missing or has changed.
    """
    path = directory / RECORD
    try:
        record = _parse_record(path.read_bytes(), path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}.", hint=_PACK_AGAIN) from None
    for name in names:
        file = directory / name
        if not file.is_file() or sha256_file(file) != record.files[name].sha256:
            raise ArchiveError(f"{file} is not what {RECORD} says it is.", hint=_PACK_AGAIN)
    return record


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveError(f"There is no archive at {path}.", hint="Make it with: holdfast archive") from None
    except _DAMAGE as error:
        raise ArchiveError(f"{path} is no .mar archive: {error}.", hint=_PACK_AGAIN) from None


def _check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    """An archive has exactly the files it must have, each once, each a plain file of a sane size."""
    names = [entry.filename for entry in archive.infolist()]
    expected = {RECORD, MAR_MANIFEST, *FILES}
    if len(names) > len(expected) or set(names) != expected:
        wrong = sorted(set(names) ^ expected)[:3] or ["one file twice"]
        listed = ", ".join(repr(name[:80]) for name in wrong)
        raise ArchiveError(
            f"{path} is no archive of Holdfast's: it has, or lacks, {listed}.",
            hint="Holdfast serves only archives that 'holdfast archive' made.",
        )
    for entry in archive.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG) and entry.compress_type in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        )
        if not plain or entry.flag_bits & 1 or entry.file_size > MAX_FILE_BYTES:
            raise ArchiveError(f"{path}: {entry.filename} is no plain file.", hint=_PACK_AGAIN)


def _read_small(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        with archive.open(name) as file:
            data = file.read(MAX_RECORD_BYTES + 1)
    except _DAMAGE as error:
        raise ArchiveError(f"{path}: {name} is damaged: {error}.", hint=_PACK_AGAIN) from None
    if len(data) > MAX_RECORD_BYTES:
        raise ArchiveError(f"{path}: {name} is larger than {MAX_RECORD_BYTES} bytes.", hint=_PACK_AGAIN)
    return data


def _read_record(archive: zipfile.ZipFile, path: Path) -> ArchiveRecord:
    return _parse_record(_read_small(archive, RECORD, path), path)


def _parse_record(data: bytes, path: Path) -> ArchiveRecord:
    try:
        record = ArchiveRecord.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        raise ArchiveError(f"{path}: {RECORD}: {where}: {first['msg']}.", hint=_PACK_AGAIN) from None
    if set(record.files) != set(FILES):
        raise ArchiveError(f"{path}: {RECORD} does not list {', '.join(FILES)}.", hint=_PACK_AGAIN)
    return record


def _check_mar_manifest(data: bytes, record: ArchiveRecord, path: Path) -> None:
    """TorchServe acts on its own manifest, so it must say what the record says, and no more."""
    try:
        manifest: Any = json.loads(data)
        model = manifest["model"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveError(f"{path}: {MAR_MANIFEST} cannot be read.", hint=_PACK_AGAIN) from None
    if model != expected_model(record) or manifest.get("runtime") != "python":
        raise ArchiveError(f"{path}: {MAR_MANIFEST} does not match {RECORD}.", hint=_PACK_AGAIN)


def expected_model(record: ArchiveRecord) -> dict[str, str]:
    """The ``model`` part of TorchServe's manifest for this archive."""
    return {
        "modelName": record.name,
        "serializedFile": TORCHSCRIPT,
        "handler": HANDLER,
        "modelVersion": record.version,
        "configFile": SETTINGS,
    }


def _copy(source: IO[bytes], target: IO[bytes], name: str, entry: FileEntry, path: Path) -> None:
    """Copy one file, never more than its record allows, and compare its hash."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > entry.size:
            break
        digest.update(chunk)
        target.write(chunk)
    if size != entry.size or digest.hexdigest() != entry.sha256:
        raise ArchiveError(f"{path}: {name} is not what {RECORD} says it is.", hint=_PACK_AGAIN)
