"""From the words of a command line to an attack's parameters, by the attack's own schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import ValidationError

from holdfast.attacks.catalogue import find
from holdfast.attacks.definition import Attack
from holdfast.attacks.description import norms, parameters_of
from holdfast.attacks.parameters import AttackParameters
from holdfast.errors import UsageError
from holdfast.manifest import Manifest


@dataclass(frozen=True)
class Words:
    """What a person wrote.

    Attributes:
        attacks: Names of attacks.
        options: Parameters with an option of their own, e.g. ``{"epsilon": "8/255"}``; they are for every
            attack that has them.
        settings: ``NAME=VALUE``, for every attack that has it, or ``ATTACK.NAME=VALUE``, for that one.
        transfer: Whether the images are crafted on another model.
        eot: Answers of a random model that the attacks take the mean of.
    """

    attacks: Sequence[str]
    options: Mapping[str, str] = field(default_factory=dict)
    settings: Sequence[str] = ()
    transfer: bool = False
    eot: int = 1


@dataclass(frozen=True)
class Chosen:
    """An attack and its parameters.

    Attributes:
        attack: From the catalogue.
        parameters: Validated.
        ignored: Options that were given and that this attack has not got, though another one has.
        eot: Answers that the engine takes the mean of.
    """

    attack: Attack
    parameters: AttackParameters
    ignored: tuple[str, ...] = ()
    eot: int = 1

    @property
    def answers(self) -> int:
        """Answers that every answer is the mean of: the engine's, or those of the attack itself."""
        return self.eot * self.parameters.answers


