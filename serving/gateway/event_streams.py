"""What the API's description says of server-sent events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "text/event-stream"


def describe(
    events: Mapping[str, Mapping[str, Any]], *, example: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of an answer in events, each with JSON as its data.

    ``itemSchema`` is OpenAPI 3.2's. Our description is 3.1, which has no way to say what a single event is,
    and who reads it as such passes over a member that it does not know.

    Args:
        events: The schema of each event's data, by the kinds of events.
        example: A stream, as text, with its summary.
    """
    kinds = [
        {
            "properties": {
                "event": {"const": kind},
                "data": {"contentMediaType": "application/json", "contentSchema": schema},
            }
        }
        for kind, schema in events.items()
    ]
    event = {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}, "id": {"type": "string"}},
        "required": ["event", "data"],
        "oneOf": kinds,
    }
    content: dict[str, Any] = {"itemSchema": event}
    return {MEDIA_TYPE: content if example is None else {**content, "examples": {"stream": example}}}
