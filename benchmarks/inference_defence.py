"""What a defence at inference is worth, to attacks that do not know it and to attacks that do.

    python benchmarks/inference_defence.py atld-digits --images 300

Every attack has the same images, budget and steps. "Unknown" are attacks on the static model whose images are
then classified behind the defence: what ATLD's tables report for IMT. "Known" go through the transformation:
by BPDA, jointly with the manifold's score, end to end with torch, and by score alone. The worst case counts
an image as held only where it holds under every attack of its column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from machine import describe_machine
from report import Report, Sheet, command_line, deliver, run

from holdfast.attacks import AttackParameters, Oracle, attack, find
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.torch_defended import TransformedOracle
from holdfast.bundle import Bundle, resolve
from holdfast.console import progress
from holdfast.errors import UsageError
from holdfast.interval import wilson
from holdfast.manifest import Defence
from holdfast.units import format_budget
from training import data as datasets
from training.models.defended import DefendedNetwork
from training.rebuild import rebuild

_LIBRARIES = ("holdfast", "torch", "onnxruntime", "numpy")
_BATCH = 100


@dataclass(frozen=True)
class Line:
    """One attack behind one defence.

    Attributes:
        name: What is shown.
        known: Whether the attack goes through the defence.
        held: From the images and labels to which of them hold.
    """

    name: str
    known: bool
    held: Callable[[np.ndarray, np.ndarray], np.ndarray]


def main(
    model: Annotated[
        str, typer.Argument(help="A bundle that offers IMT: a directory, or a name in the store.")
    ],
    images: Annotated[int, typer.Option(min=1, help="The first test images.")] = 300,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each attack by gradient.")] = 20,
    queries: Annotated[int, typer.Option(min=0, help="Queries of Square; 0 leaves it out.")] = 500,
    store: Annotated[Path, typer.Option(envvar="HOLDFAST_MODEL_STORE")] = Path("model_store"),
    data_root: Annotated[Path | None, typer.Option(envvar="HOLDFAST_DATA")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure IMT and IMT+ under attacks that do not know them, and under attacks that do."""
    machine = describe_machine(*_LIBRARIES)
    bundle = resolve(model, store)
    pixels, labels = load(bundle, images, data_root)
    columns = {defence: list(lines_of(bundle, defence, steps, queries)) for defence in _offered(bundle)}
    held: dict[Defence, dict[str, np.ndarray]] = {defence: {} for defence in columns}
    with progress("Attacking", sum(map(len, columns.values())), unit="attacks") as bar:
        for defence, lines in columns.items():
            for line in lines:
                bar.advance(0, note=f"{line.name} on {defence}")
                held[defence][line.name] = line.held(pixels, labels)
                bar.advance()
    sheet = Sheet(
        f"{bundle.name} behind its defences, {len(labels):,} test images, "
        f"L∞ within {format_budget(bundle.manifest.threat_model.epsilon)}",
        ("attack", "knows the defence", *(f">{defence}" for defence in columns)),
        "Accuracy in percent. The worst case is over the attacks of its kind, image by image.",
    )
    names = {line.name: line.known for lines in columns.values() for line in lines}
    for name, known in names.items():
        cells = (_percent(held[defence].get(name)) for defence in columns)
        sheet.add(name, "" if name == "clean" else "yes" if known else "no", *cells)
    worst = {
        defence: {
            kind: np.logical_and.reduce(
                [found[n] for n, known in names.items() if n in found and known <= all_]
            )
            for kind, all_ in _KINDS.items()
        }
        for defence, found in held.items()
    }
    for kind in _KINDS:
        cells = (_percent(worst[defence][kind]) for defence in columns)
        sheet.add(f"**{kind}**", "", *cells)
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "model": {"name": bundle.name, "version": bundle.version, "digest": bundle.manifest.digest},
        "accuracy": {d: {n: float(h.mean()) for n, h in found.items()} for d, found in held.items()},
        "worst": {
            d: {k: [float(h.mean()), *wilson(int(h.sum()), len(h))] for k, h in kinds.items()}
            for d, kinds in worst.items()
        },
    }
    facts = [
        f"With {machine.describe_versions()}; {machine.date}.",
        f"Command: `{command_line()}`",
    ]
    deliver(
        Report("inference_defence", facts, [sheet], content),
        markdown=markdown,
        json_path=json_path,
        document=update,
    )


