"""MAT's Tables 1, 2, 4 and 5 on scikit-learn's digits: its four combinations beside MMC and the baselines.

    python benchmarks/mat_tables.py

Each row is a shipped recipe with some ``--set key=value``. All attacks are PGD of 40 steps of ε/10 from a
random start, the last iterate counting: on the cross-entropy of the logits that MAT's Sec. 3.3 gives to an
attacker, h = W φ; of the cosines that are served; on their margin; and on MAT's own training loss (Sec. 4.4).
``worst`` adds APGD on cross-entropy and on the targeted difference of logits ratio, each on what is left.
Networks with a linear head have no centres: for them the first two are the same, and the last is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from machine import describe_machine
from report import Report, Sheet, command_line, deliver, run
from torch import Tensor

from holdfast.attacks import Oracle, PGDParameters, attack
from holdfast.attacks.apgd import APGDParameters, APGDTParameters
from holdfast.attacks.torch_defended import CentredOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.console import progress
from training import recipe as recipes
from training.analysis import Clusters, cosine_statistics, features_of
from training.checkpoint import CheckpointInfo, load_network
from training.data import load as load_data
from training.distributed import World
from training.models import CosineHead, Network, as_linear, centres_of
from training.recipe import ThreatModelSection
from training.trainer import Trainer

_LIBRARIES = ("holdfast", "torch", "numpy")
#: C of h = W φ, as in MMC; the paper gives none.
_NORM = 10.0

#: The table's rows: a name, a recipe, and what is changed in it. SO alone goes without weight decay, which
#: works against what SO does to a network.
ROWS: dict[str, tuple[str, list[str]]] = {
    "standard": ("standard-digits", []),
    "PGD-AT": ("pgd-at-digits", []),
    "TRADES": ("trades-digits", []),
    "MMC": ("mmc-digits", ["method.adversarial=0"]),
    "MMC, adversarial": ("mmc-digits", []),
    "MAT − −": ("mat-digits", ["method.alpha=0", "method.beta=0"]),
    "MAT SO −": ("mat-digits", ["method.beta=0"]),
    "MAT SO −, α 1, no weight decay": (
        "mat-digits",
        ["method.beta=0", "method.alpha=1", "model.arguments={}", "optimiser.weight_decay=0"],
    ),
    "MAT − BIBO": ("mat-digits", ["method.alpha=0"]),
    "MAT SO BIBO": ("mat-digits", []),
}


def main(
    only: Annotated[
        list[str] | None, typer.Option("--row", help="Only rows of these names; may be repeated.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for all rows; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves them to torch.")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Train the rows of the tables and measure them."""
    if threads:
        torch.set_num_threads(threads)
    rows = {name: row for name, row in ROWS.items() if not only or name in only}
    accuracy: dict[str, list[dict[str, float]]] = {}
    shape: dict[str, list[dict[str, float]]] = {}
    with progress("Training", len(rows) * seeds, unit="runs") as shown:
        for name, (recipe, changes) in rows.items():
            accuracy[name], shape[name] = [], []
            for seed in range(seeds):
                network, threat = train(recipe, [*changes, *(overrides or ()), f"seed={seed}"])
                found = Measured(network, threat)
                accuracy[name].append(found.accuracy())
                shape[name].append(found.shape())
                shown.advance()
    machine = describe_machine(*_LIBRARIES)
    facts = [
        f"Scikit-learn's digits, {seeds} seeds, {machine.date}; with {machine.describe_versions()}.",
        f"Command: `{command_line()}`",
    ]
    sheets = [
        sheet("Accuracy in percent within the recipe's budget (Tables 2 and 4)", accuracy, seeds),
        sheet("Match rate in percent, cosine to the predicted centre, ‖φ‖ (Tables 1 and 5)", shape, seeds),
    ]
    content: dict[str, Any] = {"command": command_line(), "accuracy": accuracy, "shape": shape}
    deliver(
        Report("mat_tables", facts, sheets, content), markdown=markdown, json_path=json_path, document=update
    )


class _NoReporter:
    """Nobody watches the runs themselves."""

    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        pass

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        pass

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        pass

    def saved(self, path: Path) -> None:
        pass


def train(recipe: str, overrides: Sequence[str]) -> tuple[Network, ThreatModelSection]:
    """The network, in eval mode, that the recipe with these overrides ends with."""
    chosen = recipes.load(recipe, [*overrides, "monitor.images=0"])
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        world = World(0, 1, torch.device("cpu"))
        Trainer(chosen, load_data("digits"), Path(directory), world, _NoReporter()).run()
        return load_network(Path(directory))[0], chosen.threat_model


