"""Examples for the API's documentation: what a gateway answered about a job."""

from __future__ import annotations

from typing import Any

JOB: dict[str, Any] = {
    "id": "5f1c2a9e0b7d4c3e8a61",
    "name": "PGD against both",
    "state": "running",
    "created": "2026-11-21T12:00:00Z",
    "started": "2026-11-21T12:00:01Z",
    "finished": None,
    "expires": None,
    "images": 200,
    "progress": {"done": 128, "total": 400, "share": 0.32, "eta_seconds": 21.4},
    "error": "",
    "links": {
        "self": "/v1/jobs/5f1c2a9e0b7d4c3e8a61",
        "events": "/v1/jobs/5f1c2a9e0b7d4c3e8a61/events",
        "result": "/v1/jobs/5f1c2a9e0b7d4c3e8a61/result",
        "images": "/v1/jobs/5f1c2a9e0b7d4c3e8a61/images",
    },
    "labels": "array",
    "note": "",
    "runs": [
        {
            "model": "pgd-at-cifar10",
            "version": "1",
            "defence": "none",
            "attack": "pgd",
            "images_done": 64,
            "images": 200,
            "fooled": 22,
            "wrong_before": 15,
            "robust_accuracy": 0.421875,
        },
        {
            "model": "standard-cifar10",
            "version": "1",
            "defence": "none",
            "attack": "pgd",
            "images_done": 64,
            "images": 200,
            "fooled": 57,
            "wrong_before": 7,
            "robust_accuracy": 0.0,
        },
    ],
}

CAMPAIGN: dict[str, Any] = {
    "name": "Before the release",
    "models": [{"model": "pgd-at-cifar10", "defences": ["none"]}, "standard-cifar10"],
    "attacks": ["pgd", {"attack": "square", "parameters": {"queries": 500}}],
    "parameters": {"epsilon": "8/255"},
    "dataset": {"name": "cifar10", "first": 0, "count": 200},
}

_ORIGINAL = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR4nO3NMQEAAAjDMMC/ZzDBvlRA01vZJvwHAAAAAAAA"
    "AAAAbx2jxAE/i2AjOgAAAABJRU5ErkJggg=="
)
_ADVERSARIAL = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAABSUlEQVR4nK1WSxbDIAic5rmY+1827NpF1covMVqeNY0Cw4Ah"
    "eZ0kAUAA9qneAuiXtiSYFwGIk3wDbYz//eCcDrvOCR5zsXBiJbYrmnuWAEFPnpqtgYctU4FEvhKdbyg/oMkUPRBqGkdD3vdb"
    "Z9HOJhiwjdGTk6A+AGoNwuN9cXDGrYj7uH+oJQ5UN6SDMq7BI++Rcs5gTS6N63Owf4oyLMNgL/eRqGO67p7qJGcA3EmUJHn2"
    "DFZpJHYK4LKh3kli9zcG5H0N1hhUtyJBI7IASwyaQ/5uXLNTuvMMTCixoW/Xjxj0iNNm5gEe1SDuvaOLzRqICj8y9TUw0fWd"
    "EPju1ZN8VTB58hWMBpTQvVQAMYuh2PVALzK1NSDocmHe+tXZcC9KF0q3RIseA1YFhP9YqI6UebHbaT29CKIqG+MCHUXSskIh"
    "Lk5C+30AAtZwO7DTbzoAAAAASUVORK5CYII="
)

#: Of a job over two red squares.
IMAGES: dict[str, Any] = {
    "total": 2,
    "next": "/v1/jobs/5f1c2a9e0b7d4c3e8a61/images?run=0&first=1&count=1",
    "images": [
        {
            "index": 0,
            "image": "red.png",
            "label": "airplane",
            "target": None,
            "outcome": "held",
            "survives_rounding": False,
            "before": {
                "label": "airplane",
                "class_index": 0,
                "probability": 0.8807203841964933,
                "probability_of_label": 0.8807203841964933,
            },
            "after": {
                "label": "airplane",
                "class_index": 0,
                "probability": 0.8720106436400165,
                "probability_of_label": 0.8720106436400165,
            },
            "linf": 0.0313725508749485,
            "l2": 1.270491361618042,
            "original": _ORIGINAL,
            "adversarial": _ADVERSARIAL,
        }
    ],
}
