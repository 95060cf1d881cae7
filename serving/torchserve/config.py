"""What TorchServe is started with: ``config.properties`` and ``log4j2.xml``, made for one run.

Everything listens on loopback. What keeps others on the same machine out:

* Models cannot be registered or removed at run time: ``enable_model_api=false``, and no URL is allowed to
  be loaded from.
* The management API, which can still scale workers, is a socket in a directory that only this user may
  enter, unless a port is asked for. (TorchServe also insists on a gRPC twin of each API; those get a port
  that nobody is told, and refuse to register models too.)
* Token authorisation is off. Its tokens are eight characters, run out after an hour, and would have to be
  carried to the gateway; with the above they would guard only the right to classify, on a loopback port.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from xml.sax.saxutils import escape

from pydantic import BaseModel, ConfigDict, Field

HOST = "127.0.0.1"
#: The management API's socket, in the run's private directory.
MANAGEMENT_SOCKET = "management.sock"
LOG = "torchserve.log"
HEAP_PATTERN = r"^[1-9][0-9]{0,5}[mg]$"

Port = Annotated[int, Field(ge=1, le=65534)]


class LaunchSettings(BaseModel):
    """How to run TorchServe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: Port = 8080
    management_port: Annotated[
        Port | None, Field(description="None: a socket that only this user may use, no port.")
    ] = None
    metrics_port: Port = 8082
    workers: Annotated[
        int | None, Field(ge=1, le=256, description="Per model; None: what the archive says.")
    ] = None
    attack_workers: Annotated[
        int, Field(ge=0, le=256, description="Per model, for attacks, beside those that classify.")
    ] = 1
    queue_size: Annotated[int, Field(ge=1, le=100_000, description="Requests that may wait, per model.")] = (
        128
    )
    max_request_bytes: Annotated[int, Field(ge=1024, le=2**31 - 1)] = 32 * 1024 * 1024
    heap: Annotated[str, Field(pattern=HEAP_PATTERN, description="Java's -Xmx.")] = "512m"
    startup_timeout: Annotated[float, Field(gt=0, description="Seconds until the first answer.")] = 180.0


def properties(settings: LaunchSettings, directory: Path, models: Sequence[str]) -> str:
    """The text of ``config.properties``.

    Args:
        settings: How to run it.
        directory: The run's private directory; the models' own are in its ``models``.
        models: Their names, each also its directory's.
    """
    if settings.management_port is None:
        management = f"unix:{directory / MANAGEMENT_SOCKET}"
    else:
        management = f"http://{HOST}:{settings.management_port}"
    values = {
        "inference_address": f"http://{HOST}:{settings.port}",
        "management_address": management,
        "metrics_address": f"http://{HOST}:{settings.metrics_port}",
        "grpc_inference_address": HOST,
        "grpc_management_address": HOST,
        "grpc_inference_port": "0",  # any free one
        "grpc_management_port": "0",
        "model_store": str(directory / "models"),
        "workflow_store": str(directory / "models"),
        "load_models": ",".join(f"{name}={name}" for name in models),
        "allowed_urls": "none",  # a pattern that matches no URL
        "enable_model_api": "false",
        "disable_token_authorization": "true",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "blacklist_env_vars": "(?i).*(token|secret|passw|credential|api_?key).*",
        "job_queue_size": str(settings.queue_size),
        "max_request_size": str(settings.max_request_bytes),
        "max_response_size": str(settings.max_request_bytes),
        "decode_input_request": "false",  # the handler reads bytes
        "metrics_mode": "prometheus",
        "model_metrics_auto_detect": "true",  # the handler's own counters, without naming each here
        "disable_system_metrics": "true",  # a process every minute, for what the host knows already
    }
    return "".join(f"{key}={_escape(value)}\n" for key, value in values.items())


def logging_config(directory: Path) -> str:
    """The text of ``log4j2.xml``: one bounded file, without the seven lines TorchServe writes per request."""
    log = escape(str(directory / LOG), {'"': "&quot;"})
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d{{ISO8601}} %-5p %t %c{{1}} - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info" additivity="false">
      <RegexFilter regex="Backend received inference at: .*" onMatch="DENY" onMismatch="NEUTRAL"/>
      <AppenderRef ref="file"/>
    </Logger>
    <Logger name="io.netty" level="error"/>
    <Root level="warn"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""


def _escape(value: str) -> str:
    """A value as Java reads it: ISO 8859-1, a backslash for what is not itself."""
    return "".join(
        "\\\\" if character == "\\" else character if " " <= character <= "~" else _utf16(character)
        for character in value
    )


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
