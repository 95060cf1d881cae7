"""Watch the manifold monitor: what a model says of natural and of adversarial images.

A model with manifold evidence, such as ``atld-cifar10``, has a score with every prediction, and thresholds
that turn it into a verdict: natural, uncertain or suspect. The gateway counts verdicts in ``/metrics``, where
an operator sees that the mix of what comes in has changed. This sends natural images, then the same images
attacked, and reads both. The attack does not know of the thresholds; an adversary who does can stay within
them (docs/inference-time-defence.md).

    holdfast serve &
    python examples/manifold_monitor.py examples/images --model atld-cifar10
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import httpx

from holdfast_client import Holdfast, Prediction

VERDICTS = ("natural", "uncertain", "suspect")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="atld-cifar10", help="one that gives manifold evidence")
    parser.add_argument("--attack", default="pgd")
    parser.add_argument("--epsilon", default="8/255", help="image units")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the gateway")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.png"))

    with Holdfast(arguments.url, model=arguments.model, timeout=300) as client:
        thresholds = client.models.get(arguments.model).manifold
        if thresholds is None:
            print(f"{arguments.model} gives no manifold evidence.", file=sys.stderr)
            return 2
        print(
            f"{arguments.model}: uncertain beyond {thresholds.uncertain:.3f}, suspect beyond "
            f"{thresholds.suspect:.3f}, as {thresholds.false_positive_rates[0]:.0%} and "
            f"{thresholds.false_positive_rates[1]:.0%} of {thresholds.images:,} natural images are.\n"
        )
        print(f"{'':12}" + "".join(f"{verdict:>11}" for verdict in VERDICTS) + f"{'median score':>15}")

        before = counted(arguments.url, arguments.model)
        report("natural", client.classify_many(paths))
        between = counted(arguments.url, arguments.model)
        attacked = [client.attack(path, arguments.attack, epsilon=arguments.epsilon) for path in paths]
        report("adversarial", client.classify_many(result.adversarial.png for result in attacked))
        after = counted(arguments.url, arguments.model)

    fooled = sum(result.success for result in attacked)
    print(f"\n{arguments.attack} within {arguments.epsilon} fooled it on {fooled} of {len(paths)} images.")
    print("\n/metrics counted, between one look and the next:")
    for name, (old, new) in {"natural": (before, between), "adversarial": (between, after)}.items():
        print(f"{name:12}" + "".join(f"{new[verdict] - old[verdict]:>11.0f}" for verdict in VERDICTS))
    return 0


def report(name: str, predictions: list[Prediction]) -> None:
    """A line of the table: how often each verdict was given, and the score in the middle."""
    evidence = [prediction.manifold for prediction in predictions if prediction.manifold]
    verdicts = Counter(each.verdict for each in evidence)
    rates = "".join(f"{verdicts[verdict] / len(evidence):>11.0%}" for verdict in VERDICTS)
    print(f"{name:12}{rates}{median(each.score for each in evidence):>15.3f}")


def counted(url: str, model: str) -> Counter[str]:
    """Verdicts so far, over all versions and defences of a model, as Prometheus would read them."""
    found: Counter[str] = Counter()
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        match = re.match(r"holdfast_manifold_verdicts_total\{(.*)\} (\S+)", line)
        if match and f'model="{model}"' in match[1]:
            verdict = re.search(r'verdict="(\w+)"', match[1])
            if verdict:
                found[verdict[1]] += float(match[2])
    return found


if __name__ == "__main__":
    sys.exit(main())
