"""Classify images on this machine, without a server.

The images are decoded as the server decodes them and run through ONNX Runtime in batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.commands.options import DEFAULT_STORE, StoreOption, written
from holdfast.commands.remote.connection import ServerOption
from holdfast.errors import UsageError
from holdfast.image_files import find_images, read_image

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from holdfast.bundle import Bundle
    from holdfast.manifest import Defence, Manifest

app = typer.Typer(add_completion=False)

#: Large enough to keep the cores busy, small enough to keep memory and the progress bar moving.
BATCH = 32

_BAR_WIDTH = 32


@app.command()
def classify(
    context: typer.Context,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP files, or directories of them."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME[/VERSION]",
            help="The model, or a bundle's directory. By default the most robust in the store.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    defence: Annotated[
        str,
        typer.Option(
            help="A defence at inference that the model offers, such as imt+; default: the first of them."
        ),
    ] = "default",
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many classes to list.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Write JSON, for other programs.")] = False,
    server: ServerOption = None,
) -> None:
    """Classify images on this machine, without a server, or by the gateway at --server.

    An image that cannot be used does not stop the others: it is reported, and the exit code is 1 in the end.
    """
    if server is not None:
        if written(context, "store"):
            raise UsageError("--store is about files here, and a gateway's are elsewhere.")
        from holdfast.commands.remote.classify import classify_there

        classify_there(server, images, model=model, defence=defence, top_k=top_k, json=json)
        return
    from holdfast.bundle import ModelStore
    from holdfast.console import print_json, stderr, stdout

    bundle = _open(model, store)
    manifest = bundle.manifest
    chosen = _defence(defence, manifest)
    answers = _classify(bundle, chosen, [file.path for file in find_images(images)])
    if json:
        described = [_describe(answer, manifest, top_k) for answer in answers]
        print_json({"model": bundle.name, "version": bundle.version, "defence": chosen, "images": described})
    elif model is None and len(ModelStore(store).names()) > 1:
        stderr.print(f"By {bundle.name}, version {bundle.version}:", markup=False, soft_wrap=True)
    for answer in answers:
        if answer.error is not None:
            stderr.print(f"{answer.path}: {answer.error}", markup=False, style="red", soft_wrap=True)
        elif answer.probabilities is not None and not json:
            stdout.print(str(answer.path), markup=False, style="bold", soft_wrap=True)
            stdout.print(_table(answer.probabilities, manifest, top_k, answer.manifold))
            stdout.print()
    failed = sum(answer.error is not None for answer in answers)
    if failed:
        if len(answers) > 1:
            stderr.print(f"{failed} of {len(answers)} images could not be classified.", soft_wrap=True)
        raise typer.Exit(1)


@dataclass
class _Answer:
    """What came out for one image: probabilities (classes,), or what was wrong with it.

    ``manifold`` is the score of the image as it came, ``moved`` how far the defence moved it.
    """

    path: Path
    probabilities: np.ndarray | None = None
    manifold: float | None = None
    moved: float | None = None
    error: str | None = None


def _open(model: str | None, store: Path) -> Bundle:
    from holdfast.bundle import ModelStore, resolve
    from holdfast.figures import most_robust

    if model is not None:
        return resolve(model, store)
    models = ModelStore(store)
    names = models.names()
    if not names:
        raise UsageError(f"The model store {store} has no models.", hint="Name another store with --store.")
    known = [models.open(name, verify=False).manifest for name in names]
    return models.open(most_robust(known).name)


def _defence(text: str, manifest: Manifest) -> Defence:
    for offered in manifest.defences:
        if text in (offered, "default"):
            return offered
    raise UsageError(
        f"--defence: {manifest.name} does not offer {text!r}.",
        hint=f"It offers: {', '.join(manifest.defences)}.",
    )


def _classify(bundle: Bundle, defence: Defence, paths: list[Path]) -> list[_Answer]:
    """One answer for each path, in order: what the gateway answers."""
    import numpy as np

    from holdfast.bundle import DEFENDED
    from holdfast.console import progress
    from holdfast.errors import HoldfastError
    from holdfast.probabilities import probabilities
    from holdfast.sessions import open_session

    calibration = bundle.manifest.calibration
    temperature = 1.0 if calibration is None else calibration.temperature
    session = open_session(bundle, DEFENDED[defence])
    outputs = [output.name for output in session.get_outputs()]
    answers = [_Answer(path) for path in paths]
    with progress("Classifying", len(paths), unit="images", quiet=len(paths) <= BATCH) as bar:
        for start in range(0, len(answers), BATCH):
            batch = answers[start : start + BATCH]
            decoded = []
            for answer in batch:
                try:
                    decoded.append((answer, read_image(answer.path, bundle.manifest.input)))
                except HoldfastError as error:
                    answer.error = f"{error.message} {error.hint}".strip()
            if decoded:
                result = session.run(None, {"images": np.stack([image for _, image in decoded])})
                named = dict(zip(outputs, result, strict=True))
                for index, (answer, _) in enumerate(decoded):
                    answer.probabilities = probabilities(named["logits"][index], temperature)
                    answer.manifold = float(named["manifold"][index]) if "manifold" in named else None
                    answer.moved = float(named["step"][index]) if "step" in named else None
            bar.advance(len(batch))
    return answers


def _best(probabilities: np.ndarray, top_k: int) -> list[int]:
    """The most probable classes, best first; of equals the first in the model's order."""
    return [int(index) for index in (-probabilities).argsort(kind="stable")[:top_k]]


def _describe(answer: _Answer, manifest: Manifest, top_k: int) -> dict[str, Any]:
    """The answer with the members that the server's answers have."""
    if answer.probabilities is None:
        return {"image": str(answer.path), "error": answer.error}
    ranked = [
        {
            "label": manifest.classes[index],
            "class_index": index,
            "probability": float(answer.probabilities[index]),
        }
        for index in _best(answer.probabilities, top_k)
    ]
    described = {"image": str(answer.path), **ranked[0], "top_k": ranked}
    if manifest.manifold is not None and answer.manifold is not None:
        described["manifold"] = {
            "score": answer.manifold,
            "evidence": manifest.manifold.evidence,
            "verdict": manifest.manifold.verdict(answer.manifold),
            **({} if answer.moved is None else {"moved": answer.moved}),
        }
    return described


def _table(probabilities: np.ndarray, manifest: Manifest, top_k: int, manifold: float | None) -> Table:
    from rich.bar import Bar
    from rich.markup import escape

    from holdfast.console import format_share, table

    result = table("class", ">probability", "")
    for index in _best(probabilities, top_k):
        share = float(probabilities[index])
        bar = Bar(1.0, 0.0, share, width=_BAR_WIDTH, color="cyan")
        result.add_row(escape(manifest.classes[index]), format_share(share), bar)
    if manifold is not None and manifest.manifold is not None:
        result.caption = f"{manifest.manifold.verdict(manifold)}, manifold evidence {manifold:.3f}"
    return result
