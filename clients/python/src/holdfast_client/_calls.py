"""Every request that there is: both clients send what is made here, so that they cannot differ in it."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, TypeVar
from urllib.parse import quote

from holdfast_client._attack_results import AttackCatalogue, AttackDescription, AttackProgress, AttackResult
from holdfast_client._call import Call, Repeat, Reply
from holdfast_client._errors import ConfigurationError
from holdfast_client._images import media_type
from holdfast_client._job_results import DatasetList, Job, JobImagePage, JobPage, JobResult, Removal
from holdfast_client._model_results import Model, ModelList
from holdfast_client._predictions import ClassificationAnswer
from holdfast_client._reading import read
from holdfast_client._watching import AttackListener

T = TypeVar("T")

#: What the server takes for one.
_IDEMPOTENCY_KEY = re.compile(r"[\x21\x23-\x7e]{1,255}")

_JSON, _EVENTS = "application/json", "text/event-stream"

#: Whoever wants events takes an ordinary answer too, which is all that an older server has.
_WATCHING = {"Accept": f"{_EVENTS}, {_JSON};q=0.5", "Cache-Control": "no-store"}


def classify(
    image: bytes, model: str, version: str | None, defence: str, top_k: int
) -> Call[ClassificationAnswer]:
    """One image to a model."""
    return Call(
        "POST",
        f"{_model(model, version)}/classify",
        _as(ClassificationAnswer),
        Repeat.UNANSWERED,
        params={"defence": defence, "top_k": top_k},
        headers={"Content-Type": media_type(image)},
        content=image,
    )


def attack(
    image: bytes,
    model: str,
    version: str | None,
    options: Mapping[str, Any],
    parameters: Mapping[str, Any],
    progress: Callable[[AttackProgress], None] | None = None,
) -> Call[AttackResult]:
    """An attack on one image."""
    body = {
        "image": base64.b64encode(image).decode(),
        **{name: plain(value) for name, value in options.items() if value is not None},
        "parameters": {name: plain(value) for name, value in parameters.items()},
    }
    return Call(
        "POST",
        f"{_model(model, version)}/attack",
        _as(AttackResult),
        Repeat.UNANSWERED,
        headers={"Content-Type": _JSON, **({} if progress is None else _WATCHING)},
        content=json.dumps(body).encode(),
        listen=None if progress is None else lambda: AttackListener(progress),
    )


def list_models() -> Call[ModelList]:
    """All models."""
    return Call("GET", "/v1/models", _as(ModelList))


def get_model(name: str, version: str | None) -> Call[Model]:
    """One model."""
    return Call("GET", _model(name, version), _as(Model))


def list_attacks() -> Call[AttackCatalogue]:
    """All attacks."""
    return Call("GET", "/v1/attacks", _as(AttackCatalogue))


def get_attack(name: str) -> Call[AttackDescription]:
    """One attack."""
    return Call("GET", f"/v1/attacks/{_segment(name, 'attack')}", _as(AttackDescription))


def idempotency_key(given: str | None) -> str:
    """The caller's key, or one that nobody else has.

    Raises:
        ConfigurationError: It is none that a header may have.
    """
    if given is None:
        return uuid.uuid4().hex
    if not _IDEMPOTENCY_KEY.fullmatch(given):
        raise ConfigurationError(
            "An idempotency key is 1 to 255 visible ASCII characters, without spaces and quotation marks.",
            "Where other text is to name a job, send its hash.",
        )
    return given


def create_job(campaign: Mapping[str, Any], files: Sequence[tuple[str, IO[bytes]]], key: str) -> Call[Job]:
    """A campaign over files, or over a data set of the server."""
    body = json.dumps(campaign)
    headers = {"Idempotency-Key": key}
    if not files:
        headers["Content-Type"] = _JSON
        return Call("POST", "/v1/jobs", _as(Job), Repeat.KEYED, headers=headers, content=body.encode())
    return Call(
        "POST",
        "/v1/jobs",
        _as(Job),
        Repeat.KEYED,
        headers=headers,
        fields={"campaign": body},
        files=[("images", (name, file, "application/octet-stream")) for name, file in files],
    )


def get_job(job: str) -> Call[Job]:
    """How a job is."""
    return Call("GET", _job(job), _as(Job))


def list_jobs(limit: int, before: str | None, state: str | None) -> Call[JobPage]:
    """A page of jobs."""
    given = {"limit": limit, "before": before, "state": state}
    return Call("GET", "/v1/jobs", _as(JobPage), params={k: v for k, v in given.items() if v is not None})


def follow_job(job: str, after: int) -> Call[None]:
    """A job's events, to be streamed."""
    headers = {"Accept": _EVENTS, "Last-Event-ID": str(after), "Cache-Control": "no-store"}
    return Call("GET", f"{_job(job)}/events", lambda _: None, headers=headers)


