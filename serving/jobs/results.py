"""What a job came to, put together from what its workers kept.

What came of single images is never held all at once: the largest job there may be by default has 640,000
results, of 4 to 5 KB each. What is said of all of them is gathered chunk by chunk; they themselves are read
again, a chunk at a time, when they are passed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from holdfast.attacking.gathering import Gathering, between
from holdfast.attacking.parameters import Chosen
from holdfast.attacking.record import FlagRecord, ImageResult
from holdfast.attacks import find
from holdfast.interval import wilson
from holdfast.manifest import ThreatModel
from holdfast.version import __version__
from serving.jobs.database import Database, explained
from serving.jobs.errors import JobNotFinishedError
from serving.jobs.kept import unpack_images, unpack_record
from serving.jobs.reading import moment
from serving.jobs.store import FINISHED, unknown
from serving.jobs.tables import chunks, images, jobs, results, runs
from serving.jobs.views import JobResult, RunResult, Share, WorstCase


@dataclass(frozen=True)
class Reading:
    """A job's result but for what came of single images, and where that is.

    Attributes:
        result: Its records have no results of images.
        chunks: For each run the chunks that it is of, in the order of their images.
        fooled_l2: For each run how far the images that were fooled are from the originals, in image units.
    """

    result: JobResult
    chunks: Sequence[Sequence[int]]
    fooled_l2: Sequence[Sequence[float]]


class ResultReader:
    """Puts results together.

    Args:
        database: Prepared.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, job: sa.Row[Any], *, partial: bool) -> Reading:
        """What a job came to; it takes some tens of bytes for each image in each run.

        Args:
            job: Its row.
            partial: Whether what there is of a job that still runs is good enough.

        Raises:
            JobNotFinishedError: It still runs.
            UnknownJobError: It has been deleted meanwhile.
        """
        if job.state not in FINISHED and not partial:
            raise JobNotFinishedError(
                f"Job {job.id} is {job.state}.",
                hint="Follow its events, or ask for ?partial=true, which is what there is so far.",
            )
        known, complete = job.labels != "model", job.done == job.chunks
        with explained(), self._database.read() as connection:
            found = connection.execute(sa.select(runs).where(runs.c.job == job.id).order_by(runs.c.run)).all()
            read = [self._gather(connection, run) for run in found]
            names = _names(connection, job.id) if complete else []
            # All of a job is deleted at once: while it is there, what was read of it is whole.
            kept = connection.execute(sa.select(jobs.c.id).where(jobs.c.id == job.id)).scalar() is not None
        if not kept:
            raise unknown(job.id)
        gatherings = [gathering for gathering, _ in read]
        result = JobResult(
            job=job.id,
            name=job.name,
            state=job.state,
            complete=complete,
            created=moment(job.created),
            finished=moment(job.finished),
            holdfast=__version__,
            labels=job.labels,
            images=job.images,
            runs=[_result(run, each, known=known) for run, each in zip(found, gatherings, strict=True)],
            worst_cases=_worst_cases(found, gatherings, names, known=known) if complete else [],
            flags=_flags_between(found, gatherings) if complete else [],
        )
        return Reading(result, [numbers for _, numbers in read], [each.fooled_l2 for each in gatherings])

    def images(self, reading: Reading, run: int) -> Iterator[Sequence[ImageResult]]:
        """What came of the images of a run, a chunk at a time, in their order.

        Args:
            reading: Of :meth:`read`.
            run: The run, by its place in the job.

        Raises:
            UnknownJobError: The job has been deleted meanwhile: what there was of it is not all.
        """
        job = reading.result.job
        for chunk in reading.chunks[run]:
            with explained(), self._database.read() as connection:
                kept = connection.execute(
                    sa.select(results.c.record).where(results.c.job == job, results.c.chunk == chunk)
                ).scalar()
            if kept is None:
                raise unknown(job)
            yield unpack_record(bytes(kept)).results

    def pictures(self, job: str) -> Iterator[tuple[sa.Row[Any], Iterator[tuple[str, bytes]]]]:
        """The adversarial images, chunk by chunk: the run, and the names and bytes of its files."""
        with explained(), self._database.read() as connection:
            found = {
                run.run: run for run in connection.execute(sa.select(runs).where(runs.c.job == job)).all()
            }
            places = connection.execute(
                sa.select(chunks.c.chunk, chunks.c.run)
                .where(chunks.c.job == job, chunks.c.state == "done")
                .order_by(chunks.c.run, chunks.c.first)
            ).all()
        for place in places:
            with explained(), self._database.read() as connection:
                kept = connection.execute(
                    sa.select(results.c.pictures).where(results.c.job == job, results.c.chunk == place.chunk)
                ).scalar()
            if kept is not None:  # it may be deleted meanwhile
                yield found[place.run], unpack_images(bytes(kept))

    def _gather(self, connection: sa.Connection, run: sa.Row[Any]) -> tuple[Gathering, list[int]]:
        """What a run came to, without the results of its images, and the chunks that it is of."""
        attack = find(run.attack)
        parameters = attack.parameters.model_validate(json.loads(run.parameters))
        gathering = Gathering(Chosen(attack, parameters, eot=run.eot), manifest=None, keep=False)
        numbers = []
        rows = connection.execute(
            sa.select(results.c.chunk, results.c.record)
            .join(chunks, (chunks.c.job == results.c.job) & (chunks.c.chunk == results.c.chunk))
            .where(results.c.job == run.job, chunks.c.run == run.run)
            .order_by(chunks.c.first)
        )
        for row in rows:
            gathering.extend(unpack_record(bytes(row.record)))
            numbers.append(row.chunk)
        return gathering, numbers


