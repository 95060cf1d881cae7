"""Log records with the request's id: one JSON object a line, or plain on a terminal."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from pydantic_core import to_json

from serving.gateway.request_id import current_request_id
from serving.settings import LogFormat, LogLevel


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: time, level, logger, message, request_id, and the fields that it carries."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id.get():
            entry["request_id"] = request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return to_json(entry, fallback=str).decode()


class PlainFormatter(logging.Formatter):
    """A short line, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as time, level and message, with the request's id."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        # What a caller sent may be in the message; no control character of it reaches the terminal.
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.getMessage())
        line = f"{time} {record.levelname:<7} {message}"
        if request_id := current_request_id.get():
            line += f"  [{request_id}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure_logging(level: LogLevel, style: LogFormat, stream: TextIO | None = None) -> None:
    """Send all records of this process to one stream.

    Args:
        level: The least level that is written.
        style: How; ``auto`` is plain on a terminal and JSON elsewhere.
        stream: Where to; stderr if ``None``.
    """
    stream = stream or sys.stderr
    plain = style == "plain" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter() if plain else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What the server itself says at info is said by the ready message and the access log already; what the
    # client of a backend says is a line for every prediction.
    for name in ("uvicorn", "httpx"):
        logging.getLogger(name).setLevel("WARNING")
