"""Add a defence of your own: a training method in a file of your own, and a recipe that names it.

The method is fast adversarial training (Wong, Rice & Kolter 2020, *Fast is better than free*, Algorithm 3),
which Holdfast does not have: one step of FGSM from a random start. Nothing registers it. The recipe
``own_defence.yaml`` names it by where it is, ``own_defence:FastAdversarialTraining``, as Python would import
it from the current directory or from an installed package.

It is trained on scikit-learn's digits beside the undefended baseline. Both are exported, and attacked by
PGD-20.

    cd examples
    python own_defence.py                    # or, one by one, the commands that it shows
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import ball
from holdfast.attacks.noise import Noise
from holdfast.attacks.pgd import ascend
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.cli import main as command
from holdfast.units import Budget
from training.methods import Method, MethodParameters
from training.models.network import Network, evaluating


class Parameters(MethodParameters):
    """What the recipe's section ``method`` may say, beside the name."""

    epsilon: Budget = 8 / 255
    step_size: Budget = Field(10 / 255, description="1.25 times the budget, in the paper.")


class FastAdversarialTraining(Method[Parameters]):
    """min_θ E L(f_θ(x + δ), y), with δ of one step from a uniform start within the budget."""

    Parameters = Parameters
    paper = None

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy on the images after one step."""
        region = ball("linf", self.parameters.epsilon)
        with evaluating(network):
            oracle = TorchOracle(network, network.classes)
            start = region.random(images, noise)
            step = self.parameters.step_size
            adversarial = ascend(oracle, start, images, labels, region, steps=1, step_size=step)
        return cross_entropy(network(adversarial), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--work", type=Path, default=Path("own-defence"), help="for runs and bundles")
    arguments = parser.parse_args()
    store = arguments.work / "store"
    for recipe, name in (("standard-digits", "baseline"), (Path(__file__).with_suffix(".yaml"), "defended")):
        run = arguments.work / name
        changes = ["--set", f"epochs={arguments.epochs}", "--set", "monitor.images=0"]
        holdfast("train", recipe, *changes, "--run-dir", run)
        holdfast("export", run, "--name", name, "--store", store, "--force", "--version", "1")
    attacks = ["--attack", "clean", "--attack", "pgd-20"]
    holdfast("evaluate", "baseline", "defended", *attacks, "--store", store)


def holdfast(*arguments: str | Path) -> None:
    """Run a command as a shell would, in this process, which has torch imported already."""
    words = [str(argument) for argument in arguments]
    print("\n$ holdfast", *words, flush=True)
    try:
        command(words)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # where the recipe's import path is looked for
    main()
