"""Variants of a recipe side by side: what each option of a method is worth, on scikit-learn's digits.

    python benchmarks/ablation.py fs-digits

Each variant is the recipe with some ``--set key=value``, trained with several seeds and attacked on all test
images by the papers' attacks (PGD and CW of 20 steps of ε/4, one run) and by two that are harder to mislead:
APGD on cross-entropy and, on what is left, APGD on the targeted difference of logits ratio, towards each
other class (Croce & Hein 2020). Where the last column is far below the second, the papers' attacks see
robustness that is not there.

It is a toy: 8x8 digits, a small network, minutes on a CPU. It says which options matter there.
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

from holdfast.attacks import AttackParameters, PGDParameters, attack
from holdfast.attacks.apgd import APGDParameters, APGDTParameters
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.console import progress
from holdfast.errors import UsageError
from training import recipe as recipes
from training.checkpoint import CheckpointInfo, load_network
from training.data import Split
from training.data import load as load_data
from training.distributed import World
from training.models import Network
from training.recipe import ThreatModelSection
from training.trainer import Trainer

_LIBRARIES = ("holdfast", "torch", "numpy")

#: The variants that a method's document shows; the first line is the recipe itself.
VARIANTS: dict[str, list[str]] = {
    "atld": [
        "",
        "method.invariance_weight=1",
        "method.invariance_weight=0",
        "method.latent=logits",
        "method.batch_norm=apart",
        "method.batch_norm=apart method.invariance=logits",
        "method.batch_norm=apart method.invariance=logits method.invariance_weight=0.5",
        "method.batch_norm=apart method.invariance=logits method.invariance_weight=0.5 "
        "method.latent=logits method.discriminator_steps=2",
        "method.discriminator=wrn-28-5",
        "method.discriminator=mlp-2-64",
        "method.random_start=false",
        "method.steps=3 method.step_size=0.05",
        "method.label_smoothing=0",
    ],
    "feature-scattering": [
        "",
        "method.sinkhorn_iterations=50",
        "method.plan_gradient=detached",
        "method.solver=ipot",
        "method.matching=uniform",
        "method.matching=identity",
        "method.perturbation=supervised",
        "method.perturbation=random",
        "method.steps=3 method.step_size=0.05",
        "method.label_smoothing=0",
        "method.label_smoothing=0.1",
        "method.label_smoothing=0.3",
    ],
    "mat": [
        "",
        "method.alpha=0",
        "method.alpha=0.001",
        "method.alpha=0.1",
        "method.alpha=1",
        "method.beta=0",
        "method.beta=0.3",
        "method.beta=3",
        "method.beta=10",
        "method.alpha=0 method.beta=0",
        "model.arguments={}",
    ],
    "fs-gan": [
        "",
        "method.diversity=0",
        "method.diversity=1",
        "method.distance_weight=0",
        "method.features=probabilities",
        "method.steps=2",
        "method.steps=2 method.perturbs=previous",
        "method.label_smoothing=0",
        "method.generator_learning_rate=7.8e-3",
    ],
}
#: What every method is seen beside: the same recipe with another method.
_BASELINES = (
    "method={name: standard}",
    "method={name: standard, label_smoothing: 0.5}",
    "method={name: pgd-at, epsilon: 0.15, steps: 7, step_size: 0.05}",
)
_COLUMNS = ("clean", "PGD-20", "CW-20", "APGD-CE and -T")


def main(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe of the digits.")] = "fs-digits",
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant", help="key=value, several separated by spaces; by default the method's own."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for all variants; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Of APGD.")] = 50,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves them to torch.")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Train and attack variants of a recipe."""
    if threads:
        torch.set_num_threads(threads)
    machine = describe_machine(*_LIBRARIES)
    base = recipes.load(recipe, overrides or ())
    chosen = variants if variants is not None else VARIANTS.get(base.method["name"])
    if chosen is None:
        raise UsageError(
            f"No variants of {base.method['name']} are known.", hint="Give some with --variant KEY=VALUE."
        )
    measured: dict[str, list[dict[str, float]]] = {}
    rows = [(variant, [*variant.split()]) for variant in chosen] + [(name, [name]) for name in _BASELINES]
    with progress("Training", len(rows) * seeds, unit="runs") as shown:
        for name, changes in rows:
            measured[name or recipe] = []
            for seed in range(seeds):
                network, test, threat = train(recipe, [*(overrides or ()), *changes, f"seed={seed}"])
                measured[name or recipe].append(measure(network, test, threat, steps))
                shown.advance()
    facts = [
        f"{base.method['name']} on {base.model.architecture}, {base.dataset.name}, {base.epochs} epochs; "
        f"{base.threat_model.norm} {base.threat_model.epsilon:.3g}.",
        f"{seeds} seeds, {machine.date}; with {machine.describe_versions()}.",
        f"Command: `{command_line()}`",
    ]
    sheet = make_sheet(measured, base.threat_model, seeds)
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "recipe": base.model_dump(mode="json"),
        "accuracy": measured,
    }
    report = Report(f"ablation {recipe}", facts, [sheet], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


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


def train(recipe: str, overrides: Sequence[str]) -> tuple[Network, Split, ThreatModelSection]:
    """The network, in eval mode, that the recipe with these overrides ends with, and what to test it on."""
    chosen = recipes.load(recipe, [*overrides, "monitor.images=0"])
    data = load_data(chosen.dataset.name, **chosen.dataset.options.model_dump())
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        Trainer(chosen, data, Path(directory), World(0, 1, torch.device("cpu")), _NoReporter()).run()
        return load_network(Path(directory))[0], data.test, chosen.threat_model


def measure(network: Network, test: Split, threat: ThreatModelSection, steps: int) -> dict[str, float]:
    """Accuracy on all test images, clean and under each attack of the table."""
    images = torch.from_numpy(test.images).float() / 255
    labels = torch.from_numpy(test.labels)
    within: dict[str, Any] = {"norm": threat.norm, "epsilon": threat.epsilon}
    twenty: dict[str, Any] = {
        **within,
        "steps": 20,
        "step_size": threat.epsilon / 4,
        "stop_at_success": False,
    }
    right = TorchOracle(network, network.classes).logits(images).argmax(1) == labels
    pgd = standing(network, images, labels, [PGDParameters(**twenty)])
    cw = standing(network, images, labels, [PGDParameters(**twenty, loss="cw")])
    worst: list[AttackParameters] = [APGDParameters(**within, steps=steps)]
    worst += [APGDTParameters(**within, steps=steps)]
    apgd = standing(network, images, labels, worst)
    shares = (float(right.float().mean()), pgd, cw, apgd)
    return dict(zip(_COLUMNS, shares, strict=True))


def standing(network: Network, images: Tensor, labels: Tensor, attacks: Sequence[AttackParameters]) -> float:
    """The share of the images that are classified rightly under every one of the attacks."""
    oracle = TorchOracle(network, network.classes)
    left = torch.arange(len(labels))
    for parameters in attacks:
        result = attack(oracle, images[left], labels[left], parameters, batch_size=len(labels))
        left = left[~torch.as_tensor(result.success)]
    return len(left) / len(labels)


def make_sheet(
    measured: Mapping[str, Sequence[Mapping[str, float]]], threat: ThreatModelSection, seeds: int
) -> Sheet:
    """The table: a row for each variant, in percent."""
    sheet = Sheet(
        f"Accuracy in percent, within {threat.norm} {threat.epsilon:.3g}",
        ("", *(f">{column}" for column in _COLUMNS)),
        f"Means over {seeds} seeds, with the lowest and the highest. The last rows are other methods."
        if seeds > 1
        else "The last rows are other methods.",
    )
    for name, runs in measured.items():
        label = f"`{name}`"
        sheet.add(label, *(_spread([run[column] for run in runs]) for column in _COLUMNS))
    return sheet


def _spread(shares: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in (np.mean(shares), min(shares), max(shares)))
    return f"{mean:.1f}" if len(shares) == 1 else f"{mean:.1f} ({low:.1f} – {high:.1f})"


if __name__ == "__main__":
    run(main)
