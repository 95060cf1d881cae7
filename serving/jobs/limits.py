"""How many images, and how large ones, a campaign may have."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import UsageError
from holdfast.images import ImageLimits


@dataclass(frozen=True)
class Limits:
    """What is accepted.

    Attributes:
        image: Of one image.
        images: Images in one campaign.
        bytes: Of all of them, unpacked.
    """

    image: ImageLimits
    images: int
    bytes: int


class TooManyImagesError(UsageError):
    """There are more images than one campaign may have.

    Args:
        limit: How many it may have.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"There are more than the {limit} images that one job may have.",
            hint="Make several jobs of them.",
        )
        self.limit = limit


class TooManyBytesError(UsageError):
    """The images are larger than those of one campaign may be.

    Args:
        limit: How many bytes they may have.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The images have more than the {limit} bytes that one job may have.",
            hint="Make several jobs of them.",
        )
        self.limit = limit
