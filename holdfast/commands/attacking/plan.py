"""What is to be attacked, how, and with which images: all that can be wrong with it is found here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast import console
from holdfast.attacking.parameters import Chosen, Words, choose
from holdfast.attacking.record import LabelSource
from holdfast.bundle import Bundle, resolve
from holdfast.commands.attacking.labels import label_all, label_by_name
from holdfast.errors import UsageError
from holdfast.image_files import ImageFile, find_images
from holdfast.manifest import Defence, Manifest

#: Of ``--eot``; more are a slip of the finger.
MOST_ANSWERS = 10_000


@dataclass(frozen=True)
class Request:
    """The arguments of ``holdfast attack``, as they were written."""

    bundle: str
    defence: str
    images: Sequence[Path]
    attacks: Sequence[str]
    options: Mapping[str, str]
    settings: Sequence[str]
    eot: str | None
    transfer_from: str | None
    label: str | None
    labels_from: Literal["folder", "file"] | None
    store: Path
    batch_size: int
    threads: int


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        bundle: The model under attack.
        defence: At inference; what the model offers.
        source: What to craft the images on, if another.
        chosen: The attacks, in order.
        files: The images.
        labels: (n) the class of each; None: what the model says of it.
        label_source: Where the labels are from.
        batch_size: Images worked on at a time.
        threads: CPU threads; 0 for all cores.
    """

    bundle: Bundle
    defence: Defence
    source: Bundle | None
    chosen: Sequence[Chosen]
    files: Sequence[ImageFile]
    labels: Sequence[int] | None
    label_source: LabelSource
    batch_size: int
    threads: int


def make_plan(request: Request) -> Plan:
    """Understand a request; nothing is computed yet.

    Raises:
        UsageError: An attack, a parameter, a label or an image cannot be used.
        BundleError: A bundle cannot be used.
    """
    if request.label is not None and request.labels_from is not None:
        raise UsageError("--label and --labels-from say the same thing twice.", hint="Leave one out.")
    bundle = resolve(request.bundle, request.store)
    defence = _defence(request.defence, bundle.manifest)
    source = None if request.transfer_from is None else resolve(request.transfer_from, request.store)
    if source is not None:
        _check_transfer(source.manifest, bundle.manifest)
    words = Words(
        request.attacks,
        request.options,
        request.settings,
        transfer=source is not None,
        eot=_eot(request.eot),
    )
    chosen = choose(words, bundle.manifest)
    files = list(dict.fromkeys(find_images(request.images)))
    labels, label_source = _labels(request, files, bundle.manifest)
    for each in chosen:
        for name in each.ignored:
            console.stderr.print(
                f"{each.attack.name} has no {name}; that is for the others.", markup=False, soft_wrap=True
            )
    return Plan(
        bundle, defence, source, chosen, files, labels, label_source, request.batch_size, request.threads
    )


def _defence(text: str, manifest: Manifest) -> Defence:
    for offered in manifest.defences:
        if offered == text:
            return offered
    raise UsageError(
        f"--defence: {manifest.name} does not offer {text!r}.",
        hint=f"It offers: {', '.join(manifest.defences)}.",
    )


def _eot(text: str | None) -> int:
    if text is None:
        return 1
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_ANSWERS:
        return int(text)
    raise UsageError(
        f"--eot cannot be {text!r}: it is an integer from 1 to {MOST_ANSWERS:,}.",
        hint="It says how many answers of the model to take the mean of; each of them is paid for.",
    )


def _labels(
    request: Request, files: Sequence[ImageFile], manifest: Manifest
) -> tuple[list[int] | None, LabelSource]:
    if request.label is not None:
        return [label_all(request.label, manifest)] * len(files), "option"
    if request.labels_from is not None:
        return label_by_name(files, request.labels_from, manifest), request.labels_from
    return None, "model"


def _check_transfer(source: Manifest, victim: Manifest) -> None:
    if (source.input, source.classes) == (victim.input, victim.classes):
        return
    raise UsageError(
        f"Images cannot be transferred from {source.name} to {victim.name}: they take images "
        f"{source.input.shape} of {len(source.classes)} classes and {victim.input.shape} of "
        f"{len(victim.classes)}, and both must be the same.",
        hint="'holdfast models --json' shows what each model takes.",
    )
