"""What the card says of a network that Holdfast did not train: where it comes from, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.manifest import Manifest, Unstated
from training.card_measured import cell

_UNKNOWN: dict[Unstated, str] = {
    "weights": "No file of weights was named: these are those that it was built with. If they were drawn at "
    "random, nothing was ever learnt.",
    "preprocessing": "What was done to images in its training was not said; it is given values in [0, 1].",
    "classes": "Its classes have no names, but for their numbers.",
    "dataset": "Nobody said what it was trained on.",
    "threat model": "Nobody said what it was made to withstand, if anything; the one above is what is usual.",
    "images": "There were no images at hand when it was exported: its probabilities are not calibrated, and "
    "nobody looked at its accuracy.",
}


def origin(manifest: Manifest) -> Iterator[str]:
    """The section in place of *How it was trained*; nothing where Holdfast trained the network."""
    imported = manifest.imported
    if imported is None:
        return
    weights, data = imported.weights, manifest.dataset
    given = ", ".join(f"{key}={value!r}" for key, value in imported.arguments.items())
    facts = {
        "Built by": f"`{imported.factory}({given})`",
        "Weights": "as built" if weights is None else f"`{weights.name}`, SHA-256 `{weights.sha256}`",
        "Data": f"{data.name}. {data.note}".strip() if data.note else data.name,
        "Libraries": ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items())),
    }
    yield "## Where it comes from"
    yield ""
    yield "It was imported: a module of torch, exported as it was. Holdfast did not train it, and how it was"
    yield "trained is not known here: for how long, by which method, from which seed, on which images."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {cell(fact)} |" for name, fact in facts.items())
    if imported.unstated:
        yield ""
        yield "What else is not known:"
        yield ""
        yield from (f"- {_UNKNOWN[what]}" for what in imported.unstated)
