"""Load goes to this machine and nowhere else, unless somebody says so."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def check_host(url: str, *, allow_remote: bool) -> str:
    """The address to load, without a slash at its end.

    A name counts as this machine only where it is ``localhost``: what others resolve to is not ours to say.

    Raises:
        ValueError: It is no address, or another machine's and nobody allowed that.
    """
    parts = urlsplit(url)
    try:
        host = parts.hostname
        port = parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError(f"--host takes a gateway's address, such as http://127.0.0.1:8000, not {url!r}.")
    if parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"--host takes no more than scheme, host and port, and {url!r} has more.")
    if not allow_remote and not is_loopback(host):
        raise ValueError(
            f"{host} is not this machine. Load on somebody else's is an attack; where it is yours, say so "
            "with --allow-remote."
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761: always this machine
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
