"""A page of a job's images reads what is on it and no more, on either database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.jobs import Backlog

from holdfast.bundle import ModelStore
from holdfast.images import DEFAULT_LIMITS
from serving.jobs import gallery
from serving.jobs.errors import UnknownRunError
from serving.jobs.gallery import Gallery, Wanted


def test_only_the_chunks_of_a_page_are_read(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    job = backlog.submit(10, attacks=["fgsm"])
    backlog.carry_out(job)
    spec = ModelStore(backlog.model_store).open("tiny").manifest.input
    reader = Gallery(backlog.database, DEFAULT_LIMITS)
    read: list[int] = []
    unpack = gallery.unpack_images

    def count(kept: bytes) -> Iterator[tuple[str, bytes]]:
        read.append(len(kept))
        return unpack(kept)

    monkeypatch.setattr(gallery, "unpack_images", count)
    page = reader.find(job, Wanted(run=0, outcomes=(), first=3, count=3))
    assert (page.total, page.more) == (10, 6)
    images = reader.read(page, spec)
    first = next(images)
    assert (first.index, first.image, len(read)) == (3, "red-3.png", 1)
    assert [each.index for each in images] == [4, 5]
    assert len(read) == 2
    with pytest.raises(UnknownRunError, match="no run 1"):
        reader.find(job, Wanted(run=1, outcomes=(), first=0, count=1))


def test_a_job_that_is_deleted_meanwhile_ends_its_page(backlog: Backlog) -> None:
    job = backlog.submit(8, attacks=["fgsm"])
    backlog.carry_out(job)
    reader = Gallery(backlog.database, DEFAULT_LIMITS)
    images = reader.read(reader.find(job, Wanted(run=0, outcomes=("held",), first=0, count=8)), None)
    seen = [next(images)]
    backlog.store.remove(job, None)
    seen += images
    assert all(each.outcome == "held" for each in seen)
    assert seen[0].original is not None
    assert [each.original for each in seen[1:]] == [None] * (len(seen) - 1)
    assert len(seen) <= 4  # of the chunk that had been read
