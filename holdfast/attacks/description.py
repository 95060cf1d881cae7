"""An attack in words and as JSON Schema: what the command line, the gateway and the documentation show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined

from holdfast.attacks.definition import Access, Attack
from holdfast.attacks.parameters import AttackParameters
from holdfast.units import format_budget


class AttackDescription(BaseModel):
    """One attack of the catalogue."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    name: Annotated[str, Field(description="What it is called, e.g. 'pgd'.")]
    summary: Annotated[str, Field(description="One line that says what it does.")]
    source: Annotated[str, Field(description="Authors, year and title of the paper.")]
    access: Annotated[
        Access,
        Field(description="What it asks of the model: gradients, scores, only the class, or nothing."),
    ]
    minimises: Annotated[
        bool, Field(description="Whether it looks for the smallest perturbation, not for any in a budget.")
    ]
    norms: Annotated[list[str], Field(description="The norms that it knows.")]
    targetable: Annotated[bool, Field(description="Whether it can aim at a class.")]
    parameters: Annotated[dict[str, Any], Field(description="JSON Schema of its parameters.")]


@dataclass(frozen=True)
class Parameter:
    """One parameter of an attack, in words.

    Attributes:
        name: As it is written.
        values: What it may be, e.g. ``1 to 1000`` or ``linf, l2``.
        default: What it is if it is not given.
        description: What it means.
    """

    name: str
    values: str
    default: str
    description: str


def describe(attack: Attack) -> AttackDescription:
    """All that can be said of an attack without running it."""
    return AttackDescription(
        name=attack.name,
        summary=attack.summary,
        source=attack.source,
        access=attack.access,
        minimises=attack.minimises,
        norms=norms(attack.parameters),
        targetable="target" in attack.parameters.model_fields,
        parameters=attack.parameters.model_json_schema(),
    )


def norms(kind: type[AttackParameters]) -> list[str]:
    """The norms that an attack knows: those of its parameter, or the one that it has anyway."""
    return list(_norms(kind))


@cache
def _norms(kind: type[AttackParameters]) -> tuple[str, ...]:
    choices = kind.model_json_schema()["properties"].get("norm")
    if choices is not None:
        return tuple(choices.get("enum") or [choices["const"]])
    fixed = getattr(kind(), "norm", None)
    return () if fixed is None else (fixed,)


def parameters_of(kind: type[AttackParameters]) -> list[Parameter]:
    """Every parameter of an attack, in the order of its model; the seed, which all have, last."""
    schema = kind.model_json_schema()
    names = [name for name in schema["properties"] if name != "seed"] + ["seed"]
    return [
        Parameter(
            name=name,
            values=_values(_resolved(schema["properties"][name], schema)),
            default=_default(kind, name),
            description=schema["properties"][name].get("description", ""),
        )
        for name in names
    ]


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = part.get("$ref")
    if reference is None:
        return part
    definition: dict[str, Any] = schema["$defs"][reference.removeprefix("#/$defs/")]
    return definition


def _values(part: dict[str, Any]) -> str:
    """What a JSON Schema allows, for people."""
    if part.get("format") == "budget":
        return "image units, such as 8/255"
    if "enum" in part:
        return ", ".join(str(value) for value in part["enum"])
    if "const" in part:
        return str(part["const"])
    options = part.get("anyOf") or part.get("oneOf")
    if options:
        described = [_values(option) for option in options]
        return " or ".join(dict.fromkeys(words for words in described if words))
    kind = part.get("type")
    if kind == "string" and part.get("examples"):
        return f"{', '.join(part['examples'][:3])}, …"
    if kind == "array":
        return f"list of {_values(part.get('items', {})) or 'values'}"
    if kind == "boolean":
        return "true, false"
    if kind in ("integer", "number"):
        return _range(part, kind)
    return {"null": "none", "string": "text"}.get(str(kind), "")


def _range(part: dict[str, Any], word: str) -> str:
    low, high = part.get("minimum"), part.get("maximum")
    least = f"from {_number(low)}" if low is not None else _than("above", part.get("exclusiveMinimum"))
    most = f"to {_number(high)}" if high is not None else _than("below", part.get("exclusiveMaximum"))
    return " ".join(words for words in (word, least, most) if words)


def _than(word: str, bound: float | None) -> str:
    """A bound that is not itself allowed; none of a machine's integers, which bounds nobody."""
    return "" if bound is None or bound >= 2**63 else f"{word} {_number(bound)}"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _default(kind: type[AttackParameters], name: str) -> str:
    value = kind.model_fields[name].default
    if value is PydanticUndefined:
        return ""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format_budget(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
