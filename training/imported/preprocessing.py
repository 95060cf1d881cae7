"""What becomes of an image's values before a network that was trained elsewhere gets to see them."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import UsageError

#: Statistics that people know by name, in [0, 1] units.
_KNOWN = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0,), (1.0,)),
}


@dataclass(frozen=True)
class Preprocessing:
    """(x − mean) / std, of images x in [0, 1].

    Attributes:
        mean: One number for each channel.
        std: One positive number for each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, normalise: str | None, value_range: str | None, channels: int) -> Preprocessing:
        """What ``--normalise`` and ``--input-range`` say together: first the range, then the statistics.

        Args:
            normalise: ``MEAN/STD``, each one number or one for each channel with commas between them, in the
                range's units; or the name of statistics. None for mean 0 and deviation 1.
            value_range: ``LOW..HIGH``, to which [0, 1] is stretched; None for ``0..1``.
            channels: How many there are.

        Raises:
            UsageError: They are of another form, or of another number of channels.
        """
        low, high = _range(value_range)
        mean, std = _statistics(normalise or "none")
        mean, std = _spread(mean, channels), _spread(std, channels)
        # ((x·(high − low) + low) − mean) / std, as one mean and one deviation.
        return cls(
            tuple((value - low) / (high - low) for value in mean),
            tuple(value / (high - low) for value in std),
        )


def _range(text: str | None) -> tuple[float, float]:
    if text is None:
        return 0.0, 1.0
    low, dots, high = text.partition("..")
    try:
        found = float(low), float(high)
    except ValueError:
        dots = ""
    if not dots or found[0] >= found[1]:
        raise UsageError(f"{text!r} is no range of values.", hint="For example: --input-range 0..255")
    return found


def _statistics(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if text in _KNOWN:
        return _KNOWN[text]
    mean, slash, std = text.partition("/")
    try:
        found = tuple(float(part) for part in mean.split(",")), tuple(float(part) for part in std.split(","))
    except ValueError:
        slash = ""
    if not slash or min(found[1]) <= 0:
        raise UsageError(
            f"{text!r} is no mean and deviation.",
            hint="For example: --normalise 0.485,0.456,0.406/0.229,0.224,0.225, or --normalise imagenet",
        )
    return found


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise UsageError(
            f"The normalisation has {len(values)} channels, the images have {channels}.",
            hint="Give one number, or one for each channel.",
        )
    return values
