"""IMT's graphs against autograd torch: how near their logits are, and what the rest is.

    python benchmarks/imt_exactness.py atld-cifar10 --images 1000

Real test images and PGD's adversarial ones go through the exported graph and through torch in float32, and
through torch in float64, which stands for the exact result. IMT takes the sign of a gradient: where that is 0
but for rounding, float32 and float64 take steps in opposite directions, and so do any two right
implementations. How often torch itself departs from the exact result is therefore the measure of how often
the graph may.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from machine import describe_machine
from report import Report, Sheet, command_line, deliver, run

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import DEFENDED, Bundle, resolve
from holdfast.console import progress
from holdfast.errors import UsageError
from holdfast.manifest import Defence
from holdfast.manifold import classify_transformed
from holdfast.sessions import open_session
from training import data as datasets
from training.models.defended import DefendedNetwork
from training.rebuild import rebuild

_LIBRARIES = ("holdfast", "torch", "onnxruntime", "numpy")
_BATCH = 50
#: Logits this near are the same.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """Two sets of logits of the same images.

    Attributes:
        images: How many.
        within: The share within the tolerance.
        median: Of the largest differences of the images' logits.
        largest: The largest of all.
        top1: The share with the same class, of the images whose two best logits are further apart than the
            difference that is tolerated.
        clear: How many those are.
    """

    images: int
    within: float
    median: float
    largest: float
    top1: float
    clear: int

    @classmethod
    def of(cls, found: np.ndarray, expected: np.ndarray) -> Agreement:
        """Compare ``found`` with ``expected``, both (n, classes)."""
        differences = np.abs(found - expected).max(axis=1)
        best = np.sort(expected, axis=1)
        clear = best[:, -1] - best[:, -2] > 2 * np.maximum(differences, _TOLERANCE)
        same = found.argmax(axis=1) == expected.argmax(axis=1)
        return cls(
            images=len(found),
            within=float((differences <= _TOLERANCE).mean()),
            median=float(np.median(differences)),
            largest=float(differences.max()),
            top1=float(same.mean()),
            clear=int(clear.sum()),
        )

    def cells(self) -> Iterator[str]:
        """For a table."""
        yield f"{self.within:.1%}"
        yield f"{self.median:.1e}"
        yield f"{self.largest:.1e}"
        yield f"{self.top1:.1%}"


def main(
    model: Annotated[str, typer.Argument(help="A bundle that offers IMT.")] = "atld-cifar10",
    images: Annotated[int, typer.Option(min=1, help="Real test images; as many adversarial ones.")] = 1000,
    store: Annotated[Path, typer.Option(envvar="HOLDFAST_MODEL_STORE")] = Path("model_store"),
    data_root: Annotated[Path | None, typer.Option(envvar="HOLDFAST_DATA")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of either side.")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Hold IMT's graphs against torch."""
    torch.set_num_threads(threads)
    machine = describe_machine(*_LIBRARIES)
    bundle = resolve(model, store)
    network, imt = rebuild(bundle).requires_grad_(False), bundle.manifest.imt
    if not isinstance(network, DefendedNetwork) or imt is None:
        raise UsageError(f"{bundle.name} does not offer imt.")
    sheet = Sheet(
        f"Logits behind IMT of {bundle.name}, {network_name(bundle)}",
        ("defence", "images", "compared", ">within 1e-4", ">median", ">largest", ">same class"),
        "Differences are of an image's worst logit. float64 is torch's, and stands for the exact result.",
    )
    kinds = images_of(bundle, images, data_root, threads)
    defences = [defence for defence in bundle.manifest.defences if defence != "none"]
    content: dict[str, Any] = {"command": command_line(), "machine": machine.as_json(), "agreements": []}
    total = len(defences) * sum(map(len, kinds.values()))
    with progress("Comparing", total, unit="images") as bar:
        for defence in defences:
            for kind, chosen in kinds.items():
                halved = imt.halved if defence == "imt+" else None
                graph, eager, exact = answers(bundle, network, defence, chosen, imt.epsilon, halved, threads)
                bar.advance(len(chosen))
                for what, pair in {
                    "graph with torch": (graph, eager),
                    "graph with float64": (graph, exact),
                    "torch with float64": (eager, exact),
                }.items():
                    found = Agreement.of(*pair)
                    sheet.add(defence, f"{len(chosen):,} {kind}", what, *found.cells())
                    content["agreements"].append(
                        vars(found) | {"defence": defence, "images": kind, "compared": what}
                    )
    facts = [f"With {machine.describe_versions()}; {machine.date}.", f"Command: `{command_line()}`"]
    report = Report("imt_exactness", facts, [sheet], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def network_name(bundle: Bundle) -> str:
    """Classifier and discriminator in words."""
    judge = bundle.manifest.manifold and bundle.manifest.manifold.discriminator
    beside = f" with a discriminator {judge.architecture}" if judge else ""
    return bundle.manifest.architecture.name + beside


def images_of(bundle: Bundle, count: int, root: Path | None, threads: int) -> dict[str, np.ndarray]:
    """Real images, and PGD's of the static network."""
    options = bundle.manifest.recipe.get("dataset", {}).get("options", {})
    split = datasets.load(bundle.manifest.dataset.name, root, **options).test.only_exact()
    split = split.take(slice(0, count))
    real = split.images.astype(np.float32) / np.float32(255)
    threat = bundle.manifest.threat_model
    parameters = PGDParameters(norm=threat.norm, epsilon=threat.epsilon, steps=20, stop_at_success=False)
    found = attack(OnnxOracle(bundle, threads=threads), real, split.labels, parameters, batch_size=_BATCH)
    return {"real": real, "adversarial": np.asarray(found.images)}


def answers(
    bundle: Bundle,
    network: DefendedNetwork,
    defence: Defence,
    images: np.ndarray,
    epsilon: float,
    halved: tuple[float, float] | None,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The logits (n, classes) of the graph, of torch in float32, and of torch in float64."""
    session = open_session(bundle, DEFENDED[defence], threads=threads)
    exact = copy.deepcopy(network).double()
    rows: list[list[np.ndarray]] = [[], [], []]
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        rows[0].append(session.run(["logits"], {"images": batch})[0])
        for row, judged, kind in ((rows[1], network, torch.float32), (rows[2], exact, torch.float64)):
            with torch.no_grad():
                logits, _ = classify_transformed(
                    judged, torch.from_numpy(batch).to(kind), epsilon=epsilon, halved=halved
                )
            row.append(logits.float().numpy())
    graph, eager, precise = (np.concatenate(row) for row in rows)
    return graph, eager, precise


if __name__ == "__main__":
    run(main)