def choose(words: Words, manifest: Manifest) -> list[Chosen]:
    """The attacks that are meant, with their parameters.

    What is not said about the norm and the budget is the model's own threat model.

    Raises:
        UsageError: There is no such attack or parameter, or a value cannot be used; the message names the
            parameter, and the hint what there is.
    """
    attacks = [find(name) for name in words.attacks]
    twice = {attack.name for attack in attacks if words.attacks.count(attack.name) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice.", hint="Run it once for each setting.")
    settings = [_Setting.parse(text) for text in words.settings]
    settings = [_Setting(None, name, value) for name, value in words.options.items()] + settings
    _refuse_unknown(settings, attacks)
    return [_choose_one(attack, settings, manifest, words) for attack in attacks]


@dataclass(frozen=True)
class _Setting:
    attack: str | None
    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> _Setting:
        key, equals, value = text.partition("=")
        attack, dot, name = key.strip().rpartition(".")
        if not equals or not name or (dot and not attack):
            raise UsageError(
                f"--set {text!r} is no setting.", hint="Write NAME=VALUE, or ATTACK.NAME=VALUE: steps=40"
            )
        return cls(attack or None, name, value.strip())

    def is_for(self, attack: Attack) -> bool:
        return self.attack in (None, attack.name)


def _refuse_unknown(settings: Iterable[_Setting], attacks: Sequence[Attack]) -> None:
    for setting in settings:
        meant = [attack for attack in attacks if setting.is_for(attack)]
        if not meant:
            names = ", ".join(attack.name for attack in attacks)
            raise UsageError(f"{setting.attack} is not among the attacks: {names}.")
        if not any(_knows(attack, setting) for attack in meant):
            names = ", ".join(attack.name for attack in meant)
            known = dict.fromkeys(name for attack in meant for name in attack.parameters.model_fields)
            raise UsageError(
                f"{names} has no parameter {setting.name!r}.",
                hint=f"It has: {', '.join(known)}. See: holdfast attack --list --attack {meant[0].name}",
            )


def _knows(attack: Attack, setting: _Setting) -> bool:
    """Whether it is a parameter, or the one norm that the attack has anyway."""
    fields = attack.parameters.model_fields
    return setting.name in fields or (setting.name == "norm" and [setting.value] == norms(attack.parameters))


def _choose_one(attack: Attack, settings: Iterable[_Setting], manifest: Manifest, words: Words) -> Chosen:
    kind = attack.parameters
    schema = _properties(kind)
    values: dict[str, Any] = {}
    ignored = []
    for setting in settings:
        if not setting.is_for(attack):
            continue
        if setting.name not in schema:
            if not _knows(attack, setting):
                ignored.append(setting.name)
        elif setting.name == "target" and setting.value in manifest.classes:
            values["target"] = manifest.classes.index(setting.value)
        else:
            values[setting.name] = _read(setting.value, schema[setting.name])
    given = dict(values)
    try:
        parameters = complete(attack, values, manifest, elsewhere=words.transfer or words.eot > 1)
    except ValidationError as error:
        raise _refusal(attack, error, given) from None
    target = getattr(parameters, "target", None)
    if isinstance(target, int) and not 0 <= target < len(manifest.classes):
        raise UsageError(f"{attack.name}: target: there is no class {target}.", hint=class_list(manifest))
    if words.eot > 1 and parameters.answers > 1:
        raise UsageError(
            f"{attack.name} takes the mean of {parameters.answers} answers by itself.",
            hint="Leave --eot out, or run it apart from the others.",
        )
    return Chosen(attack, parameters, tuple(ignored), words.eot)


def complete(
    attack: Attack,
    given: Mapping[str, Any],
    manifest: Manifest,
    *,
    elsewhere: bool = False,
    strict: bool = False,
) -> AttackParameters:
    """Parameters out of those that were given: of the rest, the model's own threat model, then the defaults.

    Args:
        attack: The attack.
        given: Values by name, as JSON has them; text is taken for numbers too unless ``strict``.
        manifest: Of the model under attack.
        elsewhere: Whether the images are crafted on something else than what judges them: on another model,
            or on means of the answers of one that answers at random.
        strict: Take each value as the JSON Schema says it, and no text for a number.

    Raises:
        ValidationError: There is no such parameter, or a value cannot be used.
        UsageError: The model's threat model says nothing of the norm that was given.
    """
    values = dict(given)
    _add_threat_model(attack, values, manifest)
    if elsewhere and "stop_at_success" in attack.parameters.model_fields:
        # An image that only just fools what it is crafted on seldom fools another.
        values.setdefault("stop_at_success", False)
    if strict:
        return attack.parameters.model_validate_json(json.dumps(values), strict=True)
    return attack.parameters.model_validate(values)


def from_text(attack: Attack, given: Mapping[str, str]) -> dict[str, Any]:
    """Values as :func:`complete` wants them, from those that an address or a form carries, which are text."""
    schema = _properties(attack.parameters)
    return {name: _read(text, schema.get(name, {})) for name, text in given.items()}


def class_index(text: str, manifest: Manifest) -> int | None:
    """The number of the class of that name, or of that number; a name goes before a number."""
    if text in manifest.classes:
        return manifest.classes.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(manifest.classes):
        return int(text)
    return None


def class_list(manifest: Manifest, most: int = 20) -> str:
    """A hint that names the classes, or some of many."""
    names = [f"{index} {name}" for index, name in enumerate(manifest.classes[:most])]
    more = len(manifest.classes) - len(names)
    return f"There are: {', '.join(names)}{f' and {more:,} more' if more else ''}."


@cache
def _properties(kind: type[AttackParameters]) -> Mapping[str, Any]:
    """The JSON Schema of each parameter; not to be written to."""
    properties: Mapping[str, Any] = kind.model_json_schema()["properties"]
    return properties


def _read(text: str, part: Mapping[str, Any]) -> Any:
    """A value as JSON would have it, where its schema takes more than text and numbers; else the text."""
    types = _types(part)
    if "null" in types and text.lower() in ("none", "null"):
        return None
    if types & {"array", "object"}:
        try:
            return json.loads(text)
        except ValueError:
            return [each.strip() for each in text.split(",")] if "array" in types else text
    return text


def _types(part: Mapping[str, Any]) -> set[str]:
    found = {part["type"]} if "type" in part else set()
    for option in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        found |= _types(option)
    return found


def _add_threat_model(attack: Attack, values: dict[str, Any], manifest: Manifest) -> None:
    """The norm and the budget that nobody named: those that the model was made for."""
    fields, known, own = attack.parameters.model_fields, norms(attack.parameters), manifest.threat_model
    if "norm" in fields and own.norm in known:
        values.setdefault("norm", own.norm)
    if "epsilon" not in fields or fields["epsilon"].default is None or "epsilon" in values:
        return
    usual = fields["norm"].default if "norm" in fields else known[0]
    norm = values.get("norm", usual)
    if norm == own.norm and own.epsilon > 0:
        values["epsilon"] = own.epsilon
    elif norm != usual and norm in known:
        raise UsageError(
            f"{attack.name} in {norm} needs a budget: the model's own is one of {own.norm}.",
            hint="Say it with --epsilon, in image units.",
        )


def _refusal(attack: Attack, error: ValidationError, given: Mapping[str, Any]) -> UsageError:
    """What is wrong with the first value that cannot be used, by the parameter's name."""
    name = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
    known = {parameter.name: parameter for parameter in parameters_of(attack.parameters)}
    said = [each["msg"] for each in error.errors() if each["type"] == "value_error"]
    if name not in known:  # of several parameters that do not fit together
        return UsageError(f"{attack.name}: {(said or [error.errors()[0]['msg']])[0]}.")
    why = said[0].removeprefix("Value error, ") if said else f"it is {known[name].values}"
    return UsageError(
        f"{attack.name}: {name} cannot be {given.get(name)!r}: {why.rstrip('.')}.",
        hint=known[name].description,
    )
