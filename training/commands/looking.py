"""What ``holdfast figures surface`` and ``features`` do once their arguments are read."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import numpy as np

from holdfast import console
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.errors import UsageError
from training.analysis.features import features_of
from training.commands.drawing import Subjects, wrote
from training.evaluation.attacked import AttackedFeatures
from training.evaluation.line import Line
from training.figures import features, surface
from training.figures.words import budget
from training.rebuild import rebuild


def draw_surfaces(
    subjects: Subjects,
    *,
    image: int,
    side: int,
    epsilon: str | None,
    norm: str | None,
    threads: int,
    seed: int,
    out: Path,
    name: str | None,
) -> surface.Surfaces:
    """Draw the loss around one test image for each bundle.

    Raises:
        UsageError: There is no such image, or no budget to go within.
    """
    split, threat = subjects.loaded.split, subjects.threat(epsilon, norm, same=False)
    if image >= len(split):
        raise UsageError(
            f"There is no image {image}: {subjects.images.dataset} has {len(split):,} test images, "
            "counted from 0."
        )
    if not threat.epsilon:
        raise UsageError("There is nothing to see within ε = 0.", hint="Name a budget: --epsilon 8/255")
    picture = split.images[image].astype(np.float32) / np.float32(255)
    label, panels = int(split.labels[image]), []
    with console.progress("Measuring", side * side * len(subjects.bundles), unit="points") as bar:
        for bundle in subjects.bundles:
            bar.advance(0, note=bundle.name)
            panel = surface.measure(
                OnnxOracle(bundle, threads=threads),
                picture,
                label,
                threat,
                bundle=_titled(subjects, bundle.name, bundle.version),
                names=bundle.manifest.classes,
                side=side,
                seed=seed,
                progress=bar.advance,
            )
            panels.append(panel)
    found = surface.Surfaces(
        dataset=subjects.images.dataset,
        image=image,
        label=subjects.bundles[0].manifest.classes[label],
        norm=threat.norm,
        epsilon=threat.epsilon,
        seed=seed,
        panels=panels,
    )
    table = console.table("bundle", "says", ">loss at the image", ">largest", ">smallest")
    for panel in panels:
        losses = np.array(panel.losses)
        numbers = (panel.loss, losses.max(), losses.min())
        table.add_row(panel.bundle, panel.predicted, *(f"{number:.4f}" for number in numbers))
    console.stdout.print(table)
    surface.draw(found, out, name or "surface")
    wrote(out, name or "surface")
    return found


def draw_features(
    subjects: Subjects,
    *,
    attack: str,
    of: str,
    epsilon: str | None,
    norm: str | None,
    batch_size: int,
    threads: int,
    seed: int,
    ledgers: Path,
    out: Path,
    name: str | None,
) -> features.Embeddings:
    """Draw t-SNE of clean and of attacked images for each bundle.

    Raises:
        UsageError: There is no such attack.
        BundleError: The network cannot be built again from the bundle.
    """
    if of not in get_args(features.Of):
        raise UsageError(f"--of is features or logits, not {of!r}.")
    threat = subjects.threat(epsilon, norm, same=False)
    line = Line.parse(attack, threat, seed)
    if line.parameters is None or line.source is not None or line.through != "bpda":
        raise UsageError(
            f"{attack!r} is no attack on the network itself.", hint="Name one such as pgd-20 or apgd-ce."
        )
    if line.threat is None or not line.threat.epsilon:
        raise UsageError(f"{attack!r} has no budget here.", hint="Name one: --epsilon 8/255")
    split = subjects.loaded.split
    clean = split.images.astype(np.float32) / np.float32(255)
    panels = []
    networks = [rebuild(bundle) for bundle in subjects.bundles]  # refused before anything is attacked
    with console.progress("Attacking", len(clean) * len(networks), unit="images") as bar:
        for bundle, network in zip(subjects.bundles, networks, strict=True):
            bar.advance(0, note=bundle.name)
            oracle = open_oracle(bundle, threads=threads)
            attacked = AttackedFeatures(bundle, network, oracle, subjects.loaded, ledgers, batch_size)
            panel = features.embed(
                features_of(network, clean),
                attacked.find(line, bar.advance),
                split.labels,
                bundle=_titled(subjects, bundle.name, bundle.version),
                attack=line.name,
                of=cast(features.Of, of),
                seed=seed,
            )
            panels.append(panel)
    found = features.Embeddings(
        dataset=subjects.loaded.words,
        budget=budget(line.threat.norm, line.threat.epsilon),
        classes=list(subjects.bundles[0].manifest.classes),
        seed=seed,
        panels=panels,
    )
    table = console.table("bundle", ">clean", f">{attack}", ">match rate", f">match rate, {attack}")
    for panel in panels:
        rates = (panel.accuracy, panel.robust, panel.match_rate, panel.match_rate_attacked)
        table.add_row(panel.bundle, *(console.format_share(rate) for rate in rates))
    console.stdout.print(table)
    features.draw(found, out, name or "features")
    wrote(out, name or "features")
    return found


def _titled(subjects: Subjects, name: str, version: str) -> str:
    """A bundle's name, with its version where there are two."""
    versions = [bundle.version for bundle in subjects.bundles if bundle.name == name]
    return name if len(versions) == 1 else f"{name}/{version}"
