"""AutoAttack by its authors (Croce & Hein 2020, package pyautoattack) on a bundle.

    python benchmarks/autoattack.py pgd-at-cifar10 --images 500

A check from outside on a card's figures: none of Holdfast's attacks runs here. It attacks the network that is
rebuilt in torch from the bundle's weights, or, with --through onnx, the graphs that are served, by means of
holdfast.attacks.reference; what it finds is judged by the served graph either way. By default the two attacks
that decide nearly every image of a model that does not mask its gradients, APGD-CE and APGD-T; --attack names
others (fab-t, square), and --version standard runs all four.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from pyautoattack import AutoAttack

from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.reference import reference_autoattack
from holdfast.bundle import Bundle, resolve
from holdfast.interval import wilson
from holdfast.units import format_budget
from training.data import load
from training.rebuild import rebuild


def main() -> None:
    """Run the attacks and print clean and robust accuracy as JSON."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    bundle = resolve(arguments.bundle, arguments.store)
    threat = bundle.manifest.threat_model
    test = load(bundle.manifest.dataset.name).test.only_exact().take(slice(0, arguments.images))
    images, labels = test.images.astype(np.float32) / np.float32(255), test.labels.astype(np.int64)
    attacks = [] if arguments.version else arguments.attack or ["apgd-ce", "apgd-t"]

    oracle = OnnxOracle(bundle, threads=arguments.threads)
    started = time.monotonic()
    if arguments.through == "onnx":
        adversarial = reference_autoattack(
            oracle,
            images,
            labels,
            norm=threat.norm,
            epsilon=threat.epsilon,
            version=arguments.version or "standard",
            attacks=attacks,
            batch_size=arguments.batch_size,
        )
    else:
        adversarial = _on_torch(bundle, images, labels, arguments.version, attacks, arguments.batch_size)
    seconds = time.monotonic() - started
    change = np.abs(adversarial - images)
    reached = change.max() if threat.norm == "linf" else np.sqrt((change**2).sum((1, 2, 3))).max()
    assert reached <= threat.epsilon + 1e-5, f"{reached} is over the budget"

    clean, robust = (_right(oracle, asked, labels, arguments.batch_size) for asked in (images, adversarial))
    report = {
        "bundle": f"{bundle.name}/{bundle.version}",
        "threat_model": f"{threat.norm} within {format_budget(threat.epsilon)}",
        "through": arguments.through,
        "attacks": attacks or arguments.version,
        "images": len(labels),
        "clean": clean / len(labels),
        "robust": robust / len(labels),
        "robust_interval": wilson(robust, len(labels)),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(report, indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("--store", type=Path, default=Path("model_store"))
    parser.add_argument("--images", type=int, default=500, help="the first test images")
    parser.add_argument("--attack", action="append", help="default: apgd-ce and apgd-t")
    parser.add_argument("--version", choices=["standard", "plus", "rand"], help="in place of --attack")
    parser.add_argument("--through", choices=["torch", "onnx"], default="torch")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def _on_torch(
    bundle: Bundle,
    images: np.ndarray,
    labels: np.ndarray,
    version: str | None,
    attacks: list[str],
    batch_size: int,
) -> np.ndarray:
    threat = bundle.manifest.threat_model
    attack = AutoAttack(
        rebuild(bundle).requires_grad_(False),
        norm={"linf": "Linf", "l2": "L2"}[threat.norm],
        eps=threat.epsilon,
        version=version or "custom",
        attacks=attacks or None,
        seed=0,
    )
    found, _ = attack.run_standard_evaluation(
        torch.from_numpy(images), torch.from_numpy(labels), batch_size=batch_size
    )
    adversarial: np.ndarray = found.numpy()
    return adversarial


def _right(oracle: OnnxOracle, images: np.ndarray, labels: np.ndarray, batch: int) -> int:
    """How many images the served model classifies rightly."""
    starts = range(0, len(images), batch)
    return sum(
        int((oracle.logits(images[at : at + batch]).argmax(1) == labels[at : at + batch]).sum())
        for at in starts
    )


if __name__ == "__main__":
    main()
