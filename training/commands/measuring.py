"""What ``holdfast evaluate`` does once its arguments are read."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from holdfast import console
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import WEIGHTS, Bundle, resolve
from holdfast.errors import UsageError
from holdfast.manifest import Evaluation, Figure, ThreatModel
from holdfast.units import format_budget, parse_budget
from holdfast.version import __version__
from training import data as datasets
from training.card import add_evaluation
from training.data import Split
from training.evaluate import DEFAULT_ATTACKS, Attack, evaluate
from training.journal import Journal


@dataclass(frozen=True)
class Request:
    """The arguments of ``holdfast evaluate``."""

    bundle: str
    attacks: list[str] | None
    epsilon: str | None
    norm: str | None
    images: int | None
    data: str | None
    data_root: Path | None
    store: Path
    journals: Path
    batch_size: int
    threads: int
    seed: int
    save: bool
    as_json: bool


def run(request: Request) -> None:
    """Evaluate, print the table, and write the figures into the bundle.

    Raises:
        HoldfastError: The bundle, the data or an argument cannot be used.
    """
    attacks = [Attack.parse(name) for name in request.attacks or DEFAULT_ATTACKS]
    bundle = resolve(request.bundle, request.store)
    threat = _threat(bundle, request)
    split, dataset = _split(bundle, request)
    oracle = OnnxOracle(bundle, threads=request.threads)
    total = len(split) * sum(attack.passes for attack in attacks)
    done = 0
    passes = {attack.name: attack.passes for attack in attacks}
    command = _command(bundle, request, attacks, threat)
    subject = "\n".join((command, dataset, bundle.manifest.files[WEIGHTS].sha256, __version__))
    with (
        Journal(request.journals, subject) as journal,
        console.progress("Evaluating", total, unit="gradients") as bar,
    ):
        if journal.found:
            console.stderr.print(f"Going on with {journal.found} batches measured before ({journal.path})")

        def advance(name: str, images: int, of: int) -> None:
            nonlocal done
            bar.update(done + images * passes.get(name, 1), note=name)
            if images == of:
                done += of * passes.get(name, 1)

        figures = evaluate(
            oracle,
            split,
            attacks,
            threat,
            seed=request.seed,
            batch_size=request.batch_size,
            progress=advance,
            journal=journal,
        )
    evaluation = Evaluation(
        command=command,
        date=datetime.now(UTC).replace(microsecond=0),
        dataset=dataset,
        seed=request.seed,
        figures=figures,
        unreliable=_doubts(figures),
    )
    if request.save:
        add_evaluation(bundle.root, evaluation)
    if request.as_json:
        console.print_json(evaluation.model_dump(mode="json"))
    else:
        _print(bundle, evaluation, threat)


def _threat(bundle: Bundle, request: Request) -> ThreatModel:
    own = bundle.manifest.threat_model
    epsilon = own.epsilon if request.epsilon is None else parse_budget(request.epsilon)
    try:
        return ThreatModel.model_validate({"norm": request.norm or own.norm, "epsilon": epsilon})
    except ValidationError:
        raise UsageError(f"--norm is linf or l2, not {request.norm!r}.") from None


def _split(bundle: Bundle, request: Request) -> tuple[Split, str]:
    """The images to measure on, and what they are in words."""
    manifest = bundle.manifest
    name = request.data or manifest.dataset.name
    options = manifest.recipe.get("dataset", {}).get("options", {}) if request.data is None else {}
    options = {key: value for key, value in options.items() if value is not None}
    dataset = datasets.load(name, request.data_root, **options)
    if dataset.shape != manifest.input.shape or len(dataset.classes) != len(manifest.classes):
        raise UsageError(
            f"{bundle.name} takes images {manifest.input.shape} of {len(manifest.classes)} classes; "
            f"{name} has {dataset.shape} of {len(dataset.classes)}.",
            hint="Name a fitting data set with --data.",
        )
    split = dataset.test.only_exact()
    whole = len(split)
    if request.images is not None:
        split = split.take(slice(0, request.images))
    part = f"first {len(split):,} of {whole:,}" if len(split) < whole else f"all {whole:,}"
    return split, f"{name}, {part} test images, digest {dataset.digest}"


def _command(bundle: Bundle, request: Request, attacks: list[Attack], threat: ThreatModel) -> str:
    parts = ["holdfast", "evaluate", f"{bundle.name}/{bundle.version}"]
    parts += [word for attack in attacks for word in ("--attack", attack.name)]
    parts += ["--norm", threat.norm, "--epsilon", format_budget(threat.epsilon)]
    if request.images is not None:
        parts += ["--images", str(request.images)]
    if request.data is not None:
        parts += ["--data", request.data]
    parts += ["--batch-size", str(request.batch_size), "--seed", str(request.seed)]
    return shlex.join(parts)


def _doubts(figures: list[Figure]) -> str | None:
    """Why not to believe the robust figures: flags of the attacks, and PGD far above the margin attacks."""
    doubts = sorted({flag for figure in figures for flag in figure.flags})
    by_name = {figure.name: figure.accuracy for figure in figures}
    cross_entropy = [value for name, value in by_name.items() if name.startswith("pgd-")]
    margin = [value for name, value in by_name.items() if name.startswith(("cw-", "dlr-"))]
    if cross_entropy and margin and min(cross_entropy) > min(margin) + 0.1:
        doubts.append(
            f"PGD on cross-entropy leaves {min(cross_entropy):.1%} where a margin attack leaves "
            f"{min(margin):.1%}: its gradient is masked"
        )
    return "; ".join(doubts) or None


def _print(bundle: Bundle, evaluation: Evaluation, threat: ThreatModel) -> None:
    size = format_budget(threat.epsilon)
    table = console.table("", ">accuracy", ">95 % interval", ">images")
    console.stdout.print(
        f"{bundle.name} version {bundle.version}, {threat.norm} within {size}", soft_wrap=True
    )
    console.stdout.print(evaluation.dataset, soft_wrap=True)
    for figure in evaluation.figures:
        low, high = figure.interval
        share = console.format_share(figure.accuracy)
        table.add_row(figure.name, share, f"{low:.1%} to {high:.1%}", f"{figure.images:,}")
    console.stdout.print(table)
    if evaluation.unreliable:
        console.stderr.print("[bold yellow]Do not trust these figures:[/]", evaluation.unreliable)
