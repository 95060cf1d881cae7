"""Data sets that the server has: array files and zip files in a folder."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import HoldfastError, UsageError
from holdfast.image_files import SUFFIXES
from serving.jobs.archives import Archive, ArchiveError
from serving.jobs.arrays import ArraysError, read_header, read_items
from serving.jobs.intake import GoOn
from serving.jobs.limits import Limits, TooManyBytesError, TooManyImagesError
from serving.jobs.plan import Item
from serving.jobs.requests import DatasetChoice
from serving.jobs.views import Dataset

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIXES = (".npz", ".zip")

#: A data set is the operator's own; these bounds are against a slip, not against an attack.
_MOST_ENTRIES = 60_000
_MOST_BYTES = 1 << 40


class UnknownDatasetError(UsageError):
    """The server has no such data set."""


class Datasets:
    """The data sets in a folder.

    Args:
        folder: Where they are; ``None`` for a server that has none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def describe(self) -> list[Dataset]:
        """What there is that can be used, by name."""
        found = []
        for name, path in sorted(self._files().items()):
            try:
                found.append(_describe(name, path))
            except (HoldfastError, OSError, zipfile.BadZipFile, zlib.error, EOFError):
                continue
        return found

    def read(self, choice: DatasetChoice, limits: Limits, go_on: GoOn) -> list[Item]:
        """The images that were chosen.

        Raises:
            UnknownDatasetError: There is no such data set.
            UsageError: It has no such images, or they are too many.
            ArchiveError, ArraysError: It cannot be read.
            Exception: What ``go_on`` raises.
        """
        files = self._files()
        if choice.name not in files:
            raise UnknownDatasetError(
                f"There is no data set '{choice.name[:80]}' here.",
                hint=f"There are: {', '.join(sorted(files)) or 'none'}.",
            )
        try:
            with files[choice.name].open("rb") as file:
                archive = Archive(file, most_entries=_MOST_ENTRIES, most_bytes=_MOST_BYTES)
                items = []
                for item in _read(archive, choice, limits, files[choice.name].suffix):
                    go_on()
                    items.append(item)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
            raise ArchiveError(f"The data set '{choice.name}' cannot be read.") from None
        if sum(len(item.content) for item in items) > limits.bytes:
            raise TooManyBytesError(limits.bytes)
        return items

    def _files(self) -> dict[str, Path]:
        if self._folder is None or not self._folder.is_dir():
            return {}
        return {
            path.stem: path
            for path in sorted(self._folder.iterdir())
            if path.suffix.lower() in _SUFFIXES and _NAME.fullmatch(path.stem) and path.is_file()
        }


def _read(archive: Archive, choice: DatasetChoice, limits: Limits, suffix: str) -> Iterator[Item]:
    if suffix == ".npz":
        header = read_header(archive)
        _check_range(choice, header.count, limits)
        yield from read_items(
            archive, header, first=choice.first, count=choice.count, most_bytes=limits.bytes
        )
        return
    names = _images(archive)
    _check_range(choice, len(names), limits)
    stop = None if choice.count is None else choice.first + choice.count
    for name in names[choice.first : stop]:
        yield Item(name, archive.read(name, limits.image.max_bytes))


def _check_range(choice: DatasetChoice, count: int, limits: Limits) -> None:
    if choice.first >= count or (choice.count is not None and choice.first + choice.count > count):
        raise UsageError(f"The data set '{choice.name}' has {count} images, from 0 to {count - 1}.")
    if (choice.count or count - choice.first) > limits.images:
        raise TooManyImagesError(limits.images)


def _images(archive: Archive) -> list[str]:
    return sorted(name for name in archive.names if Path(name).suffix.lower() in SUFFIXES)


def _describe(name: str, path: Path) -> Dataset:
    with path.open("rb") as file:
        archive = Archive(file, most_entries=_MOST_ENTRIES, most_bytes=_MOST_BYTES)
        if path.suffix == ".npz":
            header = read_header(archive)
            channels, height, width = header.size
            return Dataset(
                name=name,
                images=header.count,
                labels="array" if header.labels else None,
                channels=channels,
                height=height,
                width=width,
                bytes=path.stat().st_size,
            )
        names = _images(archive)
        if not names:
            raise ArraysError("It has no images.")
        foldered = all(Path(each).parent.name for each in names)
        return Dataset(
            name=name, images=len(names), labels="folder" if foldered else None, bytes=path.stat().st_size
        )