class Measured:
    """A trained network on all test images of the digits.

    Args:
        network: In eval mode.
        threat: What it is meant to hold against.
    """

    def __init__(self, network: Network, threat: ThreatModelSection) -> None:
        self._network, self._threat = network, threat
        test = load_data("digits").test
        self._images = torch.from_numpy(test.images).float() / 255
        self._labels = torch.from_numpy(test.labels)
        self._served: Oracle = TorchOracle(network, network.classes)
        self._given = self._served
        self._centred = isinstance(network.head, CosineHead)
        if self._centred:
            self._given = TorchOracle(as_linear(network, _NORM), network.classes)
            self._served = CentredOracle(network, centres_of(network, "The table"))

    def accuracy(self) -> dict[str, float]:
        """In percent, clean and under each attack."""
        given, served = self._pgd(self._given, "ce"), self._pgd(self._served, "ce")
        margin = self._pgd(self._served, "cw")
        held = [given[0], served[0], margin[0]]
        found = {
            "clean": self._share(self._served.logits(self._images).argmax(1) == self._labels),
            "PGD on h": self._share(given[0]),
            "PGD": self._share(served[0]),
            "margin": self._share(margin[0]),
        }
        if self._centred:
            adaptive = self._pgd(self._served, "ftc+0.01*so+bibo")
            held.append(adaptive[0])
            found["adaptive"] = self._share(adaptive[0])
        left = torch.stack(held).all(0)
        within: dict[str, Any] = {"norm": self._threat.norm, "epsilon": self._threat.epsilon}
        for parameters in (APGDParameters(**within, steps=50), APGDTParameters(**within, steps=50)):
            rows = left.nonzero()[:, 0]
            result = attack(self._served, self._images[rows], self._labels[rows], parameters)
            left[rows] = ~torch.as_tensor(result.success)
        return found | {"worst": self._share(left)}

    def shape(self) -> dict[str, float]:
        """How the features cluster: match rates, cosines to centres, lengths."""
        moved = self._pgd(self._served, "ce")[1]
        clean, attacked = (features_of(self._network, x.numpy()) for x in (self._images, moved))
        clusters = Clusters.ward(clean.vectors, clean.predictions)
        found = {
            "match, clean": 100 * clusters.match_rate(clean.vectors, clean.predictions),
            "match, PGD": 100 * clusters.match_rate(attacked.vectors, attacked.predictions),
            "‖φ‖": float(np.median(np.linalg.norm(clean.vectors, axis=1))),
        }
        if self._centred:
            centres = centres_of(self._network, "The table").numpy()
            for kind, seen in {"clean": clean, "PGD": attacked}.items():
                statistics = cosine_statistics(seen.vectors, seen.predictions, centres)
                found[f"cos, {kind}"] = statistics.mean
                found[f"±, {kind}"] = statistics.deviation
        return found

    def _pgd(self, oracle: Oracle, loss: str) -> tuple[Tensor, Tensor]:
        """Which images are still classified rightly, (n,), and what the attack made of them."""
        epsilon = self._threat.epsilon
        parameters = PGDParameters(
            norm=self._threat.norm,
            epsilon=epsilon,
            steps=40,
            step_size=epsilon / 10,
            loss=loss,
            stop_at_success=False,
        )
        result = attack(oracle, self._images, self._labels, parameters, batch_size=len(self._labels))
        return ~torch.as_tensor(result.success), result.images

    def _share(self, right: Tensor) -> float:
        return 100 * float(right.float().mean())


def sheet(title: str, measured: Mapping[str, Sequence[Mapping[str, float]]], seeds: int) -> Sheet:
    """A table with a row for each network."""
    # A network without centres lacks some columns.
    columns = max((list(run) for runs in measured.values() for run in runs), key=len)
    note = f"Means over {seeds} seeds, with the lowest and the highest." if seeds > 1 else ""
    table = Sheet(title, ("", *(f">{column}" for column in columns)), note)
    for name, runs in measured.items():
        table.add(name, *(_spread([run[column] for run in runs if column in run]) for column in columns))
    return table


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    digits = 2 if max(values) <= 1 else 1
    mean, low, high = (f"{value:.{digits}f}" for value in (np.mean(values), min(values), max(values)))
    return mean if len(values) == 1 else f"{mean} ({low} – {high})"


if __name__ == "__main__":
    run(main)
