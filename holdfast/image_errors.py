"""What can be wrong with an image that somebody sends.

HoldfastError
└── ImageError
    ├── EmptyImageError          no bytes at all
    ├── TooManyBytesError        more bytes than the limit
    ├── NotAnImageError          bytes that no image format begins with
    ├── UnsupportedFormatError   an image, but of a format that is not accepted
    ├── TooManyPixelsError       more pixels than the limit, by its header
    └── DamagedImageError        an accepted format whose content cannot be decoded
        └── TruncatedImageError  the same, because its end is missing
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class ImageError(HoldfastError):
    """An image cannot be used; the message says why."""


class EmptyImageError(ImageError):
    """There are no bytes."""


class TooManyBytesError(ImageError):
    """There are more bytes than the limit."""


class NotAnImageError(ImageError):
    """The bytes are no image that Holdfast knows of."""


class UnsupportedFormatError(ImageError):
    """The image is of a format that Holdfast does not decode."""


class TooManyPixelsError(ImageError):
    """The image's header claims more pixels than the limit."""


class DamagedImageError(ImageError):
    """The image is of an accepted format, but cannot be decoded."""


class TruncatedImageError(DamagedImageError):
    """The end of the image is missing."""
