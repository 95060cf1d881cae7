"""The gateway that is loaded: where it is, and what it serves."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

_PATIENCE = 30.0


class TargetError(Exception):
    """There is nothing to load, and why."""


@dataclass(frozen=True)
class Model:
    """A model that the gateway serves.

    Attributes:
        name: Its name.
        version: The version that answers where none is named.
        classes: Its classes' names.
        channels: Of the images that it takes.
        height: Of the images that it takes.
        width: Of the images that it takes.
        defences: What it offers at inference.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    channels: int
    height: int
    width: int
    defences: tuple[str, ...]

    @property
    def path(self) -> str:
        """Its address."""
        return f"/v1/models/{quote(self.name)}"


@dataclass(frozen=True)
class Target:
    """A gateway.

    Attributes:
        url: Its address.
        model: The model that is asked.
        defended: The one that is asked behind its defences: the same where it has any, else another that has.
    """

    url: str
    model: Model
    defended: Model


def key_headers() -> dict[str, str]:
    """What shows the key in ``HOLDFAST_API_KEY``, where there is one. It is no option: those can be seen."""
    key = os.environ.get("HOLDFAST_API_KEY", "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def find_target(url: str, name: str = "") -> Target:
    """Ask a gateway what it serves.

    Args:
        url: Its address.
        name: The model to ask; the one that the gateway names first, if it is empty.

    Raises:
        TargetError: It is not there, or does not serve that.
    """
    listed = _get(url, "/v1/models")
    names = [entry["name"] for entry in listed["models"]]
    name = name or listed["default"]
    if name not in names:
        raise TargetError(f"The gateway has no model {name!r}. It has {', '.join(names)}.")
    model = _describe(url, name)
    others = [entry["name"] for entry in listed["models"] if len(entry["defences"]) > 1]
    defended = model if len(model.defences) > 1 or not others else _describe(url, others[0])
    return Target(url, model, defended)


def _describe(url: str, name: str) -> Model:
    found = _get(url, f"/v1/models/{quote(name)}")
    shape = found["input"]
    return Model(
        name=found["name"],
        version=found["version"],
        classes=tuple(found["classes"]),
        channels=shape["channels"],
        height=shape["height"],
        width=shape["width"],
        defences=tuple(found["defences"]),
    )


def _get(url: str, path: str) -> Any:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(host, port, timeout=_PATIENCE, context=ssl.create_default_context())
    else:
        connection = HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers=key_headers())
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        raise TargetError(f"There is no gateway at {url}: {error}. Start one with: holdfast serve") from None
    finally:
        connection.close()
    try:
        content = json.loads(body)
    except ValueError:
        raise TargetError(
            f"What is at {url} is no Holdfast gateway: its answer to {path} is no JSON."
        ) from None
    if response.status != 200:
        detail = content.get("detail", "") if isinstance(content, dict) else ""
        raise TargetError(f"The gateway answered {response.status} to {path}. {detail}".strip())
    return content
