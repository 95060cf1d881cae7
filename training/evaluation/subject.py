"""What a bundle is measured on and within: its images, its budget, its defences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.bundle import Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Defence, ThreatModel
from holdfast.units import format_budget, parse_budget
from training.evaluation.runner import Images, Loaded
from training.export.facts import public_name


def images_of(
    bundle: Bundle, *, data: str | None = None, root: Path | None = None, count: int | None = None
) -> Images:
    """The test images of the data set that a bundle was trained on, or of another.

    Args:
        bundle: Whose images.
        data: Another data set's name.
        root: Where the data sets lie; None for the default.
        count: Only the first; None for all.

    Raises:
        UsageError: Nobody said which images the network was trained on, nor names others.
    """
    manifest = bundle.manifest
    if data is None and manifest.imported is not None and "dataset" in manifest.imported.unstated:
        raise UsageError(
            f"{bundle.name} does not say which images it was trained on.",
            hint="Name some of its classes, in its order, with --data folder:DIRECTORY, npz:FILE, cifar10…",
        )
    name = data or manifest.dataset.name
    # Its own images are split as they were for training, wherever they lie now: others would be known to it.
    own = public_name(name) == manifest.dataset.name
    options = manifest.recipe.get("dataset", {}).get("options", {}) if own else {}
    options = {key: value for key, value in options.items() if value is not None}
    if name.startswith("folder:"):  # whose images may have any size
        fitting = {"size": manifest.input.shape[1:], "channels": manifest.input.channels}
        options = fitting | options
    return Images(name, root, options, count)


def check_fit(bundle: Bundle, name: str, loaded: Loaded) -> None:
    """Refuse images that the bundle cannot take, or has no classes for.

    Raises:
        UsageError: They do not fit.
    """
    manifest, split = bundle.manifest, loaded.split
    shape = split.images.shape[1:]
    if shape != manifest.input.shape or int(split.labels.max()) >= len(manifest.classes):
        raise UsageError(
            f"{bundle.name} takes images {manifest.input.shape} of {len(manifest.classes)} classes; "
            f"{name} has {shape} with labels up to {int(split.labels.max())}.",
            hint="Name a fitting data set with --data.",
        )
    places = {each.casefold(): index for index, each in enumerate(manifest.classes)}
    for index, each in enumerate(loaded.classes):
        ours = places.get(each.casefold(), index)
        if ours != index and not each.isdecimal():
            raise UsageError(
                f"{each!r} is class {ours} of {bundle.name} and class {index} of {name}: right answers would "
                "be counted as wrong.",
                hint=f"{bundle.name} has its classes in this order: {', '.join(manifest.classes[:20])}.",
            )


def threat_of(bundle: Bundle, epsilon: str | None = None, norm: str | None = None) -> ThreatModel:
    """The bundle's own threat model, but for what is said otherwise.

    Raises:
        UsageError: That is no budget or no norm.
    """
    return threat_within(bundle.manifest.threat_model, epsilon, norm)


def threat_within(usual: ThreatModel, epsilon: str | None, norm: str | None) -> ThreatModel:
    """The usual threat model, but for what is said otherwise.

    Raises:
        UsageError: That is no budget or no norm, or a norm without a budget: one in another norm is none.
    """
    if norm not in (None, "linf", "l2"):
        raise UsageError(f"--norm is linf or l2, not {norm!r}.")
    if epsilon is None and norm not in (None, usual.norm):
        raise UsageError(
            f"A budget of {format_budget(usual.epsilon)} in {usual.norm} is none in {norm}.",
            hint="Name one, e.g. --norm l2 --epsilon 0.5.",
        )
    budget = usual.epsilon if epsilon is None else parse_budget(epsilon)
    return ThreatModel.model_validate({"norm": norm or usual.norm, "epsilon": budget})


def defences_of(bundle: Bundle, wanted: Sequence[str] | None) -> list[Defence]:
    """The wanted ones of a bundle's defences, in its order: ``none`` by default, every one for ``all``.

    Raises:
        UsageError: The bundle does not offer one of them.
    """
    offered, wanted = bundle.manifest.defences, wanted or ["none"]
    if "all" in wanted:
        return list(offered)
    for name in wanted:
        if name not in offered:
            raise UsageError(
                f"Model {bundle.name} version {bundle.version} does not offer the defence {name!r}.",
                hint=f"It offers: {', '.join(offered)}.",
            )
    return [defence for defence in offered if defence in wanted]
