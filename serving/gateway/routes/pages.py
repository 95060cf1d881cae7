"""``/docs`` and ``/problems``: pages for people. They load nothing from any other host."""

from __future__ import annotations

import importlib.util
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

from holdfast.version import __version__
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.problem_kinds import KINDS

router = APIRouter(include_in_schema=False, route_class=GatewayRoute)

#: A page may load what this server has, and nothing else; it may be shown in no other page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_OWN_ASSETS = {"style.css": "text/css", "docs.js": "text/javascript", "icon.svg": "image/svg+xml"}
_SWAGGER_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


@router.get("/docs")
@requires("open")
async def docs() -> Response:
    """The API, to read and to try."""
    return _page("docs.html")


@router.get("/problems")
@requires("open")
async def problems() -> Response:
    """Every kind of problem: where the ``type`` of a problem document leads."""
    items = "".join(
        f'<dt id="{kind.name}"><code>{kind.name}</code> <span>{kind.status}</span></dt>'
        f"<dd>{escape(kind.title)}. {escape(kind.advice)}</dd>"
        for kind in KINDS
    )
    return _page("problems.html", problems=items)


@router.get("/assets/{name}")
@requires("open")
def asset(name: str) -> Response:
    """A style sheet, script or icon of these pages."""
    headers = {**_HEADERS, "Cache-Control": "public, max-age=3600"}
    if name in _OWN_ASSETS:
        return Response(_own(name), media_type=_OWN_ASSETS[name], headers=headers)
    if name in _SWAGGER_ASSETS:
        return FileResponse(_swagger_directory() / name, media_type=_SWAGGER_ASSETS[name], headers=headers)
    raise HTTPException(404)


def _page(name: str, **values: str) -> Response:
    return HTMLResponse(Template(_own(name)).substitute(values, version=__version__), headers=_HEADERS)


@cache
def _own(name: str) -> str:
    return (files("serving.gateway") / "pages" / name).read_text(encoding="utf-8")


@cache
def _swagger_directory() -> Path:
    """Swagger UI's files, out of the package that carries them; its code is not imported."""
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package fastapi-offline is not installed")
    return Path(spec.origin).parent / "static"
