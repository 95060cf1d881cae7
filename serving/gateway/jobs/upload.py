"""From a request's body to a campaign: a form with files, or JSON about a data set of the server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from serving.gateway.body import Body, media_type_of
from serving.gateway.forms import parse_form
from serving.gateway.problem_kinds import INVALID_REQUEST, TOO_MANY_IMAGES
from serving.gateway.problems import Problem, invalid_request, not_json
from serving.gateway.uploads import FORM, JSON, arriving, check_values
from serving.jobs.intake import GoOn, Upload
from serving.jobs.requests import CampaignRequest

ACCEPTED = (FORM, JSON)

#: Fields of a form beside the files.
_MOST_FIELDS = 500

#: Bytes of a file that are hashed at a time.
_PIECE = 1 << 20

#: Bytes of a form around its files, and of JSON beside what it says of the images.
_FRAME = 1 << 20

#: Bytes of JSON for every image: the name of its class.
_LABEL = 128

#: By the draft of the header, a string; curl's users write it without quotes.
_KEY = re.compile(r'"?([\x21\x23-\x7e]{1,255})"?')

#: What a form may say once, and what it may say again and again.
_SINGLE = ("name", "layout", "float_images")
_REPEATED = ("model", "attack", "defence")
_OF_DATASET = ("dataset", "first", "count")


@dataclass(frozen=True)
class Submission:
    """What a request asks for.

    Attributes:
        request: The campaign.
        uploads: Its files; they are open as long as the context that gave them.
    """

    request: CampaignRequest
    uploads: list[Upload] = field(default_factory=list)

    def fingerprint(self, go_on: GoOn) -> str:
        """What distinguishes its content from another's: the form's boundary, for one, does not.

        Raises:
            Exception: What ``go_on`` raises, which is called between two pieces of a file.
        """
        digest = hashlib.sha256(self.request.model_dump_json().encode())
        for upload in self.uploads:
            digest.update(b"\0" + upload.name.encode() + b"\0")
            upload.file.seek(0)
            while piece := upload.file.read(_PIECE):
                go_on()
                digest.update(hashlib.sha256(piece).digest())
            upload.file.seek(0)
        return digest.hexdigest()


def most_bytes(request: Request, *, max_bytes: int, max_images: int) -> int:
    """The most bytes that a request's body may have, unpacked.

    JSON names a data set and maybe the classes of its images. It is parsed in one piece, while nobody else
    has a turn, so it may not be as large as a form, of which each file is set aside as it arrives.

    Args:
        request: The request, for its Content-Type.
        max_bytes: The most bytes that its images may have.
        max_images: The most images that it may be about.

    Raises:
        Problem: Its Content-Type is none that is accepted.
    """
    most = _FRAME + max_bytes
    return min(most, _FRAME + _LABEL * max_images) if media_type_of(request, ACCEPTED) == JSON else most


@asynccontextmanager
async def reading(
    request: Request, body: Body, *, max_images: int, deadline: float
) -> AsyncGenerator[Submission, None]:
    """Read a request; the files of it are there within the context, on disk where they are large.

    Args:
        request: The request, for its Content-Type.
        body: Its body.
        max_images: The most files it may have, and images that its JSON may be about.
        deadline: When all of it must have arrived, on the clock of ``time.monotonic()``.

    Raises:
        Problem: It cannot be read, arrives too slowly, or does not follow the schema.
        ClientGoneError: The caller went away before the end of it.
    """
    if media_type_of(request, ACCEPTED) == JSON:
        async with arriving(deadline):
            content = await body.read()
        yield _checked(Submission(_parse(content, max_images)))
        return
    async with arriving(deadline):
        form = await _read_form(request, body, max_images)
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        uploads = [
            Upload(file.filename or "image", file.file) for file in files if file.filename or file.size
        ]
        yield _checked(Submission(_from_fields(fields, max_images), uploads))
    finally:
        await form.close()


def idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key, if it has one.

    Raises:
        Problem: It is none.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    match = _KEY.fullmatch(given[0].strip())
    if match is None or len(given) > 1:
        raise Problem(
            INVALID_REQUEST,
            "header Idempotency-Key: It is one string of at most 255 visible ASCII characters.",
            members={
                "errors": [
                    {"where": "header Idempotency-Key", "message": "It is one string of visible ASCII."}
                ]
            },
        )
    return match[1]


def _checked(submission: Submission) -> Submission:
    if submission.request.dataset is not None and submission.uploads:
        raise Problem(INVALID_REQUEST, "body: Send images or name a data set, not both.")
    return submission


def _parse(content: bytes | str, max_images: int) -> CampaignRequest:
    check_values(content, max_images)
    try:
        return CampaignRequest.model_validate_json(content)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> Problem:
    errors = error.errors(include_url=False, include_context=False)
    if errors[0]["type"] == "json_invalid":
        return not_json(errors[0]["msg"])
    return invalid_request([{**each, "loc": ("body", *each["loc"])} for each in errors])


def _from_fields(fields: list[tuple[str, str]], max_images: int) -> CampaignRequest:
    """The campaign that a form describes, in a field ``campaign`` as JSON, or field by field.

    A field of another name is a parameter of every attack that has it, or, written ``ATTACK.NAME``, of one.
    """
    whole = [value for name, value in fields if name == "campaign"]
    if whole:
        if len(fields) > 1:
            raise Problem(INVALID_REQUEST, "body campaign: It stands alone; all other fields are files.")
        return _parse(whole[0], max_images)
    given: dict[str, Any] = {}
    repeated: dict[str, list[str]] = {name: [] for name in _REPEATED}
    own: dict[str, dict[str, str]] = {}
    for name, value in fields:
        attack, dot, parameter = name.partition(".")
        if name in _REPEATED:
            repeated[name].append(value)
        elif name in _SINGLE or name in _OF_DATASET or name in ("labels", "eot"):
            given[name] = value
        elif dot:
            own.setdefault(attack, {})[parameter] = value
        else:
            given.setdefault("parameters", {})[name] = value
    if strangers := own.keys() - set(repeated["attack"]):
        raise Problem(INVALID_REQUEST, f"body: {min(strangers)[:80]} is not among the attacks.")
    given["attacks"] = [
        {"attack": attack, "parameters": own.get(attack, {}), **_eot(given)} for attack in repeated["attack"]
    ]
    defences = {"defences": repeated["defence"]} if repeated["defence"] else {}
    given["models"] = [{"model": model, **defences} for model in repeated["model"]]
    given.pop("eot", None)
    if "dataset" in given:
        given["dataset"] = {"name": given["dataset"], **{n: given[n] for n in _OF_DATASET[1:] if n in given}}
    for name in _OF_DATASET[1:]:
        given.pop(name, None)
    if given.get("labels", "")[:1] == "[":
        check_values(given["labels"], max_images)
        with suppress(ValueError):
            given["labels"] = json.loads(given["labels"])
    try:
        return CampaignRequest.model_validate(given)
    except ValidationError as error:
        raise _refusal(error) from None


def _eot(given: dict[str, Any]) -> dict[str, Any]:
    return {"eot": given["eot"]} if "eot" in given else {}


async def _read_form(request: Request, body: Body, max_images: int) -> FormData:
    return await parse_form(
        request,
        body,
        max_files=max_images,
        max_fields=_MOST_FIELDS,
        in_memory=False,  # all files of a job may be very large
        too_many_files=Problem(
            TOO_MANY_IMAGES,
            f"The form has more than the {max_images} files that one job may have.",
            members={"limit": max_images},
        ),
        too_many_fields=Problem(INVALID_REQUEST, f"body: The form has more than {_MOST_FIELDS} fields."),
    )
