"""From a data set's name to its arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data import arrays, digits, folder, published
from training.data.dataset import Augmentation, Dataset
from training.data.errors import DataError
from training.data.options import Options


@dataclass(frozen=True)
class _Source:
    """How a name is read, and which of the options it understands."""

    read: Callable[[str, Path, Options], Dataset]
    options: frozenset[str] = frozenset()


_NAMED = {
    "cifar10": _Source(published.read_cifar10, frozenset({"download"})),
    "cifar100": _Source(published.read_cifar100, frozenset({"download"})),
    "svhn": _Source(published.read_svhn, frozenset({"download"})),
    "mnist": _Source(published.read_mnist, frozenset({"download"})),
    "digits": _Source(digits.read, frozenset({"test_fraction", "seed"})),
}
_PATHS = {
    "npz": _Source(arrays.read),
    "folder": _Source(folder.read, frozenset({"size", "channels", "test_fraction", "seed"})),
}


def names() -> list[str]:
    """Every name ``load`` takes, as help and errors list them."""
    return [*_NAMED, *(f"{scheme}:PATH" for scheme in _PATHS)]


def default_root() -> Path:
    """Where data sets are looked for: the environment variable ``HOLDFAST_DATA``, else ``./data``."""
    return Path(os.environ.get("HOLDFAST_DATA") or "data")


def load(
    name: str,
    root: Path | str | None = None,
    *,
    download: bool = False,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    seed: int | None = None,
    crop: int | None = None,
    flip: bool | None = None,
) -> Dataset:
    """Read a data set into memory.

    Args:
        name: ``cifar10``, ``cifar100``, ``svhn``, ``mnist``, ``digits``, ``npz:FILE`` or
            ``folder:DIRECTORY``. A relative path is looked for in the current directory, then under ``root``.
        root: Where the named sets' files lie; ``default_root()`` where it is None. For ``cifar10`` a
            ``cifar10.npz`` there is read before torchvision's own files.
        download: Let torchvision fetch a named set that is not there. Nothing is fetched without it.
        size: ``folder``: height and width to resize to, or one number for both. By default the size that all
            images share.
        channels: ``folder``: 1 for grey or 3 for colour. By default 1 where every image is grey, else 3.
        test_fraction: ``folder`` without a ready split, and ``digits``: the share of each class that is held
            out, 0.2 by default.
        seed: The same sets: which images are held out, 0 by default. The split is the same on every machine.
        crop: Padding of the random crop in pixels, instead of the set's own.
        flip: Whether images are mirrored in training, instead of the set's own rule.

    Raises:
        DataError: There is no such set, its files are missing or damaged, or an option does not apply to it.
    """
    scheme, colon, path = name.partition(":")
    source = _PATHS.get(scheme) if colon else _NAMED.get(name)
    if source is None or (colon and not path):
        raise DataError(f"There is no data set {name!r}.", hint=f"Choose one of: {', '.join(names())}.")
    given = {"size": size, "channels": channels, "test_fraction": test_fraction, "seed": seed}
    unused = [key for key, value in given.items() if value is not None and key not in source.options]
    if unused:
        raise DataError(
            f"The data set {name!r} does not take the option {unused[0]!r}.",
            hint=f"It takes: {', '.join(sorted(source.options | {'crop', 'flip'}))}.",
        )
    options = Options.make(
        download=download, size=size, channels=channels, test_fraction=test_fraction, seed=seed
    )
    where = default_root() if root is None else Path(root)
    dataset = source.read(path if colon else name, where.expanduser(), options)
    if crop is None and flip is None:
        return dataset
    own = dataset.augmentation
    changed = Augmentation(own.crop if crop is None else crop, own.flip if flip is None else flip)
    return replace(dataset, augmentation=changed)
