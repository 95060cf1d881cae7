"""From what a request gives to an attack with its parameters, its label and its target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from holdfast.attacking.parameters import Chosen, class_index, complete, from_text
from holdfast.attacks.catalogue import catalogue
from holdfast.attacks.definition import Attack
from holdfast.attacks.description import norms
from holdfast.attacks.parameters import AttackParameters
from holdfast.errors import UsageError
from holdfast.manifest import Manifest
from serving.gateway.attack.request import AttackRequest, refuse
from serving.gateway.problem_kinds import ATTACK_NOT_OFFERED, UNKNOWN_CLASS
from serving.gateway.problems import Problem, invalid_request

#: What a target may be that is no class.
_AIMS = ("least-likely", "random")


def choose_attack(request: AttackRequest, manifest: Manifest) -> Chosen:
    """The attack that is meant, with all its parameters.

    Raises:
        Problem: There is no such attack, parameter or class, or a value cannot be used.
    """
    name = request.options.attack
    attack = catalogue().get(name)
    if attack is None:
        raise Problem(
            ATTACK_NOT_OFFERED,
            f"There is no attack '{name[:40]}'. There are: {', '.join(catalogue())}.",
            members={"offered": list(catalogue())},
        )
    place = "query" if request.text else "body parameters"
    given = dict(request.given)
    if request.text:
        given = from_text(attack, given)
    if "norm" not in attack.parameters.model_fields and [given.get("norm")] == norms(attack.parameters):
        del given["norm"]  # the one that it has anyway
    if "target" in given and "target" in attack.parameters.model_fields:
        given["target"] = _target(given["target"], manifest)
    return Chosen(attack, _complete(attack, given, manifest, place, strict=not request.text))


def choose_label(request: AttackRequest, manifest: Manifest) -> int | None:
    """The class that the image is said to be of; ``None`` for what the model says of it.

    Raises:
        Problem: The model has no such class.
    """
    label = request.options.label
    return None if label is None else _class("label", label, manifest)


def _complete(
    attack: Attack, given: Mapping[str, Any], manifest: Manifest, place: str, *, strict: bool
) -> AttackParameters:
    try:
        return complete(attack, given, manifest, strict=strict)
    except UsageError as error:
        raise refuse(place, "epsilon", f"{error.message} Say it in image units, such as 8/255.") from None
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        problem = invalid_request([_placed(each, place) for each in errors])
        if any(each["type"] == "extra_forbidden" for each in errors):
            known = list(attack.parameters.model_fields)
            problem.detail += f" {attack.name} has: {', '.join(known)}."
            problem.members = {**problem.members, "offered": known}
        raise problem from None


def _placed(error: Any, place: str) -> dict[str, Any]:
    """An error under its parameter's name, without the branches of a union, which pydantic names too."""
    found = {**error, "loc": (place, *error["loc"][:1])}
    if error["type"] == "value_error":  # ours, which says what was given
        found |= {"input": None, "msg": error["msg"].rstrip(".")}
    return found


def _target(given: Any, manifest: Manifest) -> Any:
    """A target as the parameters have it: a class's number, or one of the words that are none."""
    if given is None or isinstance(given, bool | float) or not isinstance(given, int | str):
        return given  # the parameters' own model says what is wrong with it
    if given in _AIMS and given not in manifest.classes:
        return given
    return _class("target", given, manifest)


def _class(what: str, given: int | str, manifest: Manifest) -> int:
    """The number of a class that is given by its name or number."""
    found = class_index(given, manifest) if isinstance(given, str) else given
    if found is None or not 0 <= found < len(manifest.classes):
        raise Problem(
            UNKNOWN_CLASS,
            f"The {what} is no class of the model: {str(given)[:40]!r}. It has {len(manifest.classes)} "
            "classes, by name or by number from 0.",
            members={"offered": list(manifest.classes)},
        )
    return found
