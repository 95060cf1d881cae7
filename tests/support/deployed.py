"""What manifests and compose files set up, read as what runs them would."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).parents[2]

#: Seconds from the last answer to the end of a process.
CLOSING = 5.0

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings of a process with this environment; variables that are no settings are refused.

    Raises:
        UsageError: One has a value that cannot be used.
        AssertionError: One of ``HOLDFAST_…`` is no setting.
    """
    unknown = {
        name
        for name in environment
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in Settings.model_fields
    }
    assert not unknown, f"no such settings: {sorted(unknown)}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        return load_settings()


def drain_seconds(settings: Settings) -> float:
    """How long a gateway may take to end when it is told to."""
    return settings.drain_delay + settings.drain_timeout + settings.jobs_drain + CLOSING


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """What a compose file has, with ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}`` filled in."""
    if isinstance(value, dict):
        return {key: interpolate(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        found = variables.get(match["name"], "")
        if not found and match["kind"] == ":?":
            raise KeyError(match["name"])
        return found or (match["rest"] if match["kind"] == ":-" else "")

    return _VARIABLE.sub(fill, value)


def seconds(duration: str) -> float:
    """A duration as compose files have it: ``45s``, ``1m``, ``1m30s``."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def containers(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The containers of a pod, with those that run beside them or before."""
    yield from pod.get("initContainers", ())
    yield from pod["containers"]
