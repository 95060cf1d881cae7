"""Which class an image is of: what the attack is to move the model away from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from holdfast.attacking.parameters import class_index, class_list
from holdfast.errors import UsageError
from holdfast.image_files import ImageFile
from holdfast.manifest import Manifest

_NUMBERED = re.compile(r"[ _-]?\d+$")


def label_all(text: str, manifest: Manifest) -> int:
    """The class that ``--label`` names.

    Raises:
        UsageError: There is none.
    """
    index = class_index(text, manifest)
    if index is None:
        raise UsageError(f"--label: there is no class {text!r}.", hint=class_list(manifest))
    return index


def label_by_name(
    files: Sequence[ImageFile], source: Literal["folder", "file"], manifest: Manifest
) -> list[int]:
    """The class that each file's folder, or the file itself, is named after.

    A file may have a number behind the class: ``ship.png``, ``ship-12.png``, ``ship_0012.png``.

    Raises:
        UsageError: A name is that of no class.
    """
    labels = []
    for file in files:
        name = _name(file.path, source)
        index = class_index(name, manifest)
        if index is None and source == "file":
            index = class_index(_NUMBERED.sub("", name), manifest)
        if index is None:
            raise UsageError(
                f"{file}: the {source}'s name, {name!r}, is that of no class.", hint=class_list(manifest)
            )
        labels.append(index)
    return labels


def _name(path: Path, source: Literal["folder", "file"]) -> str:
    return path.stem if source == "file" else path.absolute().parent.name
