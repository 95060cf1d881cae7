"""The images of one run of a job, each beside what the attack made of it, a page at a time.

Nothing is kept for it: the images are those that came with the job, decoded again as the model was shown
them. What the database has of a chunk is read when its turn comes: a page of any job fits into memory.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image

from holdfast.attacking.record import ImageResult, Outcome
from holdfast.images import ImageError, ImageLimits, decode, encode_png
from holdfast.manifest import InputSpec
from serving.jobs.database import Database, explained
from serving.jobs.errors import UnknownRunError
from serving.jobs.kept import unpack_images, unpack_record
from serving.jobs.tables import chunks, images, results, runs
from serving.jobs.views import JobImage


@dataclass(frozen=True)
class Wanted:
    """Which images are asked for.

    Attributes:
        run: The run, by its place in the job.
        outcomes: Those that came to one of these; none for all.
        first: How many of them to leave out at the beginning.
        count: How many at most.
    """

    run: int
    outcomes: Sequence[Outcome]
    first: int
    count: int


@dataclass(frozen=True)
class _Share:
    """What one chunk has of a page: of its images that match, so many after so many; the first's place."""

    chunk: int
    place: int
    skip: int
    take: int


@dataclass(frozen=True)
class Page:
    """A page that was found.

    Attributes:
        job: The job's id.
        run: The run's row.
        wanted: What was asked for.
        total: How many images match.
        shares: Where those of this page are.
    """

    job: str
    run: sa.Row[Any]
    wanted: Wanted
    total: int
    shares: Sequence[_Share]

    @property
    def more(self) -> int | None:
        """Where the next page begins, if there is one."""
        end = self.wanted.first + self.wanted.count
        return end if end < self.total else None


class Gallery:
    """Reads images and what came of them.

    Args:
        database: Prepared.
        limits: Under which images are decoded; those under which they were accepted, or wider.
    """

    def __init__(self, database: Database, limits: ImageLimits) -> None:
        self._database = database
        self._limits = limits

    def find(self, job: str, wanted: Wanted) -> Page:
        """Find a page; of a job that runs, in what is finished.

        Raises:
            UnknownRunError: The job has no such run.
        """
        with explained(), self._database.read() as connection:
            found = connection.execute(sa.select(runs).where(runs.c.job == job).order_by(runs.c.run)).all()
            if wanted.run >= len(found):
                raise UnknownRunError(
                    f"Job {job} has no run {wanted.run}.",
                    hint=f"It has {len(found)}, and the first is run 0; GET /v1/jobs/{job} lists them.",
                )
            done = connection.execute(
                sa.select(chunks)
                .where(chunks.c.job == job, chunks.c.run == found[wanted.run].run, chunks.c.state == "done")
                .order_by(chunks.c.first)
            ).all()
        shares, total = [], 0
        for chunk in done:
            matching = _matching(chunk, wanted.outcomes)
            skip = max(0, wanted.first - total)
            take = min(matching, wanted.first + wanted.count - total) - skip
            if take > 0:
                shares.append(_Share(chunk.chunk, chunk.first, skip, take))
            total += matching
        return Page(job, found[wanted.run], wanted, total, shares)

    def read(self, page: Page, spec: InputSpec | None) -> Iterator[JobImage]:
        """The images of a page, those left out that were deleted meanwhile.

        Args:
            page: Which.
            spec: What the model takes; where it is not served any more, an adversarial image says it.
        """
        for share in page.shares:
            kept = self._kept(page.job, share.chunk)
            if kept is None:
                continue
            record, zipped = kept
            matching = [
                (share.place + offset, result)
                for offset, result in enumerate(unpack_record(record).results)
                if not page.wanted.outcomes or result.outcome in page.wanted.outcomes
            ]
            shown = matching[share.skip : share.skip + share.take]
            wanted = {place for place, _ in shown}
            pictures = {}
            for name, content in unpack_images(zipped):
                if name.endswith(".png"):
                    spec = spec or _spec_of(content)
                    if (place := int(name.partition("-")[0])) in wanted:
                        pictures[place] = content
            for place, result in shown:
                original = self._original(page.job, place, spec)
                yield _image(place, result, original, pictures.get(place))

    def _kept(self, job: str, chunk: int) -> tuple[bytes, bytes] | None:
        """What is kept of a chunk: its record and its adversarial images."""
        with explained(), self._database.read() as connection:
            row = connection.execute(
                sa.select(results.c.record, results.c.pictures).where(
                    results.c.job == job, results.c.chunk == chunk
                )
            ).one_or_none()
        return None if row is None else (bytes(row.record), bytes(row.pictures))

    def _original(self, job: str, place: int, spec: InputSpec | None) -> bytes | None:
        """An image as the model was shown it, in 8 bits."""
        with explained(), self._database.read() as connection:
            row = connection.execute(
                sa.select(images.c.exact, images.c.content).where(
                    images.c.job == job, images.c.image == place
                )
            ).one_or_none()
        if row is None or spec is None:
            return None
        try:
            if row.exact:
                return encode_png(np.frombuffer(row.content, dtype=np.float32).reshape(spec.shape))
            return encode_png(decode(bytes(row.content), spec, self._limits))
        except (ImageError, ValueError):  # the model of this name is another one by now, or the limits are
            return None


def _matching(chunk: sa.Row[Any], outcomes: Sequence[Outcome]) -> int:
    """How many images of a chunk that is done came to one of these."""
    counts: dict[Outcome, int] = {
        "fooled": chunk.fooled,
        "wrong before": chunk.wrong_before,
        "held": chunk.count - chunk.fooled - chunk.wrong_before,
    }
    return sum(counts[outcome] for outcome in set(outcomes) or counts)


def _spec_of(png: bytes) -> InputSpec:
    """The input of the model that an adversarial image was made for."""
    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        return InputSpec(channels=1 if image.mode == "L" else 3, height=image.height, width=image.width)


def _image(place: int, result: ImageResult, original: bytes | None, adversarial: bytes | None) -> JobImage:
    return JobImage(
        index=place,
        image=result.image,
        label=result.label,
        target=result.target,
        outcome=result.outcome,
        survives_rounding=result.survives_rounding,
        before=result.before,
        after=result.after,
        linf=result.reached.linf,
        l2=result.reached.l2,
        original=_base64(original),
        adversarial=_base64(adversarial),
    )


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()
