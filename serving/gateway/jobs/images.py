"""A page of a job's images as JSON, made while it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from serving.jobs.gallery import Page
    from serving.jobs.views import JobImage


def render(page: Page, images: Iterator[JobImage]) -> Iterator[bytes]:
    """The JSON of a :class:`serving.jobs.views.JobImages`, an image at a time.

    Args:
        page: The page.
        images: What is on it.
    """
    yield f'{{"total":{page.total},"next":{json.dumps(_next(page))},"images":['.encode()
    separator = ""
    for image in images:
        yield f"{separator}{image.model_dump_json()}".encode()
        separator = ","
    yield b"]}"


def _next(page: Page) -> str | None:
    """The address of the page after this one."""
    if page.more is None:
        return None
    wanted = page.wanted
    query = [("run", wanted.run), *(("outcome", each) for each in wanted.outcomes)]
    query += [("first", page.more), ("count", wanted.count)]
    return f"/v1/jobs/{page.job}/images?{urlencode(query, quote_via=quote)}"
