"""``/`` and ``/playground/…``: the playground, a page for people. It loads nothing from any other host."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from serving.gateway.access import GatewayRoute, requires
from serving.gateway.services import services_of
from serving.playground.assets import PREFIX, Asset

router = APIRouter(include_in_schema=False, route_class=GatewayRoute)

#: The page may load what this server has and what it made itself, and run what it loaded; no string ever
#: becomes code or markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
#: Pictures may be taken, on this page alone; requests may be copied, which is what is left on.
_OFF = (
    "accelerometer", "clipboard-read", "display-capture", "encrypted-media", "fullscreen",
    "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts", "magnetometer", "microphone", "midi",
    "payment", "picture-in-picture", "publickey-credentials-get", "screen-wake-lock", "serial", "usb",
    "xr-spatial-tracking",
)  # fmt: skip
_PERMISSIONS = ", ".join(["camera=(self)", "clipboard-write=(self)", *(f"{name}=()" for name in _OFF)])

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": _PERMISSIONS,
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"

_WITHOUT = """\
Holdfast classifies images, and attacks them.

/docs        the API, to read and to try
/v1/models   the models, as JSON
/problems    what can go wrong
"""

_GZIP = re.compile(r"(?:gzip|\*)(?:\s*;\s*q=(?!0(\.0*)?$)[\d.]+)?", re.IGNORECASE)


@router.head("/")
@router.get("/")
@requires("open")
async def index(request: Request) -> Response:
    """The playground, or where to go instead."""
    playground = services_of(request).playground
    if playground is None:
        return PlainTextResponse(_WITHOUT, headers=_HEADERS)
    # Asked for each time, so that a reload finds the files of the gateway that runs now.
    return _answer(request, playground.page(), _PAGE_HEADERS, "no-cache" if playground.kept else "no-store")


@router.head(PREFIX + "/{digest}/{name:path}")
@router.get(PREFIX + "/{digest}/{name:path}")
@requires("open")
async def file(request: Request, digest: str, name: str) -> Response:
    """A script, style sheet or picture of the playground."""
    playground = services_of(request).playground
    asset = None if playground is None else playground.find(digest, name)
    if playground is None or asset is None:
        # Perhaps another gateway has it, which answers the next time.
        raise HTTPException(404, headers={"Cache-Control": "no-store"})
    return _answer(request, asset, _HEADERS, _FOR_EVER if playground.kept else "no-store")


def _answer(request: Request, asset: Asset, headers: dict[str, str], cache: str) -> Response:
    packed = asset.compressed is not None and _takes_gzip(request.headers.get("accept-encoding", ""))
    etag = asset.compressed_etag if packed else asset.etag
    headers = {**headers, "Cache-Control": cache, "ETag": etag, "Vary": "Accept-Encoding"}
    if _has(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    if asset.compressed is not None and packed:
        headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    return any(_GZIP.fullmatch(coding.strip()) for coding in accepted.split(","))


def _has(known: str, etag: str) -> bool:
    """Whether a caller that knows these entity tags has the answer already, as RFC 9110 compares them."""
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return etag in tags or "*" in tags
