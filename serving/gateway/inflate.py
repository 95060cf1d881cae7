"""Unpacking a compressed body piece by piece, so that no bomb is ever unpacked further than it is wanted."""

from __future__ import annotations

import zlib

from serving.gateway.problem_kinds import MALFORMED_BODY
from serving.gateway.problems import Problem

#: The most that is unpacked at a time, in bytes.
PIECE = 64 * 1024

#: What Content-Encoding may be, and how zlib calls it; x-gzip by RFC 9110, section 8.4.1.3.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW = -15

ENCODINGS = ("gzip", "deflate")


class Inflater:
    """Unpacks gzip (of one member or several), or deflate (with zlib's header, or as some send it, without).

    Args:
        encoding: The body's Content-Encoding; see :meth:`knows`.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._input = b""
        self._begun = False
        self._full = False

    @staticmethod
    def knows(encoding: str) -> bool:
        """Whether a Content-Encoding can be unpacked."""
        return encoding in _WINDOW_BITS

    def feed(self, packed: bytes) -> None:
        """Take more of what is packed."""
        self._input += packed

    def take(self) -> bytes:
        """Up to :data:`PIECE` bytes of what is unpacked; none where more must be fed first.

        Raises:
            Problem: It is not packed so.
        """
        while self._input or self._full:
            if self._stream.eof:
                self._next_member()
            piece = self._inflate()
            if piece:
                return piece
            if not self._stream.eof:
                break
        return b""

    def finish(self) -> None:
        """See to it that what was packed came to its end.

        Raises:
            Problem: It is cut off.
        """
        if not self._stream.eof:
            raise Problem(MALFORMED_BODY, f"The {self._encoding} body breaks off before its end.")

    def _inflate(self) -> bytes:
        packed = self._input
        try:
            piece = self._stream.decompress(packed, PIECE)
        except zlib.error:
            if self._begun or self._encoding != "deflate":
                raise self._not_so() from None
            # RFC 9110, section 8.4.1.2: some send deflate without the zlib header that belongs to it.
            self._stream = zlib.decompressobj(_RAW)
            try:
                piece = self._stream.decompress(packed, PIECE)
            except zlib.error:
                raise self._not_so() from None
        self._begun = self._begun or bool(piece)
        self._full = len(piece) == PIECE and not self._stream.eof
        self._input = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return piece

    def _next_member(self) -> None:
        if self._encoding == "deflate":
            raise self._not_so()
        self._stream = zlib.decompressobj(_WINDOW_BITS[self._encoding])

    def _not_so(self) -> Problem:
        return Problem(
            MALFORMED_BODY, f"The body is not {self._encoding}, though its Content-Encoding says so."
        )