#: Which lines a worst case is over: all, or those only that do not know the defence.
_KINDS = {"worst case of attacks that do not know it": False, "worst case of all": True}


def lines_of(bundle: Bundle, defence: Defence, steps: int, queries: int) -> Iterator[Line]:
    """The attacks that are run behind a defence."""
    threat = bundle.manifest.threat_model
    static, judge = open_oracle(bundle), open_oracle(bundle, defence)
    common = {"norm": threat.norm, "epsilon": threat.epsilon}
    pgd = common | {"steps": steps}

    def line(name: str, kind: str, known: bool, **changes: Any) -> Line:
        source = changes.pop("source", None)
        parameters = find(kind).parameters.model_validate(changes)
        return Line(name, known, lambda x, y: _held(judge, x, y, parameters, source))

    yield Line("clean", False, lambda x, y: _right(judge, x, y))
    unknowing = {} if defence == "none" else {"source": static}
    yield line(f"PGD-{steps}", "pgd", False, **pgd, **unknowing)
    yield line(f"CW-{steps}", "cw-linf", False, **pgd, **unknowing)
    yield line(f"APGD-CE-{steps}", "apgd-ce", False, **pgd, **unknowing)
    if defence != "none":
        yield line(f"PGD-{steps}, BPDA", "pgd", True, **pgd)
        yield line(f"CW-{steps}, BPDA", "cw-linf", True, **pgd)
        yield line(f"APGD-CE-{steps}, BPDA", "apgd-ce", True, **pgd)
        yield line(f"PGD-{steps}, BPDA, joint with the manifold", "pgd", True, **pgd, loss="ce+manifold")
        yield Line(f"CW-{steps}, end to end", True, _end_to_end(bundle, defence, pgd))
    else:
        other = open_oracle(bundle, "imt")
        yield line(f"PGD-{steps} through imt, transferred", "pgd", False, **pgd, source=other)
    if queries:
        yield line(f"Square, {queries} queries", "square", defence != "none", **common, query_budget=queries)


def load(bundle: Bundle, images: int, root: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of the bundle's data set, float32 (n, c, h, w), and their labels."""
    options = bundle.manifest.recipe.get("dataset", {}).get("options", {})
    dataset = datasets.load(bundle.manifest.dataset.name, root, **options)
    split = dataset.test.only_exact().take(slice(0, images))
    return split.images.astype(np.float32) / np.float32(255), split.labels


def _offered(bundle: Bundle) -> list[Defence]:
    offered = list(bundle.manifest.defences)
    if "imt" not in offered:
        raise UsageError(f"{bundle.name} does not offer imt; it offers {', '.join(offered)}.")
    return offered


def _end_to_end(
    bundle: Bundle, defence: Defence, parameters: dict[str, Any]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    network = rebuild(bundle).requires_grad_(False)
    imt = bundle.manifest.imt
    if not isinstance(network, DefendedNetwork) or imt is None:
        raise UsageError(f"{bundle.name} has no discriminator.")
    oracle = TransformedOracle(
        network,
        epsilon=imt.epsilon,
        halved=imt.halved if defence == "imt+" else None,
        through="end-to-end",
    )
    chosen = find("cw-linf").parameters.model_validate(parameters)
    return lambda x, y: _held(oracle, torch.from_numpy(x), torch.from_numpy(y), chosen, None)


def _held(
    judge: Oracle, images: Any, labels: Any, parameters: AttackParameters, source: Oracle | None
) -> np.ndarray:
    if source is not None and "stop_at_success" in type(parameters).model_fields:
        # What fools the source first need not fool the judge: take every step.
        parameters = parameters.model_copy(update={"stop_at_success": False})
    found = attack(judge, images, labels, parameters, source=source, batch_size=_BATCH)
    return ~np.asarray(found.success)


def _right(judge: Oracle, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    parts = [judge.logits(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    right: np.ndarray = np.concatenate(parts).argmax(1) == labels
    return right


def _percent(held: np.ndarray | None) -> str:
    return "" if held is None else f"{100 * held.mean():.1f}"


if __name__ == "__main__":
    run(main)
