"""CIFAR-10, CIFAR-100, SVHN and MNIST, from the files that torchvision reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np

from holdfast.errors import MissingExtraError
from training.data.arrays import read_file
from training.data.dataset import Augmentation, Dataset, Split
from training.data.errors import DataError
from training.data.options import Options

DIGITS = tuple("0123456789")
_NOTE = "The published files, as torchvision reads them."
CIFAR_AUGMENTATION = Augmentation(crop=4, flip=True)
#: The paper on Feature Scattering crops and flips SVHN too; its code does neither. A mirrored digit is
#: another sign, so it is never flipped here unless asked; `crop=0` gives what the code does.
SVHN_AUGMENTATION = Augmentation(crop=4, flip=False)


def read_cifar10(name: str, root: Path, options: Options) -> Dataset:
    """Read CIFAR-10: 50,000 and 10,000 colour images of 32x32 pixels in 10 classes.

    ``cifar10.npz`` in ``root`` is taken where it is there, else ``cifar-10-batches-py/``.
    """
    file = root / "cifar10.npz"
    if not file.exists():
        return _read_cifar(name, "CIFAR10", root, options, or_else=file)
    dataset = read_file(file, name=name, augmentation=CIFAR_AUGMENTATION)
    if dataset.shape != (3, 32, 32) or len(dataset.classes) != 10:
        raise DataError(
            f"{file} is not CIFAR-10: its images are {dataset.shape} in {len(dataset.classes)} classes, "
            "not (3, 32, 32) in 10.",
            hint=f"Load it as npz:{file}, or move it away.",
        )
    return dataset


def read_cifar100(name: str, root: Path, options: Options) -> Dataset:
    """Read CIFAR-100 with its 100 fine classes from ``cifar-100-python/``."""
    return _read_cifar(name, "CIFAR100", root, options)


def read_svhn(name: str, root: Path, options: Options) -> Dataset:
    """Read the cropped house numbers, 73,257 and 26,032 colour images, from ``{train,test}_32x32.mat``."""
    kind = _torchvision("SVHN", name)
    files = [root / kind.split_list[split][1] for split in ("train", "test")]
    pair = _read_pair(name, files, lambda part: kind(root, split=part, download=options.download), options)
    train, test = (Split(np.ascontiguousarray(part.data), part.labels.astype(np.int64)) for part in pair)
    return Dataset(name, train, test, classes=DIGITS, augmentation=SVHN_AUGMENTATION, note=_NOTE)


def read_mnist(name: str, root: Path, options: Options) -> Dataset:
    """Read MNIST, 60,000 and 10,000 grey images of 28x28 pixels, from ``MNIST/raw/``. It is not augmented."""
    kind = _torchvision("MNIST", name)
    stems = [resource.removesuffix(".gz") for resource, _ in kind.resources]
    files = [root / "MNIST" / "raw" / stem for stem in stems]
    pair = _read_pair(
        name, files, lambda part: kind(root, train=part == "train", download=options.download), options
    )
    train, test = (Split(part.data.numpy()[:, None], part.targets.numpy().astype(np.int64)) for part in pair)
    return Dataset(name, train, test, classes=DIGITS, note=_NOTE)


def _read_cifar(
    name: str, kind_name: str, root: Path, options: Options, or_else: Path | None = None
) -> Dataset:
    kind = _torchvision(kind_name, name)
    listed = [entry for entry, _ in (*kind.train_list, *kind.test_list)] + [kind.meta["filename"]]
    files = [root / kind.base_folder / entry for entry in listed]
    pair = _read_pair(
        name,
        files,
        lambda part: kind(root, train=part == "train", download=options.download),
        options,
        or_else=or_else,
    )
    train, test = (
        Split(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.asarray(part.targets, dtype=np.int64))
        for part in pair
    )
    return Dataset(
        name, train, test, classes=tuple(pair[0].classes), augmentation=CIFAR_AUGMENTATION, note=_NOTE
    )


def _torchvision(kind: str, name: str) -> Any:
    try:
        from torchvision import datasets
    except ModuleNotFoundError:
        raise MissingExtraError("torchvision", "train", f"The data set {name!r}") from None
    return getattr(datasets, kind)


def _read_pair(
    name: str,
    files: list[Path],
    open_part: Callable[[str], Any],
    options: Options,
    or_else: Path | None = None,
) -> list[Any]:
    """Open the training and the test part with torchvision, turning its failures into errors with a fix."""
    if not options.download:
        _check_present(name, files, or_else)
    try:
        with warnings.catch_warnings():
            # The published CIFAR pickles write `align` as a number, which NumPy 2.4 warns about.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            return [open_part("train"), open_part("test")]
    except ModuleNotFoundError as error:
        package = (error.name or "scipy").partition(".")[0]
        raise MissingExtraError(package, "train", f"The data set {name!r}") from None
    except (OSError, EOFError, RuntimeError, ValueError, AssertionError, TypeError, KeyError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            raise DataError(
                f"The data set {name!r} could not be downloaded: {error}",
                hint=f"Fetch it elsewhere and put these files there: {', '.join(missing)}.",
            ) from None
        raise DataError(
            f"The files of {name!r} under {files[0].parent} are damaged: {error}",
            hint="Delete them and fetch them again, with holdfast train RECIPE --download or by hand.",
        ) from None


def _check_present(name: str, files: list[Path], or_else: Path | None) -> None:
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return
    packed = [file for file in missing if file.with_name(file.name + ".gz").is_file()]
    if packed:
        raise DataError(
            f"The files of {name!r} under {packed[0].parent} are still compressed.",
            hint=f"Unpack them with: gunzip --keep {packed[0].parent}/*.gz",
        )
    listed = ", ".join(file.name for file in missing)
    instead = f", and there is no {or_else}" if or_else else ""
    raise DataError(
        f"The data set {name!r} is not there: {listed} missing in {missing[0].parent}{instead}.",
        hint="Point --data-root or HOLDFAST_DATA at the folder that has it, or fetch it with: "
        "holdfast train RECIPE --download. The data set 'digits' needs no files.",
    )
