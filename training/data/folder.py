"""Data sets from a folder of image files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from holdfast.image_errors import ImageError
from holdfast.image_header import ImageLimits, read_header
from holdfast.images import decode
from holdfast.manifest import InputSpec
from training.data.dataset import Dataset, Split
from training.data.errors import DataError
from training.data.options import MAX_SIDE, Options, find
from training.data.splitting import split_by_class

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_LAYOUT = (
    "Lay the images out as train/<class>/*.png and test/<class>/*.png, or as <class>/*.png to have the "
    f"split made here. Files ending in {', '.join(SUFFIXES)} are read."
)
#: Files that someone trains on are theirs: these bounds only keep a stray file from taking the machine down.
_LIMITS = ImageLimits(max_bytes=2**30, max_pixels=80_000_000)


@dataclass(frozen=True)
class _File:
    path: Path
    class_name: str


@dataclass(frozen=True)
class _Layout:
    """The files of a data set; ``test`` is empty where the split is still to be made."""

    train: list[_File]
    test: list[_File]
    left_out: int
    classes: tuple[str, ...]


def read(name: str, root: Path, options: Options) -> Dataset:
    """Read ``folder:DIRECTORY``.

    Two layouts are understood. With ``train/`` and ``test/`` (or ``val/``) inside, each holds one folder for
    each class. Otherwise the directory itself holds one folder for each class, and a share of each class
    (``test_fraction``) is held out, chosen by ``seed``. Classes are in order of their names, images in order
    of their paths. Images deeper in a class's folder count; hidden files and other kinds of file do not.

    Images are decoded and resized by the rule that serving follows (``holdfast.images.decode``), then rounded
    to 8 bits. Nothing is augmented unless ``load`` is told so: what may be flipped only the caller knows.

    Raises:
        DataError: The layout is neither, a file is not an image, or the images need a ``size`` to be given.
    """
    path = find(name, root)
    if not path.is_dir():
        raise DataError(f"{path} is a file, not a folder of images.", hint=_LAYOUT)
    layout = _look(path)
    files = [*layout.train, *layout.test]
    sizes = [_size(file.path) for file in _progress(files, f"Looking through {path.name}")]
    spec = _spec(path, sizes, options)
    _check_memory(path, len(files), spec)
    parts = [part for part in (layout.train, layout.test) if part]
    splits = [_decode(part, layout.classes, spec, f"Reading {path.name}") for part in parts]
    if options.channels is None and all(_is_grey(split.images) for split in splits):
        splits = [Split(np.ascontiguousarray(split.images[:, :1]), split.labels) for split in splits]
    resized = sum(size != (spec.height, spec.width) for size in sizes)
    note = f"Read from the folder {path.name}; {resized} of {len(files)} images were resized."
    if layout.left_out:
        note += f" {layout.left_out} files of other kinds were left out."
    if not layout.test:
        kept, held_out = split_by_class(splits[0].labels, options.test_fraction, options.seed)
        splits = [splits[0].take(kept), splits[0].take(held_out)]
        note += f" Split here, by class: {options.test_fraction:g} held out, seed {options.seed}."
    return Dataset(f"folder:{path.name}", splits[0], splits[1], classes=layout.classes, note=note)


def _look(path: Path) -> _Layout:
    """Find out which of the two layouts a directory has, and list its files."""
    ready = next((path / part for part in ("test", "val") if (path / part).is_dir()), None)
    if ready is None or not (path / "train").is_dir():  # a class may be called `train`
        train, left_out = _list(path)
        return _Layout(train, [], left_out, _classes(path, train))
    train, left_out = _list(path / "train")
    test, also_left_out = _list(ready)
    classes = _classes(path / "train", train)
    unknown = sorted({file.class_name for file in test} - set(classes))
    if unknown:
        raise DataError(f"{ready} has a class {unknown[0]!r} that {path / 'train'} has not.", hint=_LAYOUT)
    if not test:
        raise DataError(f"{ready} holds no class folder.", hint=_LAYOUT)
    return _Layout(train, test, left_out + also_left_out, classes)


def _classes(path: Path, files: list[_File]) -> tuple[str, ...]:
    names = tuple(sorted({file.class_name for file in files}))
    if len(names) < 2:
        raise DataError(f"{path} has {len(names)} class folders; two or more are needed.", hint=_LAYOUT)
    return names


def _list(path: Path) -> tuple[list[_File], int]:
    """The image files under each class's folder, and how many other files were left out."""
    files, left_out = [], 0
    for folder in _sorted(path.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        visible = [
            file
            for file in _sorted(folder.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        ]
        images = [_File(file, folder.name) for file in visible if file.suffix.lower() in SUFFIXES]
        if not images:
            raise DataError(f"The class folder {folder} holds no image.", hint=_LAYOUT)
        files += images
        left_out += len(visible) - len(images)
    return files, left_out


def _sorted(paths: Iterable[Path]) -> list[Path]:
    """Paths in the order of their text, which is the same on every machine; Path's own order is not."""
    return sorted(paths, key=lambda path: path.as_posix())


def _size(path: Path) -> tuple[int, int]:
    """An image's height and width as it is shown, from its header alone."""
    try:
        header = read_header(path.read_bytes(), _LIMITS)
    except (ImageError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="Repair or remove it.") from None
    # EXIF orientations 5 to 8 lie on their side.
    return (header.width, header.height) if header.orientation >= 5 else (header.height, header.width)


def _spec(path: Path, sizes: list[tuple[int, int]], options: Options) -> InputSpec:
    if options.size is None and len(set(sizes)) > 1:
        low, high = min(sizes), max(sizes)
        raise DataError(
            f"The images in {path} differ in size, e.g. {low[0]}x{low[1]} and {high[0]}x{high[1]} "
            "(height x width).",
            hint="Say to which size to bring them: size=64, in a recipe dataset.options.size.",
        )
    height, width = options.size or sizes[0]
    if max(height, width) > MAX_SIDE:
        raise DataError(
            f"The images in {path} have {height}x{width} pixels; a model takes at most {MAX_SIDE} a side.",
            hint="Say to which size to bring them: size=224, in a recipe dataset.options.size.",
        )
    # Without word from the caller they are read in colour, and kept in grey if none has any.
    return InputSpec(channels=1 if options.channels == 1 else 3, height=height, width=width)


def _is_grey(images: npt.NDArray[np.uint8]) -> bool:
    return all(bool((images[:, 0] == images[:, channel]).all()) for channel in (1, 2))


def _check_memory(path: Path, count: int, spec: InputSpec) -> None:
    """Refuse before the machine starts to swap: the whole set is held in memory."""
    if not hasattr(os, "sysconf"):
        return
    needed = count * spec.channels * spec.height * spec.width
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise DataError(
            f"{path} takes {needed / 2**30:.1f} GiB as {count} images of {spec.height}x{spec.width}, and "
            f"this machine has {there / 2**30:.1f} GiB of memory.",
            hint="Choose a smaller size, or a part of the images.",
        )


def _decode(files: list[_File], classes: tuple[str, ...], spec: InputSpec, what: str) -> Split:
    images: npt.NDArray[np.uint8] = np.empty((len(files), *spec.shape), dtype=np.uint8)
    for index, file in enumerate(_progress(files, what)):
        try:
            images[index] = np.rint(decode(file.path.read_bytes(), spec, _LIMITS) * 255)
        except (ImageError, OSError) as error:
            raise DataError(f"{file.path} cannot be read: {error}", hint="Repair or remove it.") from None
    positions = {name: label for label, name in enumerate(classes)}
    return Split(images, np.array([positions[file.class_name] for file in files], dtype=np.int64))


def _progress(files: list[_File], what: str) -> Iterable[_File]:
    """The files, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    return track(
        files,
        description=what,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
