"""Classify a folder of images on a gateway, several at a time, and write a CSV file.

It shows the SDK's ``classify_many``: predictions come in the order of the images, and a file that is no image
does not stop the others.

    holdfast serve &
    python examples/classify_folder.py examples/images --out predictions.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from holdfast_client import Holdfast, Prediction

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="NAME or NAME/VERSION; by default the server's own choice")
    parser.add_argument("--url", help="the gateway; by default HOLDFAST_URL, or http://127.0.0.1:8000")
    parser.add_argument("--out", type=Path, help="the CSV file; by default standard output")
    arguments = parser.parse_args()

    paths = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    with Holdfast(arguments.url, model=arguments.model) as client:
        answers = client.classify_many(paths, concurrency=8, return_errors=True)

    file = sys.stdout if arguments.out is None else arguments.out.open("w", newline="", encoding="utf-8")
    with file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", "probability", "verdict", "model", "error"])
        for path, answer in zip(paths, answers, strict=True):
            name = path.relative_to(arguments.folder)
            if isinstance(answer, Prediction):
                verdict = answer.manifold.verdict if answer.manifold else ""
                model = f"{answer.model}/{answer.version}"
                writer.writerow([name, answer.label, f"{answer.probability:.4f}", verdict, model, ""])
            else:
                writer.writerow([name, "", "", "", "", answer])
    return int(any(not isinstance(answer, Prediction) for answer in answers))


if __name__ == "__main__":
    sys.exit(main())
