"""Where the server is, and as whom to speak to it."""

from __future__ import annotations

import logging
import os
import platform
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from holdfast_client._errors import ConfigurationError
from holdfast_client._version import API_VERSION, __version__

#: Where ``holdfast serve`` listens if nobody says otherwise.
DEFAULT_URL = "http://127.0.0.1:8000"

URL_VARIABLE = "HOLDFAST_URL"
KEY_VARIABLE = "HOLDFAST_API_KEY"

#: What may be in a header.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

logger = logging.getLogger("holdfast_client")


@dataclass(frozen=True)
class Config:
    """What a client was made with.

    Attributes:
        base_url: With no slash at its end.
        api_key: The key, if there is one; in no ``repr``, no log and no error.
        timeout: Seconds for one attempt of a request, answer and all.
        route_key: Keeps a caller with one version of a model while several share its requests.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout: float
    route_key: str | None

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request."""
        agent = f"holdfast-client/{__version__} ({API_VERSION}) Python/{platform.python_version()}"
        headers = {"User-Agent": agent, "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.route_key:
            headers["Holdfast-Route-Key"] = self.route_key
        return headers


def configure(
    base_url: str | None, api_key: str | None, timeout: float, route_key: str | None = None
) -> Config:
    """What was given, or else is in the environment, or else is usual.

    Raises:
        ConfigurationError: It cannot be.
    """
    url = (base_url if base_url is not None else os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    key = (api_key if api_key is not None else os.environ.get(KEY_VARIABLE) or "").strip()
    parts = _split(url)
    for name, value in (("key", key), ("route key", route_key or "")):
        if value and not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"The {name} has characters in it that no header may have.", "Check how it was read."
            )
    if not timeout > 0:
        raise ConfigurationError(f"A timeout is a number of seconds above 0, not {timeout!r}.")
    if key and parts[0] == "http" and not _is_local(parts[1]):
        logger.warning("The key is sent to %s unencrypted: use https, or a tunnel.", parts[1])
    return Config(url, key or None, float(timeout), route_key)


def _split(url: str) -> tuple[str, str]:
    """An address's scheme and host."""
    hint = "Write it like https://holdfast.example or http://127.0.0.1:8000."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("The address of the server is none.", hint) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "The address of the server has a name or a password in it.", f"Give a key: {KEY_VARIABLE}."
        )
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigurationError(f"'{url}' is no address of a server.", hint)
    return parts.scheme, host


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
