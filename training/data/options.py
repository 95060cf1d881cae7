"""What a caller may ask of a data set beyond its name, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.errors import DataError

MAX_SIDE = 4096  # the largest height or width that a bundle's manifest allows


@dataclass(frozen=True)
class Options:
    """Checked options; see ``training.data.load`` for what each one means."""

    download: bool = False
    size: tuple[int, int] | None = None
    channels: int | None = None
    test_fraction: float = 0.2
    seed: int = 0

    @classmethod
    def make(
        cls,
        *,
        download: bool,
        size: int | Sequence[int] | None,
        channels: int | None,
        test_fraction: float | None,
        seed: int | None,
    ) -> Options:
        """Check the values and fill in the defaults.

        Raises:
            DataError: A value is out of range.
        """
        both = (size, size) if isinstance(size, int) else size
        if both is not None and (len(both) != 2 or not all(1 <= side <= MAX_SIDE for side in both)):
            raise DataError(f"A size is height and width from 1 to {MAX_SIDE} pixels, not {size!r}.")
        if channels not in (None, 1, 3):
            raise DataError(f"Images have 1 or 3 channels, not {channels!r}.")
        if test_fraction is not None and not 0 < test_fraction < 1:
            raise DataError(f"The test fraction lies between 0 and 1, not at {test_fraction!r}.")
        if seed is not None and seed < 0:
            raise DataError(f"A seed is a whole number, 0 or more, not {seed!r}.")
        return cls(
            download=download,
            size=None if both is None else (both[0], both[1]),
            channels=channels,
            test_fraction=cls.test_fraction if test_fraction is None else test_fraction,
            seed=cls.seed if seed is None else seed,
        )


def find(path: str, root: Path) -> Path:
    """A path as given, or under ``root`` where it is relative and not in the current directory.

    Raises:
        DataError: It is in neither place.
    """
    given = Path(path).expanduser()
    places = list(dict.fromkeys((given, root / given)))
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(str(place) for place in places)
    raise DataError(f"There is no {given.name!r}: looked at {looked}.", hint="Check the path.")
