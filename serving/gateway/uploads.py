"""From a request's body to the images in it, still encoded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from serving.gateway.body import Body, media_type_of
from serving.gateway.forms import parse_form
from serving.gateway.problem_kinds import (
    BODY_TIMEOUT,
    INVALID_REQUEST,
    NO_IMAGES,
    TOO_MANY_IMAGES,
)
from serving.gateway.problems import Problem, invalid_request, not_json

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
FORM = "multipart/form-data"
JSON = "application/json"

#: What a body may be. The format of an image is read from its bytes, so that an image of unknown type is as
#: good as one of a known type.
ACCEPTED = (*IMAGE_TYPES, "application/octet-stream", FORM, JSON)

#: Commas that JSON may have beside those of its images, and for every image: the one behind it, the one in a
#: data URL, and some in the name of its class. Each ends a value at most.
_COMMAS, _COMMAS_PER_IMAGE = 1000, 8

#: An image that is still encoded: a file's bytes, or base64 of them, maybe as a data URL.
Encoded = bytes | str


class ImagesBody(BaseModel):
    """Images in JSON: give either ``image`` or ``images``."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[
        str | None, Field(description="One image: base64 of a PNG, JPEG or WebP file, or a data: URL of it.")
    ] = None
    images: Annotated[list[str] | None, Field(description="Several images, each as in `image`.")] = None


async def read_uploads(
    request: Request, body: Body, *, max_images: int, deadline: float
) -> Sequence[Encoded]:
    """The images of a request, in the order in which it has them, at least one.

    Args:
        request: The request, for its Content-Type.
        body: Its body.
        max_images: The most images it may have.
        deadline: When all of it must have arrived, on the clock of ``time.monotonic()``.

    Raises:
        Problem: It has none or too many, arrives too slowly, or is not what its Content-Type says.
        ClientGoneError: The caller went away before the end of it.
    """
    media_type = media_type_of(request, ACCEPTED)
    images: Sequence[Encoded]
    async with arriving(deadline):
        if media_type == FORM:
            images, _ = await read_form(request, body, max_images=max_images)
        elif media_type == JSON:
            images = _read_json(await body.read(), max_images)
        else:
            images = [await body.read()]
    if not images:
        raise Problem(NO_IMAGES, "The request has no image in it.")
    if len(images) > max_images:
        raise _too_many(max_images)
    return images


@asynccontextmanager
async def arriving(deadline: float) -> AsyncGenerator[None, None]:
    """Read a body in this context, and no longer than until the deadline.

    Raises:
        Problem: It arrives too slowly.
    """
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            yield
    except TimeoutError:
        raise Problem(
            BODY_TIMEOUT,
            "The time for the request was over before its body was here.",
            {"Connection": "close"},
        ) from None


def check_values(text: bytes | str, images: int) -> None:
    """Refuse JSON with more values than so many images can need, before it is parsed.

    A few bytes of a packed body become millions of values, and nobody else has a turn while they are parsed.

    Args:
        text: JSON, or what claims to be.
        images: The most images that the request may be about.

    Raises:
        Problem: It has more.
    """
    commas = text.count(b",") if isinstance(text, bytes) else text.count(",")
    if commas > _COMMAS + _COMMAS_PER_IMAGE * images:
        needed = "one image needs" if images == 1 else f"the {images} images need that are accepted at once"
        raise Problem(
            TOO_MANY_IMAGES,
            f"The JSON has more values than {needed}, with all that can be said of them.",
            members={"limit": images},
        )


def _read_json(content: bytes, max_images: int) -> list[str]:
    check_values(content, max_images)
    try:
        parsed = ImagesBody.model_validate_json(content)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        if errors[0]["type"] == "json_invalid":
            raise not_json(errors[0]["msg"]) from None
        raise invalid_request([{**each, "loc": ("body", *each["loc"])} for each in errors]) from None
    if parsed.image is not None and parsed.images is not None:
        raise Problem(INVALID_REQUEST, "body: Give either 'image' or 'images', not both.")
    return [parsed.image] if parsed.image is not None else parsed.images or []


async def read_form(
    request: Request, body: Body, *, max_images: int, max_fields: int = 0
) -> tuple[list[bytes], list[tuple[str, str]]]:
    """The files of a form, in their order, and its other fields.

    Args:
        request: The request, for the form's boundary.
        body: Its body.
        max_images: The most files it may have.
        max_fields: The most other fields it may have.

    Raises:
        Problem: It has more, or is no form.
        ClientGoneError: The caller went away before the end of it.
    """
    if max_fields:
        too_many_fields = Problem(INVALID_REQUEST, f"body: The form has more than {max_fields} fields.")
    else:
        too_many_fields = Problem(
            INVALID_REQUEST,
            "body: A form field without a file name is not an image. With curl, write -F image=@FILE; "
            "options such as top_k belong into the address.",
        )
    form = await parse_form(
        request,
        body,
        max_files=max_images,
        max_fields=max_fields,
        in_memory=True,  # no image that is classified or attacked touches the disk
        too_many_files=_too_many(max_images),
        too_many_fields=too_many_fields,
    )
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        # A browser sends an empty, nameless file for an input in which nothing was chosen.
        return [await file.read() for file in files if file.filename or file.size], fields
    finally:
        await form.close()


def _too_many(limit: int) -> Problem:
    return Problem(
        TOO_MANY_IMAGES,
        f"The request has more than the {limit} images that are accepted at once.",
        members={"limit": limit},
    )
