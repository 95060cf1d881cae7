"""From a request to a campaign: everything that can be wrong with it is found here, before it is taken on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from holdfast.attacking.parameters import Chosen, class_index, class_list, complete
from holdfast.attacks.catalogue import find
from holdfast.attacks.definition import Attack
from holdfast.attacks.description import norms
from holdfast.attacks.loss import AdaptiveLoss
from holdfast.attacks.objective import Objective
from holdfast.bundle import FEATURES, Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Defence, Manifest
from serving.jobs.plan import Item, LabelsFrom, Run
from serving.jobs.requests import AttackChoice, CampaignRequest, ModelChoice

#: Finds a bundle by name and version; raises a HoldfastError where there is none.
FindBundle = Callable[[str, str | None], Bundle]

_NUMBERED = re.compile(r"[ _-]?\d+$")


class ParameterError(UsageError):
    """A parameter of an attack cannot be used.

    Args:
        where: Its place in the request.
        error: What pydantic said.
    """

    def __init__(self, where: tuple[int | str, ...], error: ValidationError) -> None:
        super().__init__("An attack's parameter cannot be used.")
        self.errors = [
            {**each, "loc": (*where, *each["loc"])}
            for each in error.errors(include_url=False, include_context=False)
        ]


def plan_runs(request: CampaignRequest, find_bundle: FindBundle, *, most: int) -> list[Run]:
    """Every attack on every model behind every defence.

    Args:
        request: The campaign.
        find_bundle: Where the models are.
        most: Runs that one job may have.

    Raises:
        HoldfastError: There is no such model, defence or attack, or a parameter cannot be used.
    """
    runs: list[Run] = []
    _check_names(request.attacks)
    _check_shared(request)
    for choice in request.models:
        bundle = _bundle(choice, find_bundle)
        for asked in dict.fromkeys(choice.defences):
            defence = _defence(asked, bundle)
            for place, attack in enumerate(request.attacks):
                chosen = _choose(request, place, bundle, defence)
                runs.append(Run(bundle, defence, attack.name or attack.attack, chosen))
                if len(runs) > most:
                    raise UsageError(
                        f"Attacks times models times defences are more than the {most} runs that one job "
                        "may have.",
                        hint="Make several jobs of it.",
                    )
    places = [(run.bundle.name, run.bundle.version, run.defence, run.name) for run in runs]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UsageError(
            f"The model {twice[0]}/{twice[1]} is there twice with the defence {twice[2]}.",
            hint="Leave one out.",
        )
    return runs


def label_items(
    items: Sequence[Item], labels: str | Sequence[int | str], runs: Sequence[Run]
) -> tuple[list[Item], LabelsFrom]:
    """The images with their classes, as the request wants them; every model has to know every class.

    Raises:
        UsageError: An image has no class, or one that a model has not got.
    """
    source: LabelsFrom
    given: list[str | None]
    if not isinstance(labels, str):
        if len(labels) != len(items):
            raise UsageError(f"labels: there are {len(labels)} for {len(items)} images.")
        source, given = "list", [str(label) for label in labels]
    elif labels in ("folder", "file"):
        source = "folder" if labels == "folder" else "file"
        given = [_named(item.name, source) for item in items]
    elif labels == "array" or (labels == "auto" and all(item.label is not None for item in items)):
        source, given = "array", [item.label for item in items]
    else:
        source, given = "model", [None] * len(items)
    if source != "model":
        _check_labels(items, given, source, runs)
    labelled = [
        Item(item.name, item.content, item.exact, label) for item, label in zip(items, given, strict=True)
    ]
    return labelled, source


def find_class(label: str, source: LabelsFrom, manifest: Manifest) -> int | None:
    """The number of the class that a label means to a model; a file may have a number behind the class."""
    index = class_index(label, manifest)
    if index is None and source == "file":
        index = class_index(_NUMBERED.sub("", label), manifest)
    return index


def _check_labels(
    items: Sequence[Item], given: Sequence[str | None], source: LabelsFrom, runs: Sequence[Run]
) -> None:
    manifests = {run.bundle.manifest.digest: run.bundle.manifest for run in runs}.values()
    for item, label in zip(items, given, strict=True):
        if label is None:
            raise UsageError(
                f"labels: {item.name} came without one.",
                hint="Send them in the array file's 'labels', or say labels=model.",
            )
        for manifest in manifests:
            if find_class(label, source, manifest) is None:
                raise UsageError(
                    f"labels: {item.name} is of {label!r}, which is no class of {manifest.name}.",
                    hint=class_list(manifest),
                )


def _named(name: str, source: LabelsFrom) -> str:
    path = PurePosixPath(name)
    if source == "file":
        return path.stem
    if path.parent.name:
        return path.parent.name
    raise UsageError(
        f"labels: {name} is in no folder.",
        hint="Send a zip with a folder for each class, or say labels=file.",
    )


def _bundle(choice: ModelChoice, find_bundle: FindBundle) -> Bundle:
    name, slash, version = choice.model.partition("/")
    return find_bundle(name, version if slash else None)


def _defence(asked: str, bundle: Bundle) -> Defence:
    offered = bundle.manifest.defences
    if asked == "default":
        return offered[0]
    for defence in offered:
        if defence == asked:
            return defence
    raise UsageError(
        f"Model '{bundle.name}' version {bundle.version} does not offer the defence '{asked[:40]}'.",
        hint=f"It offers: {', '.join(offered)}.",
    )


def _check_names(attacks: Sequence[AttackChoice]) -> None:
    names = [each.name or each.attack for each in attacks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"Two attacks are called '{twice}'.", hint="Give each a name of its own: its member 'name'."
        )


def _check_shared(request: CampaignRequest) -> None:
    kinds = [find(each.attack) for each in request.attacks]
    for name, value in request.parameters.items():
        if not any(_has(kind, name, value) for kind in kinds):
            raise UsageError(
                f"None of the attacks has a parameter '{name[:40]}'.",
                hint="GET /v1/attacks lists the parameters of each.",
            )


def _has(attack: Attack, name: str, value: Any) -> bool:
    """Whether it is a parameter, or the one norm that the attack has anyway."""
    return name in attack.parameters.model_fields or (name == "norm" and [value] == norms(attack.parameters))


def _choose(request: CampaignRequest, place: int, bundle: Bundle, defence: Defence) -> Chosen:
    choice, manifest = request.attacks[place], bundle.manifest
    attack = find(choice.attack)
    fields = attack.parameters.model_fields
    shared = {name: value for name, value in request.parameters.items() if name in fields}
    values = _with_class(_plain({**shared, **choice.parameters}), manifest)
    try:
        parameters = complete(attack, values, manifest, elsewhere=choice.eot > 1)
    except ValidationError as error:
        raise ParameterError(("body", "attacks", place, "parameters"), error) from None
    target = getattr(parameters, "target", None)
    if isinstance(target, int) and not 0 <= target < len(manifest.classes):
        raise UsageError(f"{choice.attack}: target: there is no class {target}.", hint=class_list(manifest))
    if choice.eot > 1 and parameters.answers > 1:
        raise UsageError(
            f"{choice.attack} takes the mean of {parameters.answers} answers by itself; leave eot out."
        )
    _check_loss(attack.name, parameters, bundle, defence)
    return Chosen(attack, parameters, eot=choice.eot)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that came as text, where a form carried a list or an object."""
    read: dict[str, Any] = {}
    for name, value in values.items():
        read[name] = value
        if isinstance(value, str) and value[:1] in ("[", "{"):
            with suppress(ValueError):
                read[name] = json.loads(value)
        elif value in ("none", "null"):
            read[name] = None
    return read


def _with_class(values: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    target = values.get("target")
    if isinstance(target, str) and target in manifest.classes:
        values["target"] = manifest.classes.index(target)
    return values


def _check_loss(name: str, parameters: Any, bundle: Bundle, defence: Defence) -> None:
    """Refuse a loss that the model has not got; what only the model itself can say, the job will."""
    loss = getattr(parameters, "loss", None)
    if not isinstance(loss, str):
        return
    centred = defence == "none" and FEATURES in bundle.manifest.files
    try:
        terms = Objective.parse(loss).terms
    except ValueError:  # the losses of this attack are others
        return
    for _, part in terms:
        if not isinstance(part, AdaptiveLoss):
            continue
        if not (defence != "none" if part is AdaptiveLoss.MANIFOLD else centred):
            raise UsageError(
                f"{name}: {bundle.name} has no loss '{part.value}' behind the defence '{defence}'.",
                hint="Leave it out, or attack a model that is defended that way.",
            )
