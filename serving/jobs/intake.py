"""From what was uploaded, or from a data set, to the images of a campaign."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from holdfast.errors import HoldfastError, UsageError
from holdfast.image_files import SUFFIXES
from holdfast.images import ImageError, ImageLimits, decode
from holdfast.manifest import InputSpec
from serving.jobs.archives import Archive, ArchiveError, is_zip
from serving.jobs.arrays import ArraysError, Layout, read_header, read_items
from serving.jobs.limits import Limits, TooManyBytesError, TooManyImagesError
from serving.jobs.plan import Item

#: Entries of an archive that are no images: folders, and what operating systems add.
_SLACK = 1000

#: Bad images that are named one by one.
_MOST_NAMED = 100


#: Called between two images: an error that it raises ends what is being done. There may be very many images,
#: and whoever waits for them may have gone.
GoOn = Callable[[], None]


@dataclass(frozen=True)
class Upload:
    """A file of a request.

    Attributes:
        name: As the caller calls it.
        file: Its bytes.
    """

    name: str
    file: IO[bytes]


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used.

    Attributes:
        index: Its place.
        name: Its name.
        error: Why not.
    """

    index: int
    name: str
    error: HoldfastError


class NoImagesError(UsageError):
    """There is nothing to attack."""


class BadImagesError(UsageError):
    """Some images cannot be used, so none is attacked.

    Args:
        bad: Those.
        images: How many there are in all.
    """

    def __init__(self, bad: Sequence[BadImage], images: int) -> None:
        first = bad[0]
        more = f" {len(bad) - 1} more of the images cannot be used." if len(bad) > 1 else ""
        super().__init__(
            f"{first.name} (image {first.index + 1} of {images}): {first.error.message}{more} "
            "Nothing of this request was taken on."
        )
        self.first = first.error
        self.bad = bad[:_MOST_NAMED]


def read_uploads(uploads: Sequence[Upload], limits: Limits, layout: Layout, go_on: GoOn) -> list[Item]:
    """The images in files, in the order in which they came: single images, zip files, array files.

    Raises:
        UsageError: There are too many, or too large ones.
        ArchiveError, ArraysError: A file cannot be read.
        Exception: What ``go_on`` raises.
    """
    items: list[Item] = []
    held = 0
    for upload in uploads:
        for item in _unpack(upload, limits, layout):
            go_on()
            held += len(item.content)
            items.append(item)
            if len(items) > limits.images:
                raise TooManyImagesError(limits.images)
            if held > limits.bytes:
                raise TooManyBytesError(limits.bytes)
    return _with_distinct_names(items)


def check_images(items: Sequence[Item], specs: Iterable[InputSpec], limits: ImageLimits, go_on: GoOn) -> None:
    """Decode every image once, for what cannot be used to be refused now.

    Raises:
        NoImagesError: There are none.
        BadImagesError: Some cannot be decoded.
        UsageError: Exact arrays are not of a model's size.
        Exception: What ``go_on`` raises.
    """
    if not items:
        raise NoImagesError("The request has no image in it.")
    specs = list(dict.fromkeys(specs))
    bad = []
    for index, item in enumerate(items):
        go_on()
        if item.exact:
            for spec in specs:
                if len(item.content) != 4 * spec.channels * spec.height * spec.width:
                    raise UsageError(
                        f"{item.name}: float images are attacked as they are, and one of the models takes "
                        f"{spec.channels}x{spec.height}x{spec.width}, which this is not.",
                        hint="Send uint8 images or files, which are scaled.",
                    )
            continue
        try:
            decode(item.content, specs[0], limits)
        except ImageError as error:
            bad.append(BadImage(index, item.name, error))
    if bad:
        raise BadImagesError(bad, len(items))


def _unpack(upload: Upload, limits: Limits, layout: Layout) -> Iterator[Item]:
    if not is_zip(upload.file):
        yield Item(_clean(upload.name), upload.file.read(limits.image.max_bytes + 1))
        return
    archive = Archive(upload.file, most_entries=limits.images + _SLACK, most_bytes=limits.bytes)
    if any(name.endswith(".npy") for name in archive.names):
        try:
            header = read_header(archive, layout)
            if header.count > limits.images:
                raise TooManyImagesError(limits.images)
            yield from read_items(archive, header, most_bytes=limits.bytes)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
            raise ArraysError(f"The array file {_clean(upload.name)} is damaged.") from None
        return
    for name, content in archive.entries(limits.image.max_bytes):
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            raise ArchiveError(
                f"The zip file holds '{name[:200]}', which is no PNG, JPEG or WebP file.",
                hint="Pack the images alone; archives in archives are not unpacked.",
            )
        yield Item(name, content)


def _with_distinct_names(items: list[Item]) -> list[Item]:
    """The same images, a number put before the names of those that share one."""
    names = Counter(item.name for item in items)
    if len(names) == len(items):
        return items
    return [
        Item(f"{number:06}-{item.name}" if names[item.name] > 1 else item.name, *_rest(item))
        for number, item in enumerate(items)
    ]


def _rest(item: Item) -> tuple[bytes, bool, str | None]:
    return item.content, item.exact, item.label


def _clean(name: str) -> str:
    """A file's name without folders and without what no name should have in it."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(character if character.isprintable() else "_" for character in last)
    return kept[:200] or "image"
