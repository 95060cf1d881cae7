"""What is wrong with a campaign, as a problem for its caller."""

from __future__ import annotations

from holdfast.errors import HoldfastError, UsageError
from serving.gateway.problem_kinds import (
    BAD_ARCHIVE,
    DAMAGED_IMAGE,
    NO_IMAGES,
    TOO_MANY_BYTES,
    TOO_MANY_IMAGES,
    UNKNOWN_DATASET,
    UNUSABLE_CAMPAIGN,
    Kind,
)
from serving.gateway.problems import Problem, invalid_request
from serving.jobs.archives import ArchiveError
from serving.jobs.arrays import ArraysError
from serving.jobs.datasets import UnknownDatasetError
from serving.jobs.intake import BadImage, BadImagesError, NoImagesError
from serving.jobs.limits import TooManyBytesError, TooManyImagesError
from serving.jobs.understanding import ParameterError

_KINDS: tuple[tuple[type[HoldfastError], Kind], ...] = (
    (TooManyImagesError, TOO_MANY_IMAGES),
    (TooManyBytesError, TOO_MANY_BYTES),
    (NoImagesError, NO_IMAGES),
    (UnknownDatasetError, UNKNOWN_DATASET),
    (ArchiveError, BAD_ARCHIVE),
    (ArraysError, BAD_ARCHIVE),
    (UsageError, UNUSABLE_CAMPAIGN),
)


def refusal(error: HoldfastError) -> HoldfastError | Problem:
    """The problem that an error is; the error itself where every route words it alike."""
    if isinstance(error, ParameterError):
        return invalid_request(error.errors)
    if isinstance(error, BadImagesError):
        kind = _kind_of(error.first)
        return Problem(kind, error.message, members={"images": [_bad_image(each) for each in error.bad]})
    found = next((kind for known, kind in _KINDS if isinstance(error, known)), None)
    if found is None:
        return error
    limit = getattr(error, "limit", None)
    members = {} if limit is None else {"limit": limit}
    return Problem(found, f"{error.message} {error.hint}".strip(), members=members)


def _bad_image(bad: BadImage) -> dict[str, object]:
    kind = _kind_of(bad.error)
    return {
        "index": bad.index,
        "type": kind.type,
        "title": kind.title,
        "detail": f"{bad.name}: {bad.error.message} {bad.error.hint}".strip(),
    }


def _kind_of(error: HoldfastError) -> Kind:
    problem = Problem.of(error)
    return DAMAGED_IMAGE if problem is None else problem.kind
