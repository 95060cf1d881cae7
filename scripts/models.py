#!/usr/bin/env python3
"""Train, export and measure models, from their recipes to bundles in the store with figures on their cards.

    python scripts/models.py fs-cifar10               # the paper's network and schedule: wants a GPU
    python scripts/models.py trades-cifar10-small     # what model_store/trades-cifar10 is: a CPU and hours
    python scripts/models.py fs-cifar10 atld-cifar10 --set model.architecture=preact-resnet-18 --images 1000

A model's name is its recipe's, without ``-small``. Each step is a command of ``holdfast`` that goes on where
it stopped, so the same line, given again after an interrupt, does what is missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PARSER = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
_PARSER.add_argument("recipes", nargs="+", metavar="RECIPE", help="as in holdfast train --list")
_PARSER.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipes")
_PARSER.add_argument("--images", type=int, default=1000, help="attacked for the headline (default: 1000)")
_PARSER.add_argument("--precision", default="float16", help="of the stored weights (default: float16)")
_PARSER.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie (default: runs)")
_PARSER.add_argument("--store", type=Path, default=Path("model_store"), help="(default: model_store)")


def main(arguments: Sequence[str]) -> int:
    """Make the models; the exit status of the first command that fails."""
    given = _PARSER.parse_args(arguments)
    for recipe in given.recipes:
        name, run = recipe.removesuffix("-small"), given.runs / recipe
        bundle = given.store / name / "1"
        steps = [_train(recipe, run, given.set)]
        if not (bundle / "bundle.json").is_file():
            steps.append(_export(run, name, given))
        steps += [_evaluate(name, given, "--attack", "clean")]
        steps += [_evaluate(name, given, "--headline", "--images", str(given.images))]
        for step in steps:
            sys.stderr.write(f"$ holdfast {' '.join(step)}\n")
            status = subprocess.run([sys.executable, "-m", "holdfast", *step], check=False).returncode
            if status:
                return status
    return 0


def _train(recipe: str, run: Path, changes: Sequence[str]) -> list[str]:
    return ["train", recipe, "--run-dir", str(run), *(word for one in changes for word in ("--set", one))]


def _export(run: Path, name: str, given: argparse.Namespace) -> list[str]:
    options = ["--name", name, "--version", "1", "--precision", given.precision, "--store", str(given.store)]
    return ["export", str(run), *options]


def _evaluate(name: str, given: argparse.Namespace, *lines: str) -> list[str]:
    ledgers = str(given.runs / "evaluations")
    return ["evaluate", f"{name}/1", *lines, "--store", str(given.store), "--ledgers", ledgers]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
