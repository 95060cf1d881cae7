"""Data sets from one ``.npz`` file of arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.dataset import Augmentation, Dataset, Split
from training.data.errors import DataError
from training.data.options import Options, find

_REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")
_OPTIONAL = ("class_names", "train_exact", "test_exact")
_HELP = (
    "The file holds train_images, train_labels, test_images and test_labels, and may hold class_names, "
    "train_exact and test_exact. Images are uint8 (n, height, width, channels) or (n, channels, height, "
    "width)."
)


def read(name: str, root: Path, options: Options) -> Dataset:  # noqa: ARG001 (the file says everything)
    """Read ``npz:FILE``; see ``read_file``."""
    path = find(name, root)
    return read_file(path, name=f"npz:{path.name}")


def read_file(path: Path, *, name: str, augmentation: Augmentation | None = None) -> Dataset:
    """Read a data set from an ``.npz`` file; nothing in it is unpickled.

    Keys: ``train_images``, ``train_labels``, ``test_images``, ``test_labels``; optional ``class_names``
    (strings), ``train_exact`` and ``test_exact`` (bool); others are left alone. Images are uint8 in either
    ``(n, height, width, channels)`` or ``(n, channels, height, width)`` with 1 or 3 channels, or grey
    ``(n, height, width)``. Labels are whole numbers from 0.

    Raises:
        DataError: It is no such file, or the arrays are not as above.
    """
    arrays = _open(path)
    splits = {}
    for which in ("train", "test"):
        splits[which] = Split(
            _images(arrays[f"{which}_images"], path, f"{which}_images"),
            _labels(arrays[f"{which}_labels"], path, f"{which}_labels"),
            arrays.get(f"{which}_exact"),
        )
    note = f"Read from {path.name}."
    close = {w: int((~s.exact).sum()) for w, s in splits.items() if s.exact is not None}
    if any(close.values()):
        counts = " and ".join(f"{count} {which}" for which, count in close.items())
        note += f" {counts} images are close copies of the originals, not the originals."
    return Dataset(
        name=name,
        train=splits["train"],
        test=splits["test"],
        classes=_classes(arrays, path),
        augmentation=augmentation or Augmentation(),
        note=note,
    )


def _open(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array, not an .npz of several.", hint=_HELP)
            missing = [key for key in _REQUIRED if key not in file.files]
            if missing:
                raise DataError(f"{path} has no array {missing[0]!r}.", hint=_HELP)
            return {key: file[key] for key in (*_REQUIRED, *_OPTIONAL) if key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {error}", hint=_HELP) from None


def _images(array: npt.NDArray[Any], path: Path, key: str) -> npt.NDArray[np.uint8]:
    what = f"{key} in {path}"
    if array.dtype != np.uint8:
        raise DataError(
            f"{what} is {array.dtype}; images are uint8, 0 to 255.",
            hint="Convert them, e.g. (images * 255).round().astype('uint8') where they lie in [0, 1].",
        )
    if array.ndim == 3:
        return np.ascontiguousarray(array[:, None])
    if array.ndim != 4:
        raise DataError(f"{what} has the shape {array.shape}.", hint=_HELP)
    first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
    if first and last:
        raise DataError(
            f"{what} has the shape {array.shape}: either side could be the channels.",
            hint="Images this narrow are read from a folder of files only: use folder:DIRECTORY.",
        )
    if not first and not last:
        raise DataError(f"{what} has the shape {array.shape}: neither side has 1 or 3 channels.", hint=_HELP)
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2) if last else array)


def _labels(array: npt.NDArray[Any], path: Path, key: str) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{key} in {path} is {array.dtype} {array.shape}; labels are whole numbers (n,), from 0.",
        )
    return array.astype(np.int64)


def _classes(arrays: dict[str, npt.NDArray[Any]], path: Path) -> tuple[str, ...]:
    names = arrays.get("class_names")
    if names is None:
        last = max(int(arrays[key].max(initial=0)) for key in ("train_labels", "test_labels"))
        return tuple(str(label) for label in range(last + 1))
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"class_names in {path} is {names.dtype} {names.shape}; it is text, one per class.")
    return tuple(str(name) for name in names)
