"""Red-team a model: several attacks within several budgets, as a table of what is left of its accuracy.

It shows the SDK's ``attack``. Each image is attacked with everything, and is held within a budget only if it
is held under every attack: the last row, the worst case, is what to quote. Intervals are 95 % Wilson
intervals; with few images they are wide, and the table says so. An image's class is its file's name
(``ship.png``) or its folder's (``ship/1.png``).

    holdfast serve &
    python examples/red_team.py examples/images --model pgd-at-cifar10
"""

from __future__ import annotations

import argparse
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from holdfast_client import AttackResult, Holdfast

#: What each attack is given beside its budget: enough for a first look, and little enough to wait for.
ATTACKS = {
    "fgsm": {},
    "pgd": {"steps": 20},
    "apgd-ce": {"steps": 20},
    "square": {"query_budget": 100},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="NAME or NAME/VERSION; by default the server's own choice")
    parser.add_argument("--attacks", default="fgsm,pgd,apgd-ce,square", help="names with commas between them")
    parser.add_argument(
        "--budgets", default="2/255,4/255,8/255", help="image units, with commas between them"
    )
    parser.add_argument("--url", help="the gateway; by default HOLDFAST_URL, or http://127.0.0.1:8000")
    arguments = parser.parse_args()
    attacks, budgets = arguments.attacks.split(","), arguments.budgets.split(",")

    with Holdfast(arguments.url, model=arguments.model, timeout=300) as client:
        classes = client.models.get((arguments.model or client.models.list().default).split("/")[0]).classes
        images = [
            (path, label)
            for path in sorted(arguments.folder.rglob("*.png"))
            if (label := label_of(path, classes))
        ]
        if not images:
            print(
                f"No file in {arguments.folder} is named after one of: {', '.join(classes)}.", file=sys.stderr
            )
            return 2

        def attacked(task: tuple[Path, str, str, str]) -> AttackResult:
            path, label, attack, budget = task
            return client.attack(path, attack, label=label, epsilon=budget, **ATTACKS.get(attack, {}))

        tasks = [
            (path, label, attack, budget)
            for attack in attacks
            for budget in budgets
            for path, label in images
        ]
        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(tasks, pool.map(attacked, tasks), strict=True))

    held = {
        (attack, budget): [not fooled(results[path, label, attack, budget]) for path, label in images]
        for attack in attacks
        for budget in budgets
    }
    worst = {
        budget: [all(of) for of in zip(*(held[attack, budget] for attack in attacks), strict=True)]
        for budget in budgets
    }
    correct = [
        results[path, label, attacks[0], budgets[0]].outcome != "wrong before" for path, label in images
    ]

    print(f"{len(images)} images, {share(correct)} right before any attack.\n")
    print(f"{'accuracy within':15}" + "".join(f"{'L∞ ' + budget:>25}" for budget in budgets))
    for attack in attacks:
        print(f"{attack:15}" + "".join(f"{share(held[attack, budget]):>25}" for budget in budgets))
    print(f"{'worst case':15}" + "".join(f"{share(worst[budget]):>25}" for budget in budgets))
    for doubt in sorted({flag.meaning for result in results.values() for flag in result.flags}):
        print(f"\nDoubt: {doubt}")
    return 0


def label_of(path: Path, classes: list[str]) -> str | None:
    """The class that a file or its folder is named after."""
    return next((name for name in (path.stem, path.parent.name) if name in classes), None)


def fooled(result: AttackResult) -> bool:
    """Whether the model is wrong of the image in the end: of the PNG, which is what can be sent."""
    return result.outcome == "wrong before" or (result.success and result.survives_rounding)


def share(held: list[bool]) -> str:
    """A share with its 95 % Wilson interval."""
    n, p, z = len(held), sum(held) / len(held), 1.96
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return f"{p:.0%} [{max(0.0, centre - half):.0%}, {min(1.0, centre + half):.0%}]"


if __name__ == "__main__":
    sys.exit(main())
