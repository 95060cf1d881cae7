"""AutoAttack by its authors (Croce & Hein 2020, package pyautoattack) on the network inside a bundle.

    python benchmarks/autoattack.py pgd-at-cifar10 --images 500

A check from outside on a card's figures: none of Holdfast's attacks runs here, and the network is
rebuilt in torch from the bundle's weights. By default the two attacks that decide nearly every image of
a model that does not mask its gradients, APGD-CE and APGD-T; --attack names others (fab-t, square).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from pyautoattack import AutoAttack

from holdfast.bundle import resolve
from holdfast.units import format_budget
from training.data import load
from training.evaluate import wilson
from training.rebuild import rebuild


def main() -> None:
    """Run the attacks and print clean and robust accuracy as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("--store", type=Path, default=Path("model_store"))
    parser.add_argument("--images", type=int, default=500, help="the first test images")
    parser.add_argument("--attack", action="append", help="default: apgd-ce and apgd-t")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    bundle = resolve(arguments.bundle, arguments.store)
    threat = bundle.manifest.threat_model
    network = rebuild(bundle).requires_grad_(False)
    test = load(bundle.manifest.dataset.name).test.only_exact().take(slice(0, arguments.images))
    images, labels = torch.from_numpy(test.images).float() / 255, torch.from_numpy(test.labels)

    started = time.monotonic()
    attack = AutoAttack(
        network,
        norm={"linf": "Linf", "l2": "L2"}[threat.norm],
        eps=threat.epsilon,
        version="custom",
        attacks=arguments.attack or ["apgd-ce", "apgd-t"],
        seed=0,
    )
    adversarial = attack.run_standard_evaluation(images, labels, batch_size=arguments.batch_size)
    adversarial = adversarial[0] if isinstance(adversarial, tuple) else adversarial
    assert (adversarial - images).abs().max() <= threat.epsilon + 1e-6 or threat.norm != "linf"
    with torch.no_grad():
        clean = int((network(images).argmax(1) == labels).sum())
        robust = int((network(adversarial).argmax(1) == labels).sum())
    report = {
        "bundle": f"{bundle.name}/{bundle.version}",
        "threat_model": f"{threat.norm} within {format_budget(threat.epsilon)}",
        "attacks": attack.attacks_to_run,
        "images": len(labels),
        "clean": clean / len(labels),
        "robust": robust / len(labels),
        "robust_interval": wilson(robust, len(labels)),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
