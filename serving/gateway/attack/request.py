"""What an attack's request asks for: in the address beside an image, in a form, or in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.gateway.body import Body, media_type_of
from serving.gateway.problem_kinds import INVALID_REQUEST, NO_IMAGES, TOO_MANY_IMAGES
from serving.gateway.problems import Problem, invalid_request, not_json
from serving.gateway.uploads import ACCEPTED, FORM, JSON, Encoded, arriving, check_values, read_form

#: Images of an attack's way that may be asked for.
MOST_TRACED = 64
#: Parameters that a form may have beside the image; no attack has as many.
_MOST_FIELDS = 64


class AttackQuery(BaseModel):
    """What can be chosen beside the attack's own parameters."""

    model_config = ConfigDict(extra="forbid")

    attack: Annotated[
        str, Field(description="The attack; `GET /v1/attacks` lists them.", examples=["pgd", "square"])
    ] = "pgd"
    defence: Annotated[
        str,
        Field(
            description="The defence under attack, which is attacked through; as in a classification.",
            examples=["default", "none"],
        ),
    ] = "default"
    label: Annotated[
        str | int | None,
        Field(
            description="The class that the image is of, by name or number: the one to leave. By default "
            "what the model says of the image."
        ),
    ] = None
    top_k: Annotated[int, Field(ge=1, description="How many of the most probable classes to list.")] = 5
    exact: Annotated[
        bool,
        Field(
            alias="float",
            description="Answer the exact image too, before rounding to 8 bits, as float32 in `.npy`.",
        ),
    ] = False
    trace: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_TRACED,
            description="Show so many of the images at most that the attack tried on its way; 0 for none.",
        ),
    ] = 0


class AttackBody(AttackQuery):
    """The same in JSON, with the image."""

    image: Annotated[str, Field(description="Base64 of a PNG, JPEG or WebP file, or a data: URL of it.")]
    parameters: Annotated[
        dict[str, Any],
        Field(description="The attack's own; `GET /v1/attacks/{name}` has their JSON Schema."),
    ] = {}


@dataclass(frozen=True)
class AttackRequest:
    """A request that could be read.

    Attributes:
        image: Still encoded.
        options: What it chooses.
        given: The attack's own parameters, by name.
        text: Whether these are text, as an address and a form have them; else as JSON has them.
    """

    image: Encoded
    options: AttackQuery
    given: Mapping[str, Any] = field(default_factory=dict)
    text: bool = True


async def read_request(request: Request, body: Body, *, deadline: float) -> AttackRequest:
    """Read a request for an attack.

    Args:
        request: For its address and its Content-Type.
        body: Its body.
        deadline: When all of it must have arrived, on the clock of ``time.monotonic()``.

    Raises:
        Problem: It has no image or several, an option that there is not, arrives too slowly, or is not what
            its Content-Type says.
        ClientGoneError: The caller went away before the end of it.
    """
    media_type = media_type_of(request, ACCEPTED)
    query = request.query_params.multi_items()
    if media_type == JSON:
        async with arriving(deadline):
            content = await body.read()
        if query:
            raise invalid_request(
                [
                    {
                        "loc": ("query", query[0][0]),
                        "type": "twice",
                        "msg": "Beside JSON, all options are in it",
                    },
                ]
            )
        return _read_json(content)
    if media_type == FORM:
        async with arriving(deadline):
            files, fields = await read_form(request, body, max_images=1, max_fields=_MOST_FIELDS)
        if not files:
            raise Problem(NO_IMAGES, "The form has no file in it. With curl, write -F image=@FILE.")
        if len(files) > 1:
            raise Problem(
                TOO_MANY_IMAGES,
                "An attack is on one image. For several: POST /v1/jobs.",
                members={"limit": 1},
            )
        return _of_text(files[0], [("query", *item) for item in query] + [("form", *item) for item in fields])
    read = _of_text(b"", [("query", *item) for item in query])
    async with arriving(deadline):
        content = await body.read()
    return AttackRequest(content, read.options, read.given)


def _of_text(image: bytes, items: Iterable[tuple[str, str, str]]) -> AttackRequest:
    """From options as text: where each stands, its name, its value."""
    known = {info.alias or name for name, info in AttackQuery.model_fields.items()}
    options: dict[str, str] = {}
    given: dict[str, str] = {}
    places = {}
    for place, name, value in items:
        if name in places:
            raise invalid_request([{"loc": (place, name), "type": "twice", "msg": "It is given twice"}])
        places[name] = place
        (options if name in known else given)[name] = value
    try:
        chosen = AttackQuery.model_validate(options)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        raise invalid_request(
            [{**each, "loc": (places[str(each["loc"][0])], each["loc"][0])} for each in errors]
        ) from None
    return AttackRequest(image, chosen, given)


def _read_json(content: bytes) -> AttackRequest:
    check_values(content, 1)
    try:
        parsed = AttackBody.model_validate_json(content, strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        if errors[0]["type"] == "json_invalid":
            raise not_json(errors[0]["msg"]) from None
        raise invalid_request([{**each, "loc": ("body", *each["loc"])} for each in errors]) from None
    if not parsed.image:
        raise Problem(NO_IMAGES, "The request has no image in it.")
    return AttackRequest(parsed.image, parsed, parsed.parameters, text=False)


def refuse(place: str, name: str, message: str) -> Problem:
    """The problem of one value that cannot be used."""
    return Problem(
        INVALID_REQUEST,
        f"{place} {name}: {message}",
        members={"errors": [{"where": f"{place} {name}", "message": message}]},
    )
