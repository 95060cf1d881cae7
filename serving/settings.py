"""How the gateway is set up: environment variables ``HOLDFAST_…``, overridden by the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.errors import UsageError
from serving.rates import RateField

PREFIX = "HOLDFAST_"

BackendName = Literal["onnxruntime", "torchserve"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "plain"]

_MIB = 1024 * 1024


class Settings(BaseSettings):
    """Everything about a gateway that can be set. Times are seconds; sizes are bytes, or e.g. ``10MiB``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    host: Annotated[str, Field(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes one that is free.")] = 8000
    allow_unauthenticated: Annotated[
        bool, Field(description="Listen on an address other machines reach, though there are no API keys.")
    ] = False

    keys_file: Annotated[
        Path | None, Field(description="File of the API keys; without one, nobody is asked for a key.")
    ] = None
    rate_limit: Annotated[
        RateField | None, Field(description="How often each key may ask, e.g. 600/minute; no limit if unset.")
    ] = None
    rate_limit_anonymous: Annotated[
        RateField | None,
        Field(description="How often each address may ask where there are no keys; no limit if unset."),
    ] = None
    metrics_open: Annotated[
        bool, Field(description="Answer /metrics without a key, though there are keys.")
    ] = False

    model_store: Annotated[Path, Field(description="Directory of the bundles.")] = Path("model_store")
    backend: Annotated[BackendName, Field(description="What runs the models.")] = "onnxruntime"
    torchserve_url: Annotated[
        str, Field(pattern=r"^https?://[^/\s]+/?$", description="TorchServe's inference address.")
    ] = "http://127.0.0.1:8080"
    threads: Annotated[
        int, Field(ge=0, le=1024, description="Threads for one batch; 0 chooses for this machine.")
    ] = 0

    max_batch: Annotated[int, Field(ge=1, le=4096, description="Most images in one run of a model.")] = 16
    max_delay: Annotated[
        float, Field(ge=0, le=1, description="How long a busy model may hold back a batch that is not full.")
    ] = 0.0
    queue: Annotated[int, Field(ge=1, le=1_000_000, description="Most images that may wait for a model.")] = (
        256
    )
    deadline: Annotated[
        float, Field(gt=0, le=3600, description="Time for one request, from its headers to its answer.")
    ] = 30.0

    max_images: Annotated[int, Field(ge=1, description="Most images in one request.")] = 64
    max_pixels: Annotated[int, Field(ge=1, le=89_478_485, description="Most pixels in one image.")] = (
        16_000_000
    )
    max_image_bytes: Annotated[ByteSize, Field(ge=1, description="Most bytes in one image.")] = ByteSize(
        10 * _MIB
    )
    max_body_bytes: Annotated[ByteSize, Field(ge=1, description="Most bytes in one request's body.")] = (
        ByteSize(32 * _MIB)
    )
    max_requests: Annotated[int, Field(ge=1, description="Most classifications in progress at once.")] = 512
    max_memory: Annotated[
        ByteSize, Field(ge=1, description="Most bytes that the bodies of all requests may hold at once.")
    ] = ByteSize(256 * _MIB)

    drain_delay: Annotated[
        float, Field(ge=0, le=3600, description="On SIGTERM, time between not ready and not listening.")
    ] = 0.0
    drain_timeout: Annotated[
        int, Field(ge=1, le=3600, description="On SIGTERM, time for requests in flight to finish.")
    ] = 30
    log_level: Annotated[LogLevel, Field(description="Least level of what is logged.")] = "info"
    log_format: Annotated[LogFormat, Field(description="auto is plain on a terminal and JSON elsewhere.")] = (
        "auto"
    )

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Self:
        if self.max_images > self.queue:
            raise ValueError(
                f"{PREFIX}MAX_IMAGES ({self.max_images}) is more than {PREFIX}QUEUE ({self.queue}): "
                f"such a request could never be queued; set it to at most {self.queue}"
            )
        if self.max_body_bytes > self.max_memory:
            raise ValueError(
                f"{PREFIX}MAX_BODY_BYTES ({self.max_body_bytes}) is more than {PREFIX}MAX_MEMORY "
                f"({self.max_memory}): such a body could never be held"
            )
        return self


def load_settings(**options: Any) -> Settings:
    """The settings from the environment, overridden by those of ``options`` that are not ``None``.

    Raises:
        UsageError: A value cannot be used; the message names every variable at fault.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        complaints = "\n".join(_complaint(each, given) for each in error.errors(include_url=False))
        raise UsageError(complaints, hint="All settings are listed by: holdfast serve --settings") from None


def _complaint(error: Any, given: dict[str, Any]) -> str:
    """One line about one value, under the name by which the reader set it."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return f"{message}."
    field = str(error["loc"][0])
    name = f"--{field.replace('_', '-')}" if field in given else PREFIX + field.upper()
    return f"{name} is {error['input']!r}: {message[0].lower()}{message[1:]}."
