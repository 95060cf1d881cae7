"""Our attacks held against independent implementations, on one bundle, on the same real images.

    python benchmarks/attacks_held.py pgd-at-cifar10
    python benchmarks/attacks_held.py standard-cifar10 --epsilon 0.5/255

Ours attack the bundle on ONNX Runtime; the others attack, on torch, the network that is rebuilt from the
bundle's weights. Both get the same batch of test images one after the other, without those that the model
gets wrong anyway, under the same settings. What they find is judged by one judge, the bundle's
``predict.onnx``: whether it fools the model, and whether it is within the budget.

An outcome is kept in --runs as soon as it is there, and is not measured again: the same command goes on where
it was interrupted, --images asks for more, and --again measures our side anew.

foolbox and pyautoattack are in the environment of ``make test``. adv-lib wants an old setuptools for what it
imports; without its dependencies it goes into that environment, or into one beside it, with

    pip install --no-deps adv-lib
    pip install tqdm

What is not installed is left out, and the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from held_ledger import Entry, Ledger
from held_matches import LIBRARIES, Match, Run, Subject, matches
from held_report import Comparison, Outcome, accuracy_sheet, norm_sheet
from machine import describe_machine
from report import Report, command_line, deliver, run

from holdfast.attacks import attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import WEIGHTS, Bundle, resolve
from holdfast.console import progress
from holdfast.errors import UsageError
from holdfast.units import format_budget, parse_budget
from training.data import Split, load
from training.rebuild import rebuild

OURS = "holdfast"
#: From images and labels on the host to adversarial images.
Runs = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: What is over the budget by no more than this is over it by rounding.
_ROUNDING = 1e-5


def main(
    bundle: Annotated[str, typer.Argument(help="NAME or NAME/VERSION.")] = "pgd-at-cifar10",
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    attacks: Annotated[
        list[str] | None, typer.Option("--attack", help="One match; may be repeated. [default: all]")
    ] = None,
    epsilon: Annotated[str | None, typer.Option(help="L∞ budget. [default: the bundle's own]")] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="The first test images. [default: fewer for the dear attacks]")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images of one side's turn.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of both sides.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Measure our side anew.")] = False,
    runs: Annotated[Path, typer.Option(help="Where outcomes are kept.")] = Path("runs/attacks_held"),
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this bundle's marks.")
    ] = None,
) -> None:
    """Hold our attacks against other implementations of them."""
    torch.set_num_threads(threads)
    opened = resolve(bundle, store)
    budget = parse_budget(epsilon) if epsilon is not None else opened.manifest.threat_model.epsilon
    if not budget:
        raise UsageError(f"{opened.name} has no threat model of its own.", hint="Give one: --epsilon 1/255")
    arena = Arena(opened, Subject(rebuild(opened).requires_grad_(False), budget, seed), threads)
    test = load(opened.manifest.dataset.name).test.only_exact()
    chosen = choose(attacks)
    machine = describe_machine(
        "holdfast", "onnxruntime", "torch", "numpy", *(one.package for one in LIBRARIES)
    )
    comparisons = []
    for match in chosen:
        split = test.take(slice(0, images or match.images))
        ledger = Ledger(runs / f"{opened.name}-{opened.version}" / f"{match.name.replace(', ', '-')}.jsonl")
        comparisons += arena.fight(match, split, batch, ledger, again=again)
    facts = [
        f"Machine: {machine.describe()}; {threads} thread{'s' * (threads > 1)} on each side.",
        f"With {machine.describe_versions()}.",
        f"Model: {opened.name} version {opened.version}, {opened.manifest.architecture.name}; the first "
        f"images of the test set, {batch} at a time, in turns; {machine.date}.",
        f"Budget: L∞ within {format_budget(budget)}. Seed {seed}.",
        *(f"Settings of {match.name}: {match.describe()}." for match in chosen if match.settings),
        *(f"Not installed, left out: {one.package}." for one in LIBRARIES if one.missing),
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "model": f"{opened.name}/{opened.version}",
        "epsilon": budget,
        "seed": seed,
        "missing": [one.package for one in LIBRARIES if one.missing],
        "comparisons": [one.as_json() for one in comparisons],
    }
    sheets = [sheet for sheet in (accuracy_sheet(comparisons), norm_sheet(comparisons)) if sheet.rows]
    report = Report(f"attacks_held {opened.name}", facts, sheets, content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def choose(names: list[str] | None) -> list[Match]:
    """The matches of those names; all of them where there are none.

    Raises:
        UsageError: There is no such match.
    """
    known = matches()
    for name in names or ():
        if name not in known:
            raise UsageError(f"There is no match {name!r}.", hint=f"There are: {', '.join(known)}.")
    return [match for match in known.values() if not names or match.name in names]


class Arena:
    """One bundle on which sides take turns, and the judge of what they find.

    Args:
        bundle: The bundle; ours attack its graphs.
        subject: What the others attack, with the budget and the seed of all.
        threads: Of ONNX Runtime.
    """

    def __init__(self, bundle: Bundle, subject: Subject, threads: int) -> None:
        self._subject = subject
        self._oracle = OnnxOracle(bundle, threads=threads)
        self._weights = bundle.manifest.files[WEIGHTS].sha256

    def fight(
        self, match: Match, split: Split, batch: int, ledger: Ledger, *, again: bool = False
    ) -> list[Comparison]:
        """Let all sides of a match attack the images, batch by batch.

        Args:
            match: What is held against what.
            split: The images.
            batch: How many at a time.
            ledger: What is known already, and where to keep what is measured.
            again: Whether to measure ours though it is known.

        Returns:
            Ours beside each of the others.
        """
        sides = {OURS: self._ours(match)}
        for library, make in match.peers.items():
            if not library.missing:
                sides[library.package] = _theirs(make(self._subject))
        found: dict[str, list[Entry]] = {side: [] for side in sides}
        with progress(match.name, len(split) * len(sides), unit="images") as shown:
            for start in range(0, len(split), batch):
                stop = min(start + batch, len(split))
                for side, attacks in sides.items():
                    settings = self._settings(match, side)
                    entry = ledger.find(side, settings, start, stop)
                    if entry is None or (again and side == OURS):
                        outcome = self._measure(match, split.take(slice(start, stop)), attacks)
                        entry = Entry(side, settings, start, stop, *outcome)
                        ledger.add(entry)
                    found[side].append(entry)
                    shown.advance(stop - start, note=side)
        ours = Outcome.of(found.pop(OURS))
        return [
            Comparison(match.name, match.compares, match.describe(), side, ours, Outcome.of(entries))
            for side, entries in found.items()
        ]

    def _ours(self, match: Match) -> Runs:
        parameters = match.parameters(self._subject)

        def runs(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            found: np.ndarray = attack(self._oracle, images, labels, parameters).images
            return found

        return runs

    def _measure(
        self, match: Match, split: Split, attacks: Runs
    ) -> tuple[list[bool], list[bool], list[float], float]:
        """Which images were attacked, and for these: which were fooled, how far they went; CPU seconds."""
        images = split.images.astype(np.float32) / np.float32(255)
        attacked = self._oracle.logits(images).argmax(1) == split.labels
        if not attacked.any():
            return attacked.tolist(), [], [], 0.0
        images, labels = images[attacked], split.labels[attacked]
        began = time.process_time()
        found = attacks(images, labels)
        seconds = time.process_time() - began
        fooled = self._oracle.logits(found).argmax(1) != labels
        away = np.abs(found - images).max((1, 2, 3))
        fooled &= (found.min((1, 2, 3)) >= -_ROUNDING) & (found.max((1, 2, 3)) <= 1 + _ROUNDING)
        if match.compares == "accuracy":
            fooled &= away <= self._subject.epsilon + _ROUNDING
        norms = np.sqrt(((found - images).astype(np.float64) ** 2).sum((1, 2, 3)))
        return attacked.tolist(), fooled.tolist(), norms.tolist(), seconds

    def _settings(self, match: Match, side: str) -> str:
        """All that decides a side's outcome on a batch."""
        within = f"within {self._subject.epsilon:.6g}" if match.compares == "accuracy" else "unbounded"
        release, seed = f"{side} {version(side)}", f"seed {self._subject.seed}"
        return "; ".join((self._weights, release, match.describe(), within, seed))


def _theirs(run: Run) -> Runs:
    def runs(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found: np.ndarray = run(torch.from_numpy(images), torch.from_numpy(labels)).detach().numpy()
        return found

    return runs


if __name__ == "__main__":
    run(main)
