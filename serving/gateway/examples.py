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
    "timings": {"decode_ms": 0.197, "queue_ms": 0.114, "inference_ms": 0.085, "total_ms": 0.732},
    "request_id": _REQUEST_ID,
}

MODEL: dict[str, Any] = {
    "name": "colours",
    "version": "1",
    "versions": ["1"],
    "description": "Tells red, green and blue apart by the mean of each channel.",
    "created": "2026-01-02T03:04:05Z",
    "method": "standard",
    "dataset": {"name": "colours", "train_images": 3, "note": ""},
    "classes": ["red", "green", "blue"],
    "input": {"channels": 3, "height": 8, "width": 8},
    "head": "linear",
    "defences": ["none"],
    "threat_model": {"norm": "linf", "epsilon": 0.03137254901960784},
    "architecture": {"name": "channel-means", "arguments": {}, "parameters": 12},
    "training": {
        "epochs": 1.0,
        "steps": 1,
        "seed": 0,
        "hardware": "none",
        "seconds": 0.0,
        "images_per_second": 0.0,
    },
    "parity": {
        "images": 3,
        "batch_sizes": [1, 3],
        "logits": 0.0,
        "gradient": 0.0,
        "gradient_sign": 1.0,
    },
    "evaluations": [
        {
            "command": "holdfast evaluate colours",
            "date": "2026-01-02T03:04:05Z",
            "dataset": "colours",
            "seed": 0,
            "figures": [
                {
                    "name": "PGD-20",
                    "defence": "none",
                    "attack": "pgd",
                    "parameters": {"steps": 20},
                    "threat_model": {"norm": "linf", "epsilon": 0.03137254901960784},
                    "adaptive": True,
                    "accuracy": 0.5,
                    "interval": [0.4, 0.6],
                    "images": 100,
                    "flags": [],
                }
            ],
            "unreliable": None,
        }
    ],
    "digest": "c1f940c43059269d451e7ca4f2c6961717452f331ecbca39a0096601c1509c49",
    "card": "# colours\n\nTells red, green and blue apart.\n",
}

PROBLEM: dict[str, Any] = {
    "type": "/problems#truncated-image",
    "title": "The image is truncated",
    "status": 422,
    "detail": "The image is truncated: its end is missing. Send the whole file; an upload may have broken "
    "off.",
    "instance": "/v1/models/colours/classify",
    "request_id": _REQUEST_ID,
}
