"""``holdfast classify --server URL``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holdfast.commands.remote.connection import as_json, connected, is_about_one_image
from holdfast.image_files import find_images

if TYPE_CHECKING:
    from rich.table import Table

    from holdfast_client import Holdfast, Prediction
    from holdfast_client import HoldfastError as ClientError

_BAR_WIDTH = 32

#: Images after which it is known whether the gateway answers at all: as many as the client sends at a time.
_FIRST = 8
#: Images between two looks at what came.
_MANY = 64


def classify_there(
    server: str, images: Sequence[Path], *, model: str | None, defence: str, top_k: int, json: bool
) -> None:
    """Classify images by a gateway, several at a time; one that cannot be used does not stop the others.

    Raises:
        UsageError: There are no images.
        HoldfastError: The gateway cannot be reached, or refuses all of them.
        typer.Exit: An image could not be classified.
    """
    from holdfast.console import print_json, stderr, stdout

    paths = [file.path for file in find_images(images)]
    with connected(server) as client:
        from holdfast_client import Prediction

        answers = _classify(client, paths, model=model, defence=defence, top_k=top_k)
    described: list[dict[str, Any]] = []
    failed = 0
    for path, answer in zip(paths, answers, strict=True):
        if not isinstance(answer, Prediction):
            failed += 1
            described.append({"image": str(path), "error": str(answer)})
            stderr.print(f"{path}: {answer}", markup=False, style="red", soft_wrap=True)
            continue
        described.append({"image": str(path), **as_json(answer)})
        if not json:
            stdout.print(str(path), markup=False, style="bold", soft_wrap=True)
            stdout.print(_table(answer))
            stdout.print()
    if json:
        print_json({"server": server, "images": described})
    if failed:
        if len(paths) > 1:
            stderr.print(f"{failed} of {len(paths)} images could not be classified.", soft_wrap=True)
        raise typer.Exit(1)


def _classify(client: Holdfast, paths: Sequence[Path], **options: Any) -> list[Prediction | ClientError]:
    """A prediction for each image, or the error in its place.

    Raises:
        HoldfastError: As long as nothing succeeded, what is no fault of one image: the others are not tried.
    """
    from holdfast_client import Prediction

    answers: list[Prediction | ClientError] = []
    while len(answers) < len(paths):
        some = paths[len(answers) :][: _MANY if answers else _FIRST]
        answers += client.classify_many(some, return_errors=True, **options)
        if any(isinstance(each, Prediction) for each in answers):
            continue  # a connection that is lost after that is one image's
        for answer in answers:
            if isinstance(answer, Exception) and not is_about_one_image(answer):
                raise answer
    return answers


def _table(prediction: Prediction) -> Table:
    from rich.bar import Bar
    from rich.markup import escape

    from holdfast.console import format_share, table

    result = table("class", ">probability", "")
    for each in prediction.top_k:
        bar = Bar(1.0, 0.0, each.probability, width=_BAR_WIDTH, color="cyan")
        result.add_row(escape(each.label), format_share(each.probability), bar)
    if prediction.manifold is not None:
        result.caption = f"{prediction.manifold.verdict}, manifold evidence {prediction.manifold.score:.3f}"
    return result
