"""Where nobody shows a key: requests from pages of other hosts, in the browser of somebody on this machine.

A server on loopback is out of reach of other machines, but not of the pages that a browser on this one shows.
A page may send it forms without asking (cross-site request forgery), and one whose own name was made to lead
here may read the answers too (DNS rebinding). Browsers say in ``Origin`` which page it is, and in ``Host``
which name they followed; neither can be forged by a page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import Scope

from serving.gateway.problem_kinds import FOREIGN_PAGE
from serving.gateway.problems import Problem

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class LocalCallers:
    """Refuses what a page of another host sent.

    Args:
        hosts: Further names of this server, as a proxy on this machine passes them on.
        origins: Pages that may call all the same, as CORS has them.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)

    def check(self, scope: Scope, challenge: str) -> None:
        """Let a request pass, or not.

        Args:
            scope: Its ASGI scope.
            challenge: How to show a key, which would make it pass.

        Raises:
            Problem: It came from a page of another host.
        """
        host = origin = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        # No browser leaves it out.
        if host and not self._is_ours(_name_of(f"//{host}")):
            raise _refuse(f"This server is not {host[:100]!r}, and asks nobody for keys.", challenge)
        if origin and scope["method"] not in _SAFE and not self._may_call(origin):
            raise _refuse("This server takes no orders from other hosts' pages without a key.", challenge)

    def _may_call(self, origin: str) -> bool:
        if "*" in self._origins or origin in self._origins:
            return True
        return self._is_ours(_name_of(origin))

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def _name_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _refuse(detail: str, challenge: str) -> Problem:
    return Problem(FOREIGN_PAGE, f"{detail} {FOREIGN_PAGE.advice}", {"WWW-Authenticate": challenge})
