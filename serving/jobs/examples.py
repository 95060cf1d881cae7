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
