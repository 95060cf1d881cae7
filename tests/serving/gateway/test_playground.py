"""The playground's page is always fresh, its files are kept for ever, and no other file is answered."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.gateway import Gateway, Message, assert_problem, gateway

from holdfast.errors import UsageError
from serving.gateway.app import create_app
from serving.playground.assets import STATIC, UNHASHED, PackedAssets
from serving.settings import Settings

pytestmark = pytest.mark.anyio

PLAIN = {"Accept-Encoding": "identity"}
SCRIPT = "export const answer = 42;\n" * 20


def write_page(directory: Path, script: str = SCRIPT) -> Path:
    """A playground with one script and a picture, beside a file that is none of it."""
    (directory / "static/js").mkdir(parents=True, exist_ok=True)
    (directory / "static/index.html").write_text(
        '<script type="module" src="{{assets}}/js/main.js"></script>'
    )
    (directory / "static/js/main.js").write_text(script)
    (directory / "static/dot.png").write_bytes(b"\x89PNG" * 100)
    (directory / "static/.hidden").write_text("secret")
    (directory / "secret.txt").write_text("secret")
    return directory / "static"


@pytest.fixture
async def packed(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[Gateway]:
    """A gateway whose playground is that of ``write_page``, as if it were the package's own."""
    static = write_page(tmp_path)
    monkeypatch.setattr("serving.gateway.app.PackedAssets", lambda: PackedAssets(static))
    async with gateway(tiny_store) as started:
        yield started


async def nothing() -> Message:
    """The body of a request that has none."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def script_of(started: Gateway) -> str:
    """Where the page's script is."""
    found = re.search('src="([^"]+)"', (await started.client.get("/")).text)
    assert found
    return found[1]


async def test_page_is_asked_for_each_time_and_its_files_once(packed: Gateway) -> None:
    page = await packed.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    file = await packed.client.get(await script_of(packed))
    assert file.text == SCRIPT
    assert file.headers["content-type"] == "text/javascript; charset=utf-8"
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("accepted", ["gzip, br", "identity", "gzip;q=0", "br, *;q=0.1"])
async def test_file_is_packed_for_those_who_take_that(packed: Gateway, accepted: str) -> None:
    takes = accepted in ("gzip, br", "br, *;q=0.1")
    async with packed.client.stream(
        "GET", await script_of(packed), headers={"Accept-Encoding": accepted}
    ) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == ("gzip" if takes else None)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (gzip.decompress(raw) if takes else raw).decode() == SCRIPT


async def test_what_is_known_is_not_sent_again(packed: Gateway) -> None:
    for path in ("/", await script_of(packed)):
        first = await packed.client.get(path)
        again = await packed.client.get(path, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert (await packed.client.get(path, headers={"If-None-Match": '"x"'})).status_code == 200
        # The same bytes packed are another representation, which has a tag of its own.
        if path != "/":
            plain = await packed.client.get(path, headers=PLAIN)
            assert plain.headers["etag"] != first.headers["etag"]


async def test_head_is_answered_as_get(packed: Gateway) -> None:
    for path in ("/", await script_of(packed)):
        head, get = await packed.client.head(path), await packed.client.get(path)
        for name in ("content-type", "etag", "cache-control", "content-length"):
            assert head.headers[name] == get.headers[name]


async def test_files_of_other_content_have_another_address(tmp_path: Path) -> None:
    one = PackedAssets(write_page(tmp_path / "a"))
    same = PackedAssets(write_page(tmp_path / "b"))
    other = PackedAssets(write_page(tmp_path / "c", script="0;"))
    assert one.digest == same.digest != other.digest
    assert one.find(other.digest, "js/main.js") is None


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "js/../../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        ".hidden",
        "js",
        "",
        "/etc/passwd",
        "index.html",
        "js/main.js/",
    ],
)
@pytest.mark.parametrize("loose", [False, True])
async def test_only_files_of_the_playground_are_answered(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, loose: bool
) -> None:
    static = write_page(tmp_path)
    monkeypatch.setattr("serving.gateway.app.PackedAssets", lambda: PackedAssets(static))
    async with gateway(tiny_store, playground_dir=static if loose else None) as started:
        folder = (await script_of(started)).removesuffix("js/main.js")
        assert (await started.client.get(f"{folder}js/main.js")).status_code == 200
        # By hand, since clients tidy addresses up before they send them.
        raw = f"{folder}{name}"
        answer = await started.call(nothing, method="GET", path=unquote(raw), raw_path=raw.encode())
        assert answer.status == 404
        assert json.loads(answer.body)["type"] == "/problems#not-found"
        assert answer.headers["cache-control"] == "no-store"


async def test_page_of_an_earlier_gateway_is_told_that_its_files_are_gone(packed: Gateway) -> None:
    answer = await packed.client.get("/playground/0123456789ab/js/main.js")
    assert_problem(answer, 404, "not-found")
    assert answer.headers["cache-control"] == "no-store"


async def test_files_being_written_are_read_anew(tiny_store: Path, tmp_path: Path) -> None:
    static = write_page(tmp_path)
    async with gateway(tiny_store, playground_dir=static) as started:
        assert await script_of(started) == f"/playground/{UNHASHED}/js/main.js"
        (static / "js/main.js").write_text("1;")
        answer = await started.client.get(f"/playground/{UNHASHED}/js/main.js")
        assert (answer.text, answer.headers["cache-control"]) == ("1;", "no-store")


async def test_folder_without_a_page_ends_the_start(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no index\.html"):
        create_app(Settings(model_store=tiny_store, playground_dir=tmp_path))


async def test_there_need_be_no_playground(tiny_store: Path) -> None:
    async with gateway(tiny_store, playground=False) as started:
        answer = await started.client.get("/")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        for path in re.findall(r"^(/\S+)", answer.text, re.MULTILINE):
            assert (await started.client.get(path)).status_code == 200
        assert_problem(await started.client.get("/playground/x/js/main.js"), 404, "not-found")


async def test_page_may_reach_nothing_but_this_server_and_make_no_code(tiny: Gateway) -> None:
    headers = (await tiny.client.get("/")).headers
    parts = [part.strip().split(" ") for part in headers["content-security-policy"].split(";")]
    policy = {name: set(sources) for name, *sources in parts}
    assert policy["default-src"] == {"'none'"}
    assert set().union(*policy.values()) <= {"'none'", "'self'", "data:", "blob:", "'script'"}
    for name in ("script-src", "style-src", "connect-src"):
        assert policy[name] == {"'self'"}
    for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert policy[name] == {"'none'"}
    assert policy["require-trusted-types-for"] == {"'script'"}
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert "camera=(self)" in headers["permissions-policy"]
    assert "microphone=()" in headers["permissions-policy"]


async def test_everything_that_the_page_refers_to_is_here(tiny: Gateway) -> None:
    references = re.findall(r'(?:src|href)="([^"]+)"', (await tiny.client.get("/")).text)
    assert references
    for reference in references:
        assert reference.startswith("/"), reference
        assert (await tiny.client.get(reference)).status_code == 200, reference


async def test_every_file_has_a_media_type() -> None:
    packed = PackedAssets(STATIC)
    for path in STATIC.rglob("*"):
        asset = packed.find(packed.digest, path.relative_to(STATIC).as_posix())
        if path.is_file() and path != STATIC / "index.html":
            assert asset, path
            assert asset.media_type != "application/octet-stream", path
