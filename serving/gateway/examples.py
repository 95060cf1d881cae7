"""Examples for the API's documentation: real answers of a real gateway."""

from __future__ import annotations

from typing import Any

_REQUEST_ID = "0f8b6c1e5d7a4f0c9b3e2a1d6c5f4e3b"

#: A red square of 8x8 pixels.
RED_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP8z4AdMOEQH6QSAM1BAQ/oQeJvAAAAAElFTkSuQmCC"
)

CLASSIFICATION: dict[str, Any] = {
    "model": "colours",
    "version": "1",
    "defence": "none",
    "predictions": [
        {
            "label": "red",
            "class_index": 0,
            "probability": 0.999909,
            "top_k": [
                {"label": "red", "class_index": 0, "probability": 0.999909},
                {"label": "green", "class_index": 1, "probability": 4.5e-05},
            ],
            "probabilities": {"red": 0.999909, "green": 4.5e-05, "blue": 4.5e-05},
        }
    ],
    "timings": {"decode_ms": 0.213, "queue_ms": 0.061, "inference_ms": 0.118, "total_ms": 0.604},
    "request_id": _REQUEST_ID,
}

MODEL: dict[str, Any] = {}

PROBLEM: dict[str, Any] = {
    "type": "/problems#truncated-image",
    "title": "The image is truncated",
    "status": 422,
    "detail": "The image is truncated: its end is missing. Send the whole file.",
    "instance": "/v1/models/colours/classify",
    "request_id": _REQUEST_ID,
}