def _result(run: sa.Row[Any], gathering: Gathering, *, known: bool) -> RunResult:
    record = gathering.record("option" if known else "model")
    totals = record.totals
    done = totals.images
    return RunResult(
        model=run.model,
        version=run.version,
        digest=run.digest,
        defence=run.defence,
        attack=run.name,
        images_done=done,
        clean_accuracy=_share(done - totals.wrong_before, done) if known else None,
        robust_accuracy=_share(done - sum(gathering.success), done) if run.judged else None,
        record=record,
    )


def _worst_cases(
    found: Sequence[sa.Row[Any]], gatherings: Sequence[Gathering], names: Sequence[str], *, known: bool
) -> list[WorstCase]:
    """For each model and defence, the attacks of the same budget and the same aim, together."""
    groups: dict[tuple[Any, ...], list[tuple[sa.Row[Any], Gathering]]] = {}
    for run, gathering in zip(found, gatherings, strict=True):
        parameters = gathering.chosen.parameters
        if parameters.budget is not None:
            aim = getattr(parameters, "target", None)
            key = (run.model, run.version, run.defence, parameters.budget, aim)
            groups.setdefault(key, []).append((run, gathering))
    return [_worst_case(key, group, names, known=known) for key, group in groups.items() if len(group) > 1]


def _worst_case(
    key: tuple[Any, ...],
    group: Sequence[tuple[sa.Row[Any], Gathering]],
    names: Sequence[str],
    *,
    known: bool,
) -> WorstCase:
    model, version, defence, budget, aim = key
    outcomes = zip(*(gathering.outcomes for _, gathering in group), strict=True)
    wrong = [all(each == "wrong before" for each in row) for row in outcomes]
    broken = [any(row) for row in zip(*(gathering.success for _, gathering in group), strict=True)]
    fooled = sum(bad and not before for bad, before in zip(broken, wrong, strict=True))
    attacked = len(names) - sum(wrong)
    return WorstCase(
        model=model,
        version=version,
        defence=defence,
        attacks=[run.name for run, _ in group],
        budget=ThreatModel(norm=budget[0], epsilon=budget[1]),
        images=len(names),
        wrong_before=sum(wrong),
        fooled=fooled,
        held=attacked - fooled,
        success_rate=fooled / attacked if attacked else None,
        robust_accuracy=_share(len(names) - sum(broken), len(names)) if known and aim is None else None,
        held_images=[
            name for name, bad, before in zip(names, broken, wrong, strict=True) if not bad and not before
        ],
    )


def _flags_between(found: Sequence[sa.Row[Any]], gatherings: Sequence[Gathering]) -> list[FlagRecord]:
    """What only shows between the attacks on one model behind one defence."""
    groups: dict[tuple[str, str, str], list[Gathering]] = {}
    for run, gathering in zip(found, gatherings, strict=True):
        groups.setdefault((run.model, run.version, run.defence), []).append(gathering)
    return [
        FlagRecord(name=flag.name, meaning=f"{model}/{version}, {defence}: {flag.meaning}")
        for (model, version, defence), group in groups.items()
        for flag in between(group)
    ]


def _names(connection: sa.Connection, job: str) -> Sequence[str]:
    """What a job's images are called, in their order."""
    found = sa.select(images.c.name).where(images.c.job == job).order_by(images.c.image)
    return connection.execute(found).scalars().all()


def _share(part: int, whole: int) -> Share | None:
    return Share(value=part / whole, interval=wilson(part, whole)) if whole else None
