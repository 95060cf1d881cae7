"""What ``holdfast attack`` does once its arguments are understood."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from holdfast import console
from holdfast.attacking.cost import CostEstimate, estimate
from holdfast.attacking.gathering import Gathering, between
from holdfast.attacking.record import FlagRecord, ImageFailure, ModelRecord, Record
from holdfast.attacks import attack as run_attack
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.oracle import NoGradientError, UnsupportedLossError
from holdfast.bundle import Bundle
from holdfast.commands.attacking.files import OutputFolder
from holdfast.commands.attacking.interrupt import Interrupt, InterruptedAttack, listening
from holdfast.commands.attacking.plan import Plan
from holdfast.errors import HoldfastError, UsageError
from holdfast.image_files import ImageFile, read_image
from holdfast.manifest import Defence
from holdfast.version import __version__


def carry_out(plan: Plan, output: OutputFolder | None) -> Record:
    """Attack the images, batch by batch, and write what comes out as soon as a batch is done.

    Ctrl-C ends it between two calls of the model; the record then says that it is not complete.

    Raises:
        UsageError: The model has not got what an attack asks of it.
        HoldfastError: A bundle or the output cannot be used.
    """
    started = time.perf_counter()
    oracle, source = _open(plan)
    gatherings = [Gathering(chosen, plan.bundle.manifest) for chosen in plan.chosen]
    failures: list[ImageFailure] = []
    complete = True
    with listening() as interrupt:
        try:
            with console.progress("Attacking", len(plan.files), unit="images") as bar:
                for rows in _batches(len(plan.files), plan.batch_size):
                    interrupt.check()
                    batch = _read(plan, rows, oracle, failures)
                    for number, gathering in enumerate(gatherings):
                        report = _Report(bar, interrupt, rows, number, len(gatherings), gathering)
                        if batch is not None:
                            _attack_batch(plan, batch, gathering, oracle, source, output, report)
                    bar.update(rows.stop)
        except InterruptedAttack:
            complete = False
    record = Record(
        date=datetime.now(UTC).replace(microsecond=0),
        holdfast=__version__,
        libraries={
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnxruntime")},
        },
        model=_model(plan.bundle, plan.defence),
        source=None if plan.source is None else _model(plan.source, "none"),
        labels=plan.label_source,
        images=len(plan.files),
        complete=complete,
        seconds=round(time.perf_counter() - started, 3),
        attacks=[gathering.record(plan.label_source) for gathering in gatherings],
        flags=[
            FlagRecord(name=flag.name, meaning=flag.meaning)
            # Crafted on another model, no attack has seen this one's gradient.
            for flag in (between(gatherings) if complete and source is None else ())
        ],
        failures=failures,
    )
    if output is not None:
        output.write_record(record)
    return record


def estimate_costs(plan: Plan) -> list[CostEstimate]:
    """What the plan would cost at most, by the model's measured speed; no image is attacked.

    Raises:
        HoldfastError: A bundle cannot be used.
    """
    shape = (min(plan.batch_size, len(plan.files)), *plan.bundle.manifest.input.shape)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    oracle, source = _open(plan)
    return estimate(oracle, noise, len(plan.files), plan.chosen, source)


@dataclass(frozen=True)
class _Batch:
    """Images that could be read, with their labels."""

    files: list[ImageFile]
    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Report:
    """The progress of one attack on one batch, within that of the run, and whether it is to go on."""

    bar: console.Progress
    interrupt: Interrupt
    rows: range
    number: int
    attacks: int
    gathering: Gathering

    def __call__(self, done: int, total: int) -> None:
        share = (self.number + done / total) / self.attacks
        self.bar.update(self.rows.start + share * len(self.rows), note=self.gathering.chosen.attack.name)


def _batches(images: int, size: int) -> Iterator[range]:
    for start in range(0, images, size):
        yield range(start, min(start + size, images))


def _read(plan: Plan, rows: range, oracle: OnnxOracle, failures: list[ImageFailure]) -> _Batch | None:
    """The images of these rows; None if none of them can be used."""
    kept, images = [], []
    for row in rows:
        try:
            images.append(read_image(plan.files[row].path, plan.bundle.manifest.input))
        except HoldfastError as error:
            failures.append(
                ImageFailure(image=str(plan.files[row]), error=f"{error.message} {error.hint}".strip())
            )
        else:
            kept.append(row)
    if not kept:
        return None
    stacked = np.stack(images)
    if plan.labels is None:
        labels = oracle.logits(stacked).argmax(axis=1)
    else:
        labels = np.asarray([plan.labels[row] for row in kept], dtype=np.int64)
    return _Batch([plan.files[row] for row in kept], stacked, labels)


def _attack_batch(
    plan: Plan,
    batch: _Batch,
    gathering: Gathering,
    oracle: OnnxOracle,
    source: OnnxOracle | None,
    output: OutputFolder | None,
    report: _Report,
) -> None:
    attack, parameters = gathering.chosen.attack, gathering.chosen.parameters
    try:
        result = run_attack(
            oracle,
            batch.images,
            batch.labels,
            parameters,
            source=source,
            eot=gathering.chosen.eot,
            batch_size=len(batch.files),
            progress=report,
            check=report.interrupt.check,
        )
    except NoGradientError as error:
        raise UsageError(f"{attack.name} cannot be run on {plan.bundle.name}: {error}.") from None
    except UnsupportedLossError as error:
        raise UsageError(
            f"{attack.name} cannot be run on {plan.bundle.name}: {error}.",
            hint=f"Choose another loss: --set {attack.name}.loss=ce" if hasattr(parameters, "loss") else "",
        ) from None
    written = [
        None
        if output is None
        else output.write(attack.name, file, batch.images[row], result.images[row], _extent(gathering))
        for row, file in enumerate(batch.files)
    ]
    gathering.add([str(file) for file in batch.files], batch.labels, batch.images, result, written)


def _extent(gathering: Gathering) -> float | None:
    """What fills the range of a perturbation's picture: an L∞ budget, so that images compare."""
    budget = gathering.chosen.parameters.budget
    return budget[1] if budget is not None and budget[0] == "linf" else None


def _open(plan: Plan) -> tuple[OnnxOracle, OnnxOracle | None]:
    """The model under attack behind its defence, and what the images are crafted on, if another."""
    oracle = open_oracle(plan.bundle, plan.defence, threads=plan.threads)
    return oracle, None if plan.source is None else open_oracle(plan.source, threads=plan.threads)


def _model(bundle: Bundle, defence: Defence) -> ModelRecord:
    return ModelRecord(
        name=bundle.name, version=bundle.version, digest=bundle.manifest.digest, defence=defence
    )
