"""Log records are JSON for machines and short for people, and carry the request's id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateway import PNG, gateway

from serving.logs import configure_logging


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    uvicorn = logging.getLogger("uvicorn").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(uvicorn)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def entries(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.anyio
async def test_every_request_is_logged_once_with_its_id(tiny_store: Path) -> None:
    stream = io.StringIO()
    configure_logging("info", "auto", stream)
    async with gateway(tiny_store) as started:
        stream.truncate(0)
        stream.seek(0)
        await started.client.post(
            "/v1/models/tiny/classify", content=b"no", headers={**PNG, "X-Request-Id": "mine"}
        )
        await started.client.get("/livez")
        await started.client.get("/v1/models")
    first, second = [entry for entry in entries(stream) if entry["logger"] == "holdfast.access"]
    assert first["request_id"] == "mine"
    assert (first["method"], first["path"], first["status"]) == ("POST", "/v1/models/tiny/classify", 422)
    assert isinstance(first["duration_ms"], float)
    assert first["level"] == "info"
    assert second["path"] == "/v1/models"
    assert second["request_id"] != "mine"


@pytest.mark.anyio
async def test_health_is_logged_only_when_one_looks_closely(tiny_store: Path) -> None:
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    async with gateway(tiny_store) as started:
        await started.client.get("/readyz")
    assert [entry["path"] for entry in entries(stream) if entry["logger"] == "holdfast.access"] == ["/readyz"]


def test_terminal_gets_short_lines_that_cannot_control_it() -> None:
    stream = Terminal()
    configure_logging("info", "auto", stream)
    logging.getLogger("x").warning("a\x1b[31mb\nc %s", "ä")
    line = stream.getvalue()
    assert line.endswith("WARNING a\\x1b[31mb\\nc ä\n")
    assert "\x1b" not in line


def test_exception_is_one_json_line() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("It failed")
    [entry] = entries(stream)
    assert entry["message"] == "It failed"
    assert "ValueError: broken" in str(entry["exception"])


def test_level_is_kept() -> None:
    stream = io.StringIO()
    configure_logging("warning", "plain", stream)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    assert "loud" in stream.getvalue()
    assert "quiet" not in stream.getvalue()
