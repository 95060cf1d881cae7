"""What people say of a model of their own, and what the manifest makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from holdfast.errors import UsageError
from holdfast.manifest import (
    UNKNOWN_DATASET,
    Architecture,
    Dataset,
    Imported,
    InputSpec,
    ThreatModel,
    Unstated,
    WeightsFile,
)
from holdfast.units import parse_budget
from training.data import Dataset as Images
from training.export import Facts
from training.export.facts import public_name
from training.imported import ImportedNetwork

#: The data set's name where nobody said one.
_USUAL_EPSILON = "8/255"
#: Names of factories that say nothing of the model; its module's name does.
_PLAIN = {"build", "build_model", "create", "create_model", "get_model", "make", "make_model", "model", "net"}


@dataclass(frozen=True)
class Import:
    """What a person says of a model of their own.

    Attributes:
        factory: ``package.module:attribute``, what builds it.
        arguments: ``key=value``, what it is called with.
        weights: The file with its weights; None where the factory loads them.
        input_shape: ``CHANNELSxHEIGHTxWIDTH``; None for that of the images.
        normalise: See :class:`training.imported.Preprocessing`.
        input_range: The same.
        classes: Names with commas between them, or a file with a name on each line.
        dataset: What it was trained on, in a word.
        data: Images at hand, by their name in ``training.data``.
        data_root: Where they lie.
        norm: Of its threat model.
        epsilon: Its budget.
        gradient: Whether it can be attacked by gradient.
    """

    factory: str
    arguments: Sequence[str] = ()
    weights: Path | None = None
    input_shape: str | None = None
    normalise: str | None = None
    input_range: str | None = None
    classes: str | None = None
    dataset: str | None = None
    data: str | None = None
    data_root: Path | None = None
    norm: str | None = None
    epsilon: str | None = None
    gradient: bool = True


def facts_of(
    wanted: Import,
    arguments: dict[str, Any],
    file: WeightsFile | None,
    network: ImportedNetwork,
    shape: tuple[int, int, int],
    images: Images | None,
    description: str,
) -> Facts:
    names = _class_names(wanted.classes, network.classes, images)
    known: dict[Unstated, bool] = {
        "weights": file is not None,
        "preprocessing": wanted.normalise is not None or wanted.input_range is not None,
        "classes": names is not None,
        "dataset": wanted.dataset is not None or images is not None,
        "threat model": wanted.epsilon is not None,
        "images": images is not None,
    }
    trained_on = wanted.dataset or (public_name(images.name) if images else UNKNOWN_DATASET)
    channels, height, width = shape
    return Facts(
        method="imported",
        recipe={},
        dataset=Dataset(name=trained_on, train_images=None),
        classes=names or [str(index) for index in range(network.classes)],
        input=InputSpec.model_validate({"channels": channels, "height": height, "width": width}),
        architecture=Architecture(name=wanted.factory, parameters=_count(network.body)),
        threat_model=_threat_model(wanted),
        training=None,
        description=description,
        imported=Imported(
            factory=wanted.factory,
            arguments=arguments,
            weights=file,
            unstated=[what for what, stated in known.items() if not stated],
        ),
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _threat_model(wanted: Import) -> ThreatModel:
    norm = wanted.norm or "linf"
    if norm not in ("linf", "l2"):
        raise UsageError(f"--norm is linf or l2, not {norm!r}.")
    if norm == "l2" and wanted.epsilon is None:
        raise UsageError("Within l2 there is no usual budget.", hint="Say it with --epsilon, e.g. 0.5")
    return ThreatModel.model_validate(
        {"norm": norm, "epsilon": parse_budget(wanted.epsilon or _USUAL_EPSILON)}
    )


def parse_arguments(assignments: Sequence[str]) -> dict[str, Any]:
    found = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.isidentifier():
            raise UsageError(f"--set takes key=value, not {assignment!r}.", hint="--set num_classes=10")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set {key}: {text!r} is not YAML.") from None
    return found


def parse_shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(1|3)x([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not match:
        raise UsageError(
            f"{text!r} is no shape of an image.",
            hint="Channels (1 or 3), height and width: --input-shape 3x224x224",
        )
    return int(match[1]), int(match[2]), int(match[3])


def _class_names(text: str | None, count: int, images: Images | None) -> list[str] | None:
    if text is None:
        if images is None:
            return None
        names, where = list(images.classes), images.name
    elif Path(text).is_file():
        lines = Path(text).read_text(encoding="utf-8").splitlines()
        names, where = [line.strip() for line in lines if line.strip()], text
    else:
        names, where = [name.strip() for name in text.split(",") if name.strip()], "--classes"
    if len(names) != count:
        raise UsageError(
            f"The model has logits for {count:,} classes; {where} has {len(names):,} names.",
            hint="Give a name for each logit, in order, with commas between them or in a file with one on "
            "each line; or build the model with as many classes: --set num_classes=10",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{where} names {twice[0]!r} twice.", hint="Class names must differ.")
    return names


def name_of(factory: str) -> str:
    module, _, attribute = factory.partition(":")
    last = attribute.rpartition(".")[2]
    name = module.rpartition(".")[2] if last.lower() in _PLAIN else last
    return re.sub(r"[^a-z0-9_.-]", "-", name.lower()).lstrip("_.-0123456789") or "model"
