"""How the gateway is set up: environment variables ``HOLDFAST_…``, overridden by the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from holdfast.errors import UsageError
from serving.rates import RateField

PREFIX = "HOLDFAST_"

BackendName = Literal["onnxruntime", "torchserve", "oip"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "plain"]

_MIB = 1024 * 1024


def _split(value: object) -> object:
    return tuple(word for word in value.replace(",", " ").split()) if isinstance(value, str) else value


#: Several values in one variable, between commas or blanks.
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def _strip(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _end_line(value: object) -> object:
    return value.rstrip("\r\n") if isinstance(value, str) else value


#: Around what is read from a file, as a container's secrets are, there may be blanks and the end of a line.
Stripped = BeforeValidator(_strip)
#: Blanks may be part of a password.
Line = BeforeValidator(_end_line)

#: What is wrong with these is said without them: a log is read by more people than may know a password.
_SECRET = frozenset({"jobs_database", "oip_key", "tls_key_password"})

_USERINFO = re.compile(r"^(\w+://)?.*@", re.DOTALL)
_ORIGIN = re.compile(r"\*|https?://[^/\s@?#]+")


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

    tls_certificate: Annotated[
        Path | None, Field(description="PEM file of the certificate to show; without one, plain HTTP.")
    ] = None
    tls_key: Annotated[
        Path | None, Field(description="PEM file of its private key, if that is not in the same file.")
    ] = None
    tls_key_password: Annotated[
        SecretStr | None, Line, Field(description="What the private key is encrypted with, if it is.")
    ] = None
    cors_origins: Annotated[
        Words, Field(description="Origins whose pages may call, e.g. https://a.example,https://b.example.")
    ] = ()
    allowed_hosts: Annotated[
        Words,
        Field(description="Names of this server, besides localhost, where nobody is asked for a key."),
    ] = ()
    trusted_proxies: Annotated[
        Words, Field(description="Addresses of proxies whose X-Forwarded-For and -Proto are believed.")
    ] = ()

    model_store: Annotated[Path, Field(description="Directory of the bundles.")] = Path("model_store")
    default_model: Annotated[
        str, Field(description="The model that is named first; the most robust one if empty.")
    ] = ""
    backend: Annotated[BackendName, Field(description="What runs the models.")] = "onnxruntime"
    torchserve_url: Annotated[
        str,
        Stripped,
        Field(pattern=r"^https?://([^/\s@]*@)?[^/\s@]+/?$", description="TorchServe's inference address."),
    ] = "http://127.0.0.1:8080"
    oip_url: Annotated[
        str,
        Stripped,
        Field(
            pattern=r"^https?://([^/\s@]*@)?[^/\s@]+(/[^\s?#]*)?$",
            description="Address of a server of the Open Inference Protocol, without /v2.",
        ),
    ] = "http://127.0.0.1:8080"
    oip_models: Annotated[
        Words,
        Field(description="What it calls a model: NAME[/VERSION][:DEFENCE]=NAME[/VERSION], and more."),
    ] = ()
    oip_max_images: Annotated[int, Field(ge=1, description="Most images that it takes at once.")] = 64
    oip_key: Annotated[
        SecretStr | None, Stripped, Field(description="The key that it asks for, if it does.")
    ] = None
    backend_patience: Annotated[
        float,
        Field(gt=0, le=3600, description="Time for which a server elsewhere may answer nothing at all."),
    ] = 5.0
    backend_start_timeout: Annotated[
        float,
        Field(gt=0, le=86_400, description="Time for a server elsewhere to answer for the first time."),
    ] = 60.0
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

    max_url_bytes: Annotated[ByteSize, Field(ge=64, description="Most bytes in a request's address.")] = (
        ByteSize(8 * 1024)
    )
    max_header_bytes: Annotated[
        ByteSize, Field(ge=256, description="Most bytes in a request's headers together.")
    ] = ByteSize(32 * 1024)
    max_headers: Annotated[int, Field(ge=8, description="Most headers in a request.")] = 100
    header_timeout: Annotated[
        float, Field(gt=0, le=3600, description="Time for a request's headers to arrive.")
    ] = 10.0
    body_timeout: Annotated[
        float,
        Field(gt=0, le=3600, description="Time for a body, beside what its bytes take at min_body_rate."),
    ] = 10.0
    min_body_rate: Annotated[
        ByteSize, Field(ge=1, description="Bytes in a second that a body must bring after that.")
    ] = ByteSize(1024)
    max_connections: Annotated[int, Field(ge=1, description="Most connections at once.")] = 4096

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

    jobs_database: Annotated[
        str,
        Stripped,
        Field(
            pattern=r"^(sqlite:///[^?]+|postgres(ql)?(\+psycopg)?://.+)$",
            description="Where jobs are kept: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
        ),
    ] = "sqlite:///jobs/jobs.sqlite"
    jobs_workers: Annotated[
        int, Field(ge=0, le=64, description="Workers for jobs that the gateway runs beside it.")
    ] = 1
    jobs_threads: Annotated[
        int, Field(ge=0, le=1024, description="Threads of one such worker; 0 takes half of the cores.")
    ] = 0
    jobs_idle: Annotated[
        float, Field(ge=0.1, description="Time without a job after which such a worker ends, until the next.")
    ] = 60.0
    jobs_lease: Annotated[
        float, Field(ge=1, le=3600, description="Silence after which a worker's jobs go to others.")
    ] = 30.0
    jobs_drain: Annotated[
        float, Field(ge=0, le=3600, description="On SIGTERM, time for a worker to finish what it is at.")
    ] = 5.0
    jobs_retention: Annotated[
        float, Field(gt=0, description="Time for which a finished job and its Idempotency-Key are kept.")
    ] = 7 * 86_400.0
    jobs_quota: Annotated[
        ByteSize, Field(ge=1, description="Most bytes that all jobs together may hold.")
    ] = ByteSize(4096 * _MIB)
    jobs_queue: Annotated[int, Field(ge=1, description="Most jobs that may be unfinished at once.")] = 100
    jobs_max_images: Annotated[int, Field(ge=1, le=1_000_000, description="Most images in one job.")] = 10_000
    jobs_max_runs: Annotated[
        int, Field(ge=1, le=1000, description="Most runs in one job: attacks times models times defences.")
    ] = 64
    jobs_max_bytes: Annotated[
        ByteSize, Field(ge=1, description="Most bytes in a job's images, sent and unpacked.")
    ] = ByteSize(256 * _MIB)
    jobs_upload_time: Annotated[
        float,
        Field(
            gt=0,
            le=86_400,
            description="Time for a job's images to arrive, and again for them to be checked.",
        ),
    ] = 300.0
    jobs_chunk_images: Annotated[
        int, Field(ge=1, le=4096, description="Most images that a worker attacks at a time.")
    ] = 64
    jobs_streams: Annotated[
        int, Field(ge=1, description="Most callers that may follow the events of jobs at once.")
    ] = 64
    datasets: Annotated[
        Path | None, Field(description="Folder of .npz and .zip files that jobs may name as data sets.")
    ] = None

    playground: Annotated[bool, Field(description="Answer / with the page on which models are tried.")] = True
    playground_dir: Annotated[
        Path | None,
        Field(description="Folder of that page's files, read anew each time: for who changes them."),
    ] = None

    # Attacks on demand.
    attack_workers: Annotated[
        int,
        Field(ge=0, le=256, description="Processes for attacks; 0 takes one for every two cores."),
    ] = 0
    attack_threads: Annotated[
        int, Field(ge=1, le=1024, description="Threads of one such process, and so its share of the cores.")
    ] = 1
    attack_niceness: Annotated[
        int,
        Field(ge=0, le=19, description="How far attacks stand back behind classification; 19: all the way."),
    ] = 10
    attack_models: Annotated[
        int,
        Field(ge=1, le=1024, description="Models that such a process keeps open, each defence by itself."),
    ] = 4
    attack_queue: Annotated[int, Field(ge=0, le=100_000, description="Most attacks that may wait.")] = 16
    attack_budget: Annotated[
        float, Field(gt=0, description="Most seconds that an attack on demand may cost, by its estimate.")
    ] = 20.0
    attack_deadline: Annotated[
        float,
        Field(gt=0, le=3600, description="Time for an attack's request, from its headers to its answer."),
    ] = 30.0
    attack_grace: Annotated[
        float,
        Field(gt=0, le=600, description="Time for an attack to stop before its process is killed."),
    ] = 5.0

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

    @model_validator(mode="after")
    def _network_is_whole(self) -> Self:
        if self.tls_certificate is None and (self.tls_key or self.tls_key_password):
            raise ValueError(f"{PREFIX}TLS_KEY is of no use without {PREFIX}TLS_CERTIFICATE")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{PREFIX}CORS_ORIGINS has {_shown(origin)}: an origin is https://host or "
                    "https://host:port, with nothing after it, or * for all"
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
    reason = f"{message[0].lower()}{message[1:]}."
    if field in _SECRET:
        return f"{name} cannot be used, and is not shown because it may hold a password: {reason}"
    return f"{name} is {_shown(error['input'])}: {reason}"


def _shown(value: object) -> str:
    """A value as it may be logged: of an address, without who asks and by which password."""
    return repr(_USERINFO.sub(r"\1…@", value) if isinstance(value, str) else value)
