"""What a job is to do, and the files that it needs."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from holdfast_client._calls import plain
from holdfast_client._errors import ConfigurationError, ImageInputError
from holdfast_client._images import ImageInput, encode_image, media_type

#: Whose word counts for what an image is of; see ``jobs.create``.
LabelSource = Literal["auto", "model", "folder", "file", "array"]

#: Files that the server unpacks itself.
_ARCHIVES = (".zip", ".npz")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class ModelChoice:
    """A model under attack, and through which of its defences.

    Attributes:
        model: ``NAME`` or ``NAME/VERSION``.
        defences: Of those that it offers; ``default`` is the first of these.
    """

    model: str
    defences: Sequence[str] = ("default",)


@dataclass(frozen=True)
class AttackChoice:
    """An attack and its parameters.

    >>> AttackChoice("pgd", {"steps": 100, "restarts": 5}, name="pgd-100")

    Attributes:
        attack: Which.
        parameters: By the attack's own schema.
        name: What to call it in the result, where a job has the same attack twice.
        eot: For a model that answers at random: craft on means of so many.
    """

    attack: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    eot: int = 1


@dataclass(frozen=True)
class DatasetChoice:
    """Images of a data set that the server has: ``count`` of them, from ``first`` on."""

    name: str
    first: int = 0
    count: int | None = None


#: What is sent: each file's name, and the file.
_Files = list[tuple[str, IO[bytes]]]

ModelGiven = str | ModelChoice
AttackGiven = str | AttackChoice


def campaign(
    *,
    models: ModelGiven | Sequence[ModelGiven],
    attacks: AttackGiven | Sequence[AttackGiven],
    parameters: Mapping[str, Any] | None,
    dataset: str | DatasetChoice | None,
    labels: LabelSource | Sequence[int | str],
    layout: str,
    float_images: bool,
    name: str,
) -> dict[str, Any]:
    """A campaign as the server reads it."""
    chosen: dict[str, Any] = {
        "models": [_model(each) for each in _several(models)],
        "attacks": [_attack(each) for each in _several(attacks)],
        "labels": labels if isinstance(labels, str) else [plain(each) for each in labels],
    }
    optional = {
        "parameters": plain(parameters or {}),
        "dataset": dataset if isinstance(dataset, str) or dataset is None else _without_none(vars(dataset)),
        "layout": "" if layout == "auto" else layout,
        "float_images": float_images,
        "name": name,
    }
    return {**chosen, **{member: value for member, value in optional.items() if value}}


@contextmanager
def opened(
    images: Iterable[ImageInput] | ImageInput | None,
) -> Generator[_Files, None, None]:
    """The files of a campaign, open as long as the context is: archives as they are, images in one archive.

    Args:
        images: A folder, an archive, an image, or several of them in any mixture. An image may be a pair of
            a name and the image.

    Raises:
        ImageInputError: One of them cannot be used.
    """
    with ExitStack() as stack:
        files: _Files = []
        loose: IO[bytes] | None = None
        packed: zipfile.ZipFile | None = None
        names: set[str] = set()
        for number, (name, image) in enumerate(_each(images)):
            if isinstance(image, (str, os.PathLike)) and Path(image).suffix.lower() in _ARCHIVES:
                files.append((Path(image).name, stack.enter_context(_open(Path(image)))))
                continue
            content = encode_image(image)
            if content[:4] == b"PK\x03\x04":
                files.append((f"{number:06}.zip", stack.enter_context(io.BytesIO(content))))
                continue
            if packed is None:
                loose = stack.enter_context(tempfile.TemporaryFile())
                packed = stack.enter_context(zipfile.ZipFile(loose, "w"))
                files.append(("images.zip", loose))
            # Without the time of day, so that the same images are the same request to an Idempotency-Key.
            packed.writestr(zipfile.ZipInfo(_distinct(name, number, content, names)), content)
        if packed is not None and loose is not None:
            packed.close()
            loose.seek(0)
        yield files


def _each(images: Iterable[ImageInput] | ImageInput | None) -> Iterator[tuple[str, ImageInput]]:
    """Images with their names, folders unfolded."""
    if images is None:
        return
    single = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(images, "read")
    if single or (hasattr(images, "shape") and getattr(images, "ndim", 0) < 4) or hasattr(images, "save"):
        images = [images]
    several: Any = images
    for image in several:  # an array of four dimensions gives its images one by one
        if isinstance(image, tuple):
            name, content = image
            yield str(name), content
        elif isinstance(image, (str, os.PathLike)):
            yield from _unfolded(Path(image))
        else:
            yield "", image


def _unfolded(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield f"{path.absolute().parent.name}/{path.name}".lstrip("/"), path
        return
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES and each.is_file())
    if not found:
        raise ImageInputError(f"There is no PNG, JPEG or WebP file in {path}.")
    for each in found:
        yield each.relative_to(path).as_posix(), each


def _distinct(name: str, number: int, content: bytes, taken: set[str]) -> str:
    """A name for an archive: of its own, inside, and with the suffix that the content has."""
    parts = [part for part in name.replace("\\", "/").split("/") if part.strip(". ")]
    wanted = "/".join(parts) or f"image-{number:06}"
    if Path(wanted).suffix.lower() not in _SUFFIXES:
        subtype = media_type(content).rpartition("/")[2]
        wanted += f".{subtype}" if f".{subtype}" in _SUFFIXES else ".png"
    if wanted in taken:
        folder, slash, last = wanted.rpartition("/")
        wanted = f"{folder}{slash}{number:06}-{last}"
    taken.add(wanted)
    return wanted


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise ImageInputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _several(given: Any) -> list[Any]:
    chosen = [given] if isinstance(given, (str, ModelChoice, AttackChoice)) else list(given)
    if not chosen:
        raise ConfigurationError("A job needs a model and an attack.")
    return chosen


def _model(given: ModelGiven) -> Any:
    return given if isinstance(given, str) else {"model": given.model, "defences": list(given.defences)}


def _attack(given: AttackGiven) -> Any:
    if isinstance(given, str):
        return given
    return plain(_without_none({**vars(given), "eot": given.eot if given.eot > 1 else None}))


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
