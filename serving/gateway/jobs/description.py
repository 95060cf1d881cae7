"""What the API's description says of jobs beyond what the routes' signatures show."""

from __future__ import annotations

from typing import Any

from serving.gateway import event_streams
from serving.gateway.uploads import FORM, JSON
from serving.jobs.examples import CAMPAIGN

_REFERENCE = "#/components/schemas/{}"

_LOCATION = {
    "Location": {"description": "The job's address.", "required": True, "schema": {"type": "string"}}
}

#: The header that makes a request safe to send again.
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "By draft-ietf-httpapi-idempotency-key-header: the same key with the same content "
    "gives the same job, with other content it is refused. It is kept as long as the job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]+$"},
}

#: The bodies that describe a campaign.
JOB_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A form with images, or JSON about a data set of the server.",
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "description": "Every file is an image, a zip file of images or an `.npz` file. A "
                    "field of any other name than these is a parameter of every attack that has it, or "
                    "of one attack, written `ATTACK.NAME`.",
                    "properties": {
                        "campaign": {
                            "type": "string",
                            "contentMediaType": JSON,
                            "description": "The whole campaign in JSON, in place of all fields below.",
                        },
                        "model": {"type": "array", "items": {"type": "string"}},
                        "defence": {"type": "array", "items": {"type": "string"}},
                        "attack": {"type": "array", "items": {"type": "string"}},
                        "labels": {"type": "string"},
                        "dataset": {"type": "string"},
                        "first": {"type": "integer"},
                        "count": {"type": "integer"},
                        "layout": {"type": "string"},
                        "float_images": {"type": "boolean"},
                        "name": {"type": "string"},
                        "eot": {"type": "integer"},
                        "images": {
                            "type": "array",
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        },
                    },
                    "additionalProperties": {"type": "string"},
                }
            },
            JSON: {
                "schema": {"$ref": _REFERENCE.format("CampaignRequest")},
                "examples": {
                    "dataset": {"summary": "Two attacks on a data set of the server", "value": CAMPAIGN}
                },
            },
        },
    }
}

#: The answer to a campaign that is taken on.
TAKEN_ON: dict[int | str, dict[str, Any]] = {
    202: {"description": "The job, which has just begun, or had before.", "headers": _LOCATION}
}

_KINDS = ("queued", "running", "progress", "succeeded", "failed", "cancelled")

_EVENT = {
    "type": "object",
    "properties": {
        "state": {"type": "string"},
        "images": {"type": "integer"},
        "share": {"type": "number"},
        "run": {"type": "object"},
        "error": {"type": "string"},
    },
    "required": ["state"],
}

#: The answer to who follows a job.
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, each with its number as `id` and JSON as `data`.",
        "content": event_streams.describe(dict.fromkeys(_KINDS, _EVENT)),
    }
}

#: The answers of a result.
RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What the job came to.",
        "content": {"application/zip": {"schema": {"type": "string", "contentMediaType": "application/zip"}}},
    }
}
