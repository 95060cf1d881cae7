"""Which of the forms of an answer the caller likes best (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.gateway.problem_kinds import NOT_ACCEPTABLE
from serving.gateway.problems import Problem


@dataclass(frozen=True)
class _Range:
    """One part of an Accept header, such as ``image/*;q=0.8``."""

    type: str
    subtype: str
    quality: float

    def matches(self, media_type: str) -> bool:
        kind, _, subtype = media_type.partition("/")
        return self.type in ("*", kind) and self.subtype in ("*", subtype)

    @property
    def precision(self) -> int:
        return (self.type != "*") + (self.subtype != "*")


def choose_media_type(accept: str | None, offered: Sequence[str]) -> str:
    """The media type to answer with.

    Of those that the caller likes equally, it is the one that is named more precisely, then the first that is
    offered.

    Args:
        accept: The request's Accept header; without one, the first that is offered.
        offered: What there is, the usual one first.

    Raises:
        Problem: The caller wants none of them.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [found for part in accept.split(",") if (found := _parse(part)) is not None]
    liked = []
    for place, media_type in enumerate(offered):
        best = max((each for each in ranges if each.matches(media_type)), key=_precision, default=None)
        if best is not None and best.quality > 0:
            liked.append((-best.quality, -best.precision, place))
    if not liked:
        raise Problem(
            NOT_ACCEPTABLE,
            f"The answer can be {' or '.join(offered)}, and the Accept header takes none of them.",
            members={"offered": list(offered)},
        )
    return offered[min(liked)[2]]


def _precision(each: _Range) -> int:
    return each.precision


def _parse(part: str) -> _Range | None:
    """One part of the header; ``None`` for what is none, which is passed over."""
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    kind, slash, subtype = media_type.partition("/")
    if not slash or not kind or not subtype or (kind == "*" and subtype != "*"):
        return None
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                return None
            if quality != quality:  # not a number
                return None
    return _Range(kind, subtype, quality)
