"""What the API's description says of attacks that FastAPI cannot see for itself: bodies, options, answers."""

from __future__ import annotations

from functools import cache
from typing import Any

from holdfast.attacks.catalogue import catalogue
from holdfast.attacks.description import parameters_of
from serving.gateway import event_streams
from serving.gateway.attack.request import AttackBody, AttackQuery
from serving.gateway.attack.schemas import AttackAnswer, AttackProgress, AttackWaiting
from serving.gateway.examples import RED_PNG
from serving.gateway.schemas import ProblemDocument
from serving.gateway.uploads import FORM, IMAGE_TYPES, JSON

_REFERENCE = "#/components/schemas/{}"

#: The headers that an answer has which is the PNG itself.
FACTS = {
    "Holdfast-Model": "Name and version.",
    "Holdfast-Attack": "Its name.",
    "Holdfast-Defence": "The one under attack.",
    "Holdfast-Outcome": "fooled, held, or wrong before.",
    "Holdfast-Success": "true where the exact result fools the model.",
    "Holdfast-Survives-Rounding": "true where this PNG does.",
    "Holdfast-Label": "The class to leave.",
    "Holdfast-Label-From": "request or model.",
    "Holdfast-Target": "The class to reach, in a targeted attack.",
    "Holdfast-Before": "What the model says of the image as it came, behind the defence under attack.",
    "Holdfast-Before-Probability": "Of that class.",
    "Holdfast-After": "What it says of this PNG.",
    "Holdfast-After-Probability": "Of that class.",
    "Holdfast-Budget": "Norm and epsilon, where the attack has a budget.",
    "Holdfast-Linf": "How far this PNG is from the image.",
    "Holdfast-L2": "How far this PNG is from the image.",
    "Holdfast-Queries": "Images that the model was shown.",
    "Holdfast-Forwards": "Forward passes.",
    "Holdfast-Backwards": "Backward passes.",
    "Holdfast-Flags": "Why not to believe the outcome, by name.",
}

_TOLD = (
    "With `Accept: text/event-stream` the answer is server-sent events: `waiting` with an `AttackWaiting`, "
    "where it has to wait, and whenever that changes; `progress` with an `AttackProgress`, ten a second at "
    "most; and in the end one of `result`, with the very JSON of the ordinary answer, and `problem`, with a "
    "`ProblemDocument`. What is wrong before there is anything to tell is answered with its own status."
)

_EVENTS = {
    kind: {"$ref": _REFERENCE.format(schema)}
    for kind, schema in {
        "waiting": AttackWaiting.__name__,
        "progress": AttackProgress.__name__,
        "result": AttackAnswer.__name__,
        "problem": ProblemDocument.__name__,
    }.items()
}

_EXAMPLE_OF_EVENTS = {
    "summary": "An attack that waits for another; its answer is cut short here",
    "value": 'event: waiting\ndata: {"waiting":1}\n\nevent: waiting\ndata: {"waiting":0}\n\n'
    'event: progress\ndata: {"done":8,"total":20,"seconds":0.101}\n\n'
    'event: result\ndata: {"model":"pgd-at-cifar10","version":"1","defence":"none",…}\n\n',
}


def operation() -> dict[str, Any]:
    """The parameters and bodies of an attack's operation."""
    return {
        "parameters": [
            {
                "name": "parameters",
                "in": "query",
                "style": "form",
                "explode": True,
                "description": "The attack's own parameters, each by its name: `epsilon=8/255&steps=20`. "
                "`GET /v1/attacks/{name}` has their JSON Schema. Only for images and forms; in JSON they are "
                "the member `parameters`.",
                "schema": {"type": "object", "properties": _all_parameters(), "additionalProperties": False},
            }
        ],
        "requestBody": {
            "required": True,
            "description": "One image as it is, as the file of a form, or base64 in JSON.",
            "content": {
                **{
                    media_type: {"schema": {"type": "string", "contentMediaType": media_type}}
                    for media_type in IMAGE_TYPES
                },
                FORM: {"schema": _form()},
                JSON: {
                    "schema": {"$ref": _REFERENCE.format(AttackBody.__name__)},
                    "examples": {
                        "pgd": {
                            "summary": "PGD within 8/255",
                            "value": {
                                "image": RED_PNG,
                                "attack": "pgd",
                                "parameters": {"epsilon": "8/255", "steps": 20},
                            },
                        },
                        "targeted": {
                            "summary": "CW towards a class, by its number",
                            "value": {
                                "image": RED_PNG,
                                "attack": "cw-linf",
                                "parameters": {"target": 1, "epsilon": 0.5},
                                "label": 0,
                                "float": True,
                            },
                        },
                    },
                },
            },
        },
    }


def answers() -> dict[int | str, dict[str, Any]]:
    """The answer in its three forms."""
    facts = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in FACTS.items()
    }
    said = "The headers of facts are there where the answer is the PNG."
    return {
        200: {
            "model": AttackAnswer,
            "description": "What came of the attack; with `Accept: image/png` the adversarial image. "
            f"{said} {_TOLD}",
            "headers": facts,
            "content": {
                "image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}},
                **event_streams.describe(_EVENTS, example=_EXAMPLE_OF_EVENTS),
            },
        }
    }


def schemas() -> dict[str, Any]:
    """The schema of the JSON body, and those of the parameters that it refers to."""
    found: dict[str, Any] = {}
    variants = []
    for name, attack in catalogue().items():
        kind = attack.parameters.__name__
        schema = attack.parameters.model_json_schema(ref_template=_REFERENCE.format("{model}"))
        found.update(schema.pop("$defs", {}))
        if "target" in schema["properties"]:
            schema["properties"]["target"] = _target(schema["properties"]["target"])
        found[kind] = schema
        variants.append(
            {
                "title": name,
                "properties": {
                    "attack": {"const": name},
                    "parameters": {"$ref": _REFERENCE.format(kind)},
                },
                # The attack that is meant where none is named.
                "required": [] if name == AttackQuery.model_fields["attack"].default else ["attack"],
            }
        )
    body = AttackBody.model_json_schema(ref_template=_REFERENCE.format("{model}"))
    body["properties"]["attack"]["enum"] = list(catalogue())
    found[AttackBody.__name__] = {**body, "oneOf": variants}
    for event in (AttackWaiting, AttackProgress):
        found[event.__name__] = event.model_json_schema()
    return found


def _target(schema: dict[str, Any]) -> dict[str, Any]:
    """Over HTTP a target may be a class's name, too."""
    options = [option for option in schema["anyOf"] if option.get("type") != "string"]
    return {**schema, "anyOf": [*options, {"type": "string"}]}


@cache
def _all_parameters() -> dict[str, Any]:
    """Every parameter that any attack has, as text, with the attacks that have it."""
    having: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for name, attack in catalogue().items():
        for parameter in parameters_of(attack.parameters):
            having.setdefault(parameter.name, []).append(name)
            words.setdefault(parameter.name, parameter.description)
    everywhere = len(catalogue())
    return {
        name: {
            "type": "string",
            "description": words[name] + ("" if len(attacks) == everywhere else f" Of {', '.join(attacks)}."),
        }
        for name, attacks in having.items()
    }


def _form() -> dict[str, Any]:
    options = {
        info.alias or name: {"type": "string", "description": info.description}
        for name, info in AttackQuery.model_fields.items()
    }
    return {
        "type": "object",
        "description": "One file, under any name, and any of the options that an address may have.",
        "properties": {
            "image": {"type": "string", "contentMediaType": "application/octet-stream"},
            **options,
            **_all_parameters(),
        },
        "required": ["image"],
    }
