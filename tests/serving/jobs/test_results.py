"""A result is put together and passed on without ever holding what came of all images."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from support.jobs import Backlog

from serving.jobs.errors import UnknownJobError
from serving.jobs.kept import pack_images, unpack_record
from serving.jobs.package import package
from serving.jobs.result_json import result_json
from serving.jobs.results import Reading
from serving.jobs.tables import chunks, jobs, results

#: A million bytes.
MB = 1_000_000


def read(backlog: Backlog, job: str) -> Reading:
    return backlog.results.read(backlog.reader.row(job, None), partial=True)


def finished(backlog: Backlog, images: int) -> str:
    """A job of two runs: its first chunk was carried out, and the others have a copy of its record."""
    attacks = [
        {"attack": "fgsm", "parameters": {"epsilon": "60/255"}},
        {"attack": "pgd", "parameters": {"epsilon": "60/255", "steps": 1}},
    ]
    job = backlog.submit(images, attacks=attacks)
    backlog.carry_out(job, most=1)
    ((_, record, _),) = backlog.records(job)
    no_pictures = pack_images([], [], np.zeros((0, 3, 8, 8), np.float32), [], exact=False)
    with backlog.database.write() as connection:
        rest = [row.chunk for row in backlog.chunks(job) if row.state != "done"]
        connection.execute(
            sa.insert(results),
            [{"job": job, "chunk": chunk, "record": record, "pictures": no_pictures} for chunk in rest],
        )
        connection.execute(sa.update(chunks).where(chunks.c.job == job).values(state="done"))
        connection.execute(
            sa.update(jobs).where(jobs.c.id == job).values(state="succeeded", done=jobs.c.chunks)
        )
    return job


def test_json_is_that_of_the_whole_result(backlog: Backlog) -> None:
    job = finished(backlog, 8)
    reading = read(backlog, job)
    (kept, *_) = backlog.records(job)
    images = [each.model_dump(mode="json") for each in 2 * unpack_record(kept[1]).results]
    said = b"".join(result_json(reading, backlog.results))
    whole = reading.result.model_dump(mode="json")
    for run in whole["runs"]:
        run["record"]["results"] = images
    # The same members in the same order, and nothing else.
    assert said == json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    packed = zipfile.ZipFile(io.BytesIO(b"".join(package(reading, backlog.results))))
    assert packed.testzip() is None
    assert packed.read("result.json") == said
    assert packed.read("images.csv").count(b"\n") == 1 + 2 * 8


def test_partial_result_has_the_images_that_are_done(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    result = backlog.result(job)
    assert [each.record.results for each in result.runs] == [[]]
    assert not result.complete
    backlog.carry_out(job, most=1)
    (run,) = backlog.result(job).runs
    assert [each.image for each in run.record.results] == [f"red-{n}.png" for n in range(4)]
    assert run.images_done == 4


def test_result_of_a_job_that_is_deleted_meanwhile_is_not_passed_off_as_whole(backlog: Backlog) -> None:
    job = finished(backlog, 8)
    row, reading = backlog.reader.row(job, None), read(backlog, job)
    pieces = result_json(reading, backlog.results)
    next(pieces)
    backlog.store.remove(job, None)
    with pytest.raises(UnknownJobError):
        list(pieces)
    with pytest.raises(UnknownJobError):
        list(package(reading, backlog.results))
    with pytest.raises(UnknownJobError):
        backlog.results.read(row, partial=False)


@pytest.fixture
def largest(database_url: str, tiny_store: Path) -> Iterator[tuple[Backlog, str]]:
    """6,400 images in two runs: their results are some 50 MB as objects."""
    backlog = Backlog(database_url, tiny_store, jobs_chunk_images=64)
    yield backlog, finished(backlog, 6400)
    backlog.close()


def test_images_of_a_large_result_are_never_held_at_once(largest: tuple[Backlog, str]) -> None:
    backlog, job = largest

    def peak(use: Callable[[], object]) -> float:
        tracemalloc.start()
        try:
            use()
            return tracemalloc.get_traced_memory()[1] / MB
        finally:
            tracemalloc.stop()

    assert peak(lambda: read(backlog, job)) < 8
    reading = read(backlog, job)
    assert [run.images_done for run in reading.result.runs] == [6400, 6400]
    assert reading.result.worst_cases[0].images == 6400
    sent = 0

    def send(pieces: Iterator[bytes]) -> None:
        nonlocal sent
        for piece in pieces:
            sent += len(piece)

    assert peak(lambda: send(result_json(reading, backlog.results))) < 4
    assert sent > 5 * MB
    assert peak(lambda: send(package(reading, backlog.results))) < 8
