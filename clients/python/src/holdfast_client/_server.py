"""The handshake: whether this client and a server understand one another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast_client._errors import APIError, UnexpectedAnswerError
from holdfast_client._version import API_VERSION, __version__

#: What this client sends, as the server's description has it.
_OPERATIONS = (
    ("post", "/v1/models/{model}/classify"),
    ("post", "/v1/models/{model}/versions/{version}/classify"),
    ("post", "/v1/models/{model}/attack"),
    ("post", "/v1/models/{model}/versions/{version}/attack"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{model}"),
    ("get", "/v1/models/{model}/versions/{version}"),
    ("get", "/v1/attacks"),
    ("get", "/v1/attacks/{name}"),
    ("get", "/v1/jobs"),
    ("post", "/v1/jobs"),
    ("get", "/v1/jobs/{job}"),
    ("delete", "/v1/jobs/{job}"),
    ("post", "/v1/jobs/{job}/cancel"),
    ("get", "/v1/jobs/{job}/images"),
    ("get", "/v1/jobs/{job}/events"),
    ("get", "/v1/jobs/{job}/result"),
    ("get", "/v1/datasets"),
)


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        version: The Holdfast that runs.
        client: The version of this client.
        api: The version of the API that this client speaks.
        missing: What this client can ask for and this server does not know, e.g. ``POST /v1/jobs``.
    """

    version: str
    missing: tuple[str, ...] = ()
    client: str = __version__
    api: str = API_VERSION

    @property
    def compatible(self) -> bool:
        """Whether the server knows all that this client can ask for; more than that does not matter."""
        return not self.missing

    def __str__(self) -> str:
        """In a sentence."""
        words = (
            f"The server is Holdfast {self.version}, this is holdfast-client {self.client} for {self.api}."
        )
        if self.compatible:
            return words
        shown = ", ".join(self.missing[:3]) + (", …" if len(self.missing) > 3 else "")
        return (
            f"{words} It does not know {shown}: update whichever is older, "
            "the server or this client (pip install -U holdfast-client)."
        )


def info_of(description: Any) -> ServerInfo | None:
    """What an OpenAPI description says of its server; None if that is no Holdfast."""
    if not isinstance(description, Mapping):
        return None
    about, paths = description.get("info"), description.get("paths")
    if not isinstance(about, Mapping) or not isinstance(paths, Mapping):
        return None
    if "holdfast" not in str(about.get("title", "")).lower():
        return None
    # What a parameter is called is nobody's business but the description's.
    known = {_shape(str(path)): operations for path, operations in paths.items()}
    missing = tuple(
        f"{method.upper()} {path}"
        for method, path in _OPERATIONS
        if method not in (known.get(_shape(path)) or {})
    )
    return ServerInfo(version=str(about.get("version", "unknown")), missing=missing)


def _shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def is_puzzling(error: APIError) -> bool:
    """Whether an error may mean that client and server are of different times, or it is another server."""
    status, kind = getattr(error, "status", 0), getattr(error, "kind", "")
    if status in (404, 405):
        return kind in ("", "not-found", "method-not-allowed")
    return isinstance(error, UnexpectedAnswerError) and status < 300


def explain(error: APIError, info: ServerInfo | None, base_url: str) -> None:
    """Let an error say what the handshake found."""
    words = (
        str(info) if info else f"What answers at {base_url} does not describe itself as a Holdfast gateway."
    )
    error.hint = f"{error.hint} {words}".strip()
