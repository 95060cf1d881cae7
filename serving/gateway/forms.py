"""Reading a form as it arrives."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.gateway.body import Body
from serving.gateway.problem_kinds import MALFORMED_BODY
from serving.gateway.problems import Problem

#: Bytes that no file has: the body's limit is far below.
_ALL = 1 << 62


async def parse_form(
    request: Request,
    body: Body,
    *,
    max_files: int,
    max_fields: int,
    in_memory: bool,
    too_many_files: Problem,
    too_many_fields: Problem,
) -> FormData:
    """The fields and files of a form; whoever has them closes it.

    Args:
        request: The request, for the form's boundary.
        body: Its body, whose limit bounds the files.
        max_files: The most files it may have.
        max_fields: The most other fields it may have.
        in_memory: Keep large files in memory too, and not on disk.
        too_many_files: What to raise where it has more files.
        too_many_fields: What to raise where it has more fields.

    Raises:
        Problem: It has more, breaks off, or is no form.
        ClientGoneError: The caller went away before the end of it.
    """
    parser = _FormParser(request, body, max_files, max_fields)
    if in_memory:
        parser.spool_max_size = _ALL
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise too_many_files from None
        if error.message.startswith("Too many fields"):
            raise too_many_fields from None
        raise Problem(MALFORMED_BODY, f"The form cannot be read: {error.message}") from None


class _FormParser(MultiPartParser):
    """Starlette's, which would take a form that breaks off for a whole one."""

    def __init__(self, request: Request, body: Body, max_files: int, max_fields: int) -> None:
        super().__init__(request.headers, self._whole(body), max_files=max_files, max_fields=max_fields)
        self._ended = False

    def on_end(self) -> None:
        """Note the closing boundary."""
        self._ended = True

    async def _whole(self, body: Body) -> AsyncGenerator[bytes, None]:
        """The body's chunks, and an error after the last if the form breaks off: the parser cleans up."""
        async for chunk in body.stream():
            yield chunk
        if not self._ended:
            raise Problem(MALFORMED_BODY, "The form breaks off before its closing boundary.")
