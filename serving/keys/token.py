"""What a key looks like: ``holdfast_<id>_<secret><checksum>``.

The id is public: it is what lists and logs show, and what a key is looked up by. The secret has 256 random
bits. The checksum finds what was mistyped or cut off before anything is hashed, and lets whatever searches
for leaked secrets know one for certain.
"""

from __future__ import annotations

import re
import secrets
import zlib
from dataclasses import dataclass, field

_PREFIX = "holdfast"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_ID_BITS, _ID_LENGTH = 60, 11
_SECRET_BITS, _SECRET_LENGTH = 256, 43
_CHECKSUM_LENGTH = 6

_TOKEN = re.compile(
    rf"{_PREFIX}_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})"
    rf"([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A key as its holder has it.

    Attributes:
        id: Its public part.
        secret: What only the holder knows.
    """

    id: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Token:
        """A new one that nobody can guess."""
        return cls(
            _base62(secrets.randbits(_ID_BITS), _ID_LENGTH),
            _base62(secrets.randbits(_SECRET_BITS), _SECRET_LENGTH),
        )

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """Read a key; ``None`` if this is none, or not a whole one."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        token = cls(match[1], match[2])
        return token if token._checksum() == match[3] else None

    def reveal(self) -> str:
        """The key in full, to be shown once."""
        return f"{self._unchecked()}{self._checksum()}"

    def _unchecked(self) -> str:
        return f"{_PREFIX}_{self.id}_{self.secret}"

    def _checksum(self) -> str:
        return _base62(zlib.crc32(self._unchecked().encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
