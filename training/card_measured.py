"""What the card says was measured: accuracies, the rounding of the weights, and evidence."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.figures import newest_evaluation
from holdfast.manifest import Figure, Manifest, ThreatModel
from holdfast.units import format_budget

_NORMS = {"linf": "L∞", "l2": "L2"}


def figures(manifest: Manifest) -> Iterator[str]:
    """Accuracies, clean and under attack, the newest first."""
    yield "## What was measured"
    yield ""
    newest = newest_evaluation(manifest)
    if newest is None:
        yield "Nothing yet: accuracy and robustness of this model are unknown. Measure them with"
        yield ""
        yield f"    holdfast evaluate {manifest.name}/{manifest.version}"
        return
    yield "On the exported graphs, as they are served. An accuracy under attack is an upper bound: a stronger"
    yield "attack can only lower it. Intervals are 95 % Wilson intervals over the images measured."
    yield "Passes are forward and backward ones through the network, for one image on average."
    for evaluation in sorted(manifest.evaluations, key=lambda one: one.date, reverse=True):
        yield ""
        yield f"### {evaluation.date:%Y-%m-%d}, {evaluation.dataset}, seed {evaluation.seed}"
        yield ""
        norms = any(figure.distance is not None for figure in evaluation.figures)
        yield (
            "| | attack | budget | defence | accuracy | 95 % interval | images | passes |"
            + " mean norm |" * norms
        )
        yield "|---|---|---|---|---:|---|---:|---:|" + "---:|" * norms
        yield from (_row(figure, norms) for figure in evaluation.figures)
        yield ""
        if evaluation.unreliable:
            yield f"**Do not rely on the robust figures: {evaluation.unreliable}**"
            yield ""
        for figure in evaluation.figures:
            yield from (f"- {figure.name}: {flag}" for flag in figure.flags)
        if any(figure.flags for figure in evaluation.figures):
            yield ""
        yield f"Again with: `{evaluation.command}`"


def _row(figure: Figure, norms: bool) -> str:
    attack = figure.attack or "none"
    # Norm and budget have a column of their own.
    shown = {key: value for key, value in figure.parameters.items() if key not in ("norm", "epsilon")}
    if shown:
        attack += f" ({', '.join(f'{key} {_value(value)}' for key, value in shown.items())})"
    low, high = figure.interval
    cells = (
        figure.name,
        attack,
        threat(figure.threat_model) if figure.threat_model else "none",
        figure.defence if figure.adaptive else f"{figure.defence}, unknown to the attack",
        f"{figure.accuracy:.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{figure.images:,}",
        "" if figure.passes is None else " + ".join(f"{count:,.0f}" for count in figure.passes),
        *["" if figure.distance is None else f"{figure.distance:.3f}"] * norms,
    )
    return f"| {' | '.join(map(cell, cells))} |"


def precision(manifest: Manifest) -> Iterator[str]:
    """How the weights are stored, where that is not as they were trained, and what it changed."""
    found = manifest.precision
    if found is None:
        return
    yield "## Stored weights"
    yield ""
    yield f"{found.share:.1%} of the network's numbers are stored as {found.weights}, rounded to it before"
    yield "anything else in this card was measured; the graphs compute in float32. Beside the network as it"
    yield f"was trained, on {found.images:,} images, the largest difference of a logit is {found.logits:.1e},"
    yield f"and {found.changed:.2%} of the images are given another class."
    if found.accuracy is None:
        return
    rows = [("clean", "none", found.accuracy, found.images)]
    rows += [("clean", defence, accuracy, found.images) for defence, accuracy in found.defended.items()]
    if (attacked := found.attacked) is not None:
        name = f"PGD-{attacked.steps}, {threat(manifest.threat_model)}"
        rows.append((name, "none", attacked.accuracy, attacked.images))
    yield ""
    yield "| | defence | accuracy as trained | as stored | images |"
    yield "|---|---|---:|---:|---:|"
    for name, defence, (before, after), images in rows:
        yield f"| {name} | {defence} | {before:.2%} | {after:.2%} | {images:,} |"


def evidence(manifest: Manifest) -> Iterator[str]:
    """What the probabilities, the manifold evidence and the transformations are worth."""
    calibration, manifold, imt = manifest.calibration, manifest.manifold, manifest.imt
    if calibration is None and manifold is None:
        return
    yield "## Probabilities and manifold evidence"
    yield ""
    if calibration is not None:
        yield f"Probabilities are the softmax of the logits over {calibration.temperature:.3f}, a temperature"
        yield f"fitted on {calibration.images:,} held-out images. On {calibration.test_images:,} others it"
        yield f"takes the expected calibration error from {calibration.error_before:.1%} to"
        yield f"{calibration.error_after:.1%}."
    if manifold is not None:
        what = (
            "The score is the discriminator's probability that an image is adversarial."
            if manifold.evidence == "discriminator"
            else "The score is the cosine between an image's features and the centre of its class."
        )
        side = "above" if manifold.sign > 0 else "below"
        first, second = manifold.false_positive_rates
        yield ""
        yield f"{what} {side.capitalize()} {manifold.uncertain:.4g} an image is called uncertain, {side}"
        yield f"{manifold.suspect:.4g} suspect: thresholds that {first:.0%} and {second:.0%} of"
        yield f"{manifold.images:,} clean held-out images are beyond. A verdict says what an image looks like"
        yield "to the model; an adversary who knows the thresholds can stay within them."
    if imt is not None:
        low, high = imt.halved
        epsilon = format_budget(imt.epsilon)
        yield ""
        yield f"The defence `imt` moves each value of an image by {epsilon} towards what the"
        yield "discriminator finds natural, `imt+` by half of that where the score is within"
        yield f"{low:g} and {high:g}."
        if imt.parity is not None:
            yield f"Of {imt.parity.images} images, {share(imt.parity.within)} have logits within 1e-4 of"
            yield f"those in torch; the largest difference is {imt.parity.largest:.1e}."


def cell(text: str) -> str:
    """A text that can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def threat(model: ThreatModel) -> str:
    """A threat model as people write it, e.g. L∞ 8/255."""
    return f"{_NORMS[model.norm]} {format_budget(model.epsilon)}"


def share(value: float) -> str:
    """A share that says 100 % only where it is all of them."""
    return "all" if value == 1 else f"{min(value, 0.99999):.3%}"


def _value(value: object) -> str:
    return format_budget(value) if isinstance(value, float) else str(value)