def job_result(job: str, *, images: bool, partial: bool) -> Call[JobResult]:
    """What a job came to."""
    params = {"format": "json", "images": _word(images), "partial": _word(partial)}
    return Call("GET", f"{_job(job)}/result", _as(JobResult), params=params)


def job_package(job: str, *, partial: bool) -> Call[None]:
    """The same as a zip file, to be streamed."""
    params = {"format": "zip", "partial": _word(partial)}
    return Call(
        "GET", f"{_job(job)}/result", lambda _: None, params=params, headers={"Accept": "application/zip"}
    )


def job_images(job: str, run: int, outcomes: Sequence[str], first: int, count: int) -> Call[JobImagePage]:
    """A page of a job's images."""
    params: dict[str, int | Sequence[str]] = {
        "run": run,
        "outcome": outcomes,
        "first": first,
        "count": count,
    }
    return Call("GET", f"{_job(job)}/images", _as(JobImagePage), params=params)


def cancel_job(job: str) -> Call[Job]:
    """Cancel a job that is not over, and leave one that is. Sent twice it does no more than sent once."""
    return Call("POST", f"{_job(job)}/cancel", _as(Job))


def remove_job(job: str) -> Call[Removal]:
    """Cancel a job that is not over, delete one that is. Sent twice it may do both."""
    return Call("DELETE", _job(job), _as(Removal), Repeat.UNSENT)


def list_datasets() -> Call[DatasetList]:
    """The server's data sets."""
    return Call("GET", "/v1/datasets", _as(DatasetList))


def describe() -> Call[Any]:
    """The server's own description, for which nobody needs a key."""
    return Call("GET", "/openapi.json", lambda reply: json.loads(reply.content))


def plain(value: Any) -> Any:
    """A value as JSON has it: of numpy's and torch's numbers Python's, of a fraction its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "item"):  # before fractions, as numpy's integers are those too
        number = value.item()
        return plain(number if type(number) is not type(value) else float(number))
    if hasattr(value, "numerator") and hasattr(value, "denominator"):
        return f"{value.numerator}/{value.denominator}"
    raise ConfigurationError(f"A {type(value).__name__} cannot be sent as a parameter.")


def split_model(model: str, version: str | None) -> tuple[str, str | None]:
    """A model's name and version, of ``NAME`` or ``NAME/VERSION``."""
    name, slash, after = model.partition("/")
    if not slash:
        return model, version
    if version is not None and version != after:
        raise ConfigurationError(f"Version {version} or version {after}? Both were asked for.")
    return name, after


def _as(kind: type[T]) -> Callable[[Reply], T]:
    return lambda reply: read(kind, json.loads(reply.content))


def _model(name: str, version: str | None) -> str:
    path = f"/v1/models/{_segment(name, 'model')}"
    return path if version is None else f"{path}/versions/{_segment(str(version), 'version')}"


def _job(job: str) -> str:
    return f"/v1/jobs/{_segment(job, 'job')}"


def _segment(name: str, what: str) -> str:
    """A part of an address; a dot alone would lead elsewhere."""
    if not name.strip("."):
        raise ConfigurationError(f"'{name}' is no name of a {what}.")
    return quote(name, safe="")


def _word(value: bool) -> str:
    return "true" if value else "false"
