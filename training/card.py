"""``CARD.md``: what a bundle is, how it came about, what was measured on it, and what to doubt.

The card is written from the manifest and from nothing else, so that the two cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from holdfast.bundle import (
    CARD,
    Bundle,
    describe_files,
    locked,
    read_manifest,
    replace_text,
    sha256_file,
    write_manifest,
)
from holdfast.manifest import UNKNOWN_DATASET, Evaluation, Figure, Manifest
from training.card_imported import origin
from training.card_measured import cell, evidence, figures, precision, share, threat


def add_evaluation(root: Path, evaluation: Evaluation) -> None:
    """Add figures to a bundle: to its manifest, and to its card.

    What was measured before and is measured here again, on as many of the same images, is taken out; and what
    says nothing that was not known on more of them is not put in.

    Args:
        root: The bundle's directory.
        evaluation: What was measured.

    Raises:
        BundleError: There is no bundle, or its files are not those that its manifest lists.
    """
    with locked(root):
        manifest = _manifest(root)
        if any(_is_more(each, evaluation) for each in manifest.evaluations):
            return
        kept = [each for each in manifest.evaluations if not _supersedes(evaluation, each)]
        _rewrite(root, manifest.model_copy(update={"evaluations": [*kept, evaluation]}))


def _supersedes(new: Evaluation, old: Evaluation) -> bool:
    """Whether all that an evaluation says is said anew by another."""
    if (new.seed, _data(new)) != (old.seed, _data(old)):
        return False
    images = {_subject(figure): figure.images for figure in new.figures}
    return all(figure.images <= images.get(_subject(figure), 0) for figure in old.figures)


def _is_more(known: Evaluation, new: Evaluation) -> bool:
    """Whether all that an evaluation says was known, on more images: those in it are among them."""
    fewer = max(figure.images for figure in new.figures) < min(figure.images for figure in known.figures)
    return fewer and _supersedes(known, new)


def _data(evaluation: Evaluation) -> tuple[str, str]:
    """The data set and its digest, however many images of it were taken."""
    words = evaluation.dataset
    return words.partition(",")[0], words.rpartition("digest ")[2]


def _subject(figure: Figure) -> tuple[object, ...]:
    """What a figure is of; a worst case over more attacks is of the same."""
    parameters = json.dumps(figure.parameters, sort_keys=True)
    return figure.name, figure.defence, figure.adaptive, parameters, figure.threat_model


def rewrite_card(root: Path) -> None:
    """Write a bundle's card anew from its manifest.

    Raises:
        BundleError: There is no bundle, or its files are not those that its manifest lists.
    """
    with locked(root):
        _rewrite(root, _manifest(root))


def render_card(manifest: Manifest) -> str:
    """The card of the model that the manifest describes, in Markdown."""
    sections = (_summary, _training, figures, precision, evidence, _use, _files, _licence)
    written = ("\n".join(section(manifest)) for section in sections)
    return "\n\n".join(text for text in written if text) + "\n"


def _manifest(root: Path) -> Manifest:
    """Of a bundle that is whole but for its card, which is about to be written."""
    bundle = Bundle(root, read_manifest(root))
    bundle.check_files(hashes=False, but=[CARD])
    return bundle.manifest


def mend_card(root: Path) -> None:
    """Write the card anew where it is not the one that the manifest lists.

    It is not where a process was killed between replacing the one and the other, or where somebody edited it.

    Raises:
        BundleError: There is no bundle.
    """
    with locked(root):
        manifest = read_manifest(root)
        card = root / CARD
        if not card.is_file() or sha256_file(card) != manifest.files[CARD].sha256:
            _rewrite(root, manifest)


def _rewrite(root: Path, manifest: Manifest) -> None:
    """Card and manifest are each replaced whole, one right after the other."""
    replace_text(root / CARD, render_card(manifest))
    files = manifest.files | describe_files(root, [CARD])
    write_manifest(root, manifest.model_copy(update={"files": files}))


def _summary(manifest: Manifest) -> Iterator[str]:
    channels, height, width = manifest.input.shape
    imported = manifest.imported
    colours = "grey" if channels == 1 else "RGB"
    classes = manifest.classes
    budget = threat(manifest.threat_model)
    shown = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
    yield f"# {manifest.name}, version {manifest.version}"
    if manifest.description:
        yield f"\n{manifest.description}"
    yield ""
    yield from _facts(
        {
            "Task": f"tells {len(classes)} classes apart: {shown}",
            "Input": f"{width}x{height} {colours} images in [0, 1]; normalisation is part of the model",
            "Network": f"{manifest.architecture.name}, {manifest.architecture.parameters:,} parameters",
            "Trained by": manifest.method if imported is None else "somebody else; see below",
            "Threat model": f"an adversary who has the model and moves an image by {budget} at most"
            + ("; assumed" if imported is not None and "threat model" in imported.unstated else ""),
            "Defences at inference": ", ".join(manifest.defences),
            "Exported": f"{manifest.created:%Y-%m-%d %H:%M} UTC",
        }
    )


def _training(manifest: Manifest) -> Iterator[str]:
    run, data = manifest.training, manifest.dataset
    if run is None:
        yield from origin(manifest)
        return
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items()))
    yield "## How it was trained"
    yield ""
    yield from _facts(
        {
            "Data": f"{data.name}, {data.train_images or 0:,} training images. {data.note}".strip(),
            "Length": f"epochs: {run.epochs:g}, steps: {run.steps:,}",
            "Seed": str(run.seed),
            "Hardware": run.hardware,
            "Wall time": f"{_duration(run.seconds)}, {run.images_per_second:,.0f} images/s",
            "Libraries": versions,
        }
    )
    yield ""
    yield "The recipe, overrides and defaults included:"
    yield ""
    yield "```yaml"
    yield from _yaml(manifest.recipe)
    yield "```"


def _use(manifest: Manifest) -> Iterator[str]:
    path = f"/v1/models/{manifest.name}/versions/{manifest.version}/classify"
    yield "## How to use it"
    yield ""
    yield "```sh"
    yield "holdfast serve &"
    yield f"curl --data-binary @image.png -H 'Content-Type: image/png' http://127.0.0.1:8000{path}"
    yield "```"
    yield ""
    yield "Images of another size are resized. An image of something else is still called one of the classes;"
    yield "a perturbation beyond the budget, or of another kind, is not what the model was made for."


def _files(manifest: Manifest) -> Iterator[str]:
    parity = manifest.parity
    yield "## Files"
    yield ""
    yield "| file | bytes | SHA-256 |"
    yield "|---|---:|---|"
    for name, entry in sorted(manifest.files.items()):
        if name != CARD:
            yield f"| `{name}` | {entry.size:,} | `{entry.sha256}` |"
    yield ""
    sizes = ", ".join(str(size) for size in parity.batch_sizes)
    imported = manifest.imported
    kinds = "random" if imported is not None and "images" in imported.unstated else "random and real"
    yield f"The graphs were compared with the network in torch on {parity.images} {kinds} images in"
    if parity.gradient is None or parity.gradient_sign is None:
        yield f"batches of {sizes}. The largest difference of a logit was {parity.logits:.1e}."
        yield "There is no gradient graph: the model can be attacked by its scores and decisions only, and"
        yield "what that finds is no more than an upper bound of its robustness."
        return
    yield f"batches of {sizes}. The largest difference of a logit was {parity.logits:.1e}, that of a gradient"
    yield f"{parity.gradient:.1e} of the image's largest. Of the gradients that are not negligible,"
    yield f"{share(parity.gradient_sign)} had the same sign."


def _licence(manifest: Manifest) -> Iterator[str]:
    yield "## Licence"
    yield ""
    yield "Holdfast, which wrote these files, is under the Apache License 2.0. Which licence the weights are"
    terms = (
        f"{manifest.dataset.name} has"
        if manifest.dataset.name != UNKNOWN_DATASET
        else "what they were trained on has"
    )
    yield f"under is for whoever trained them to say; {terms} terms of its own."


def _facts(facts: dict[str, str]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {cell(fact)} |" for name, fact in facts.items())


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _yaml(content: dict[str, object]) -> list[str]:
    import yaml

    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n").splitlines()
