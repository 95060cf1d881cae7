"""Where a bundle is put: it is there whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.manifest import NAME_PATTERN, VERSION_PATTERN


def place_of(store: Path, name: str, version: str, *, force: bool) -> Path:
    """The directory of a bundle that is to be written.

    Args:
        store: The model store.
        name: The model's name.
        version: A positive integer as text.
        force: Let it be there already.

    Raises:
        UsageError: The name or the version cannot be used, or the bundle is there already.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"{name!r} is no name of a model.",
            hint="A name is a small letter, then small letters, digits, '_', '.' and '-', 64 at most.",
        )
    if not re.fullmatch(VERSION_PATTERN, version):
        raise UsageError(f"{version!r} is no version: versions are 1, 2, 3, …")
    target = store / name / version
    _check_free(target, force=force)
    return target


def _check_free(target: Path, *, force: bool) -> None:
    if target.exists() and not force:
        raise UsageError(
            f"{target} is there already.", hint="Give another version, or replace it with --force."
        )


@contextmanager
def beside(target: Path, *, force: bool) -> Iterator[Path]:
    """A hidden directory that takes the target's place at the end, and is gone if anything goes wrong."""
    made = [place for place in (target.parent, target.parent.parent) if not place.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    directory = target.parent / f".{target.name}.{os.getpid()}"
    aside = target.parent / f".{target.name}.{os.getpid()}.old"
    try:
        shutil.rmtree(directory, ignore_errors=True)  # of a process of this number that was killed
        directory.mkdir()
        yield directory
        _check_free(target, force=force)  # again: an export takes long enough for another to come first
        if target.exists():
            target.replace(aside)
        directory.replace(target)
    except BaseException:
        if aside.exists() and not target.exists():
            aside.replace(target)
        shutil.rmtree(directory, ignore_errors=True)
        for place in made:
            if not any(place.iterdir()):
                place.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
