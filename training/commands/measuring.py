"""What ``holdfast evaluate`` does once its arguments are read."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from holdfast import console
from holdfast.attacks.loss import MINIMUM_CLASSES, Loss
from holdfast.bundle import Bundle, locate, resolve
from holdfast.errors import UsageError
from holdfast.manifest import Evaluation, Manifest, ThreatModel
from holdfast.units import format_budget
from training.card import add_evaluation, mend_card
from training.commands.options import devices_of
from training.commands.summing import show_summary
from training.commands.tabulating import LAYOUTS, show
from training.evaluation import headline
from training.evaluation.demands import check, has_gradient
from training.evaluation.line import BLIND_LINES, CLEAN, DEFAULT_LINES, Line
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.report import figures
from training.evaluation.runner import Loaded, Runner
from training.evaluation.subject import check_fit, defences_of, images_of, threat_of


@dataclass(frozen=True)
class Request:
    """The arguments of ``holdfast evaluate``."""

    bundles: list[str]
    tables: list[str]
    attacks: list[str] | None
    headline: bool
    defences: list[str] | None
    epsilon: str | None
    norm: str | None
    images: int | None
    data: str | None
    data_root: Path | None
    store: Path
    ledgers: Path
    batch_size: int
    processes: int | None
    devices: str | None
    threads: int
    seed: int
    save: bool
    again: bool
    layout: str
    summary: bool = False


def run(request: Request) -> None:
    """Evaluate, print the tables, and write the figures into the bundles.

    Raises:
        HoldfastError: A bundle, the data or an argument cannot be used.
    """
    if request.layout not in LAYOUTS:
        raise UsageError(f"--format is {', '.join(LAYOUTS)}, not {request.layout!r}.")
    if request.tables:
        from training.commands.playing import play

        play(request)
        return
    if not request.bundles:
        raise UsageError("Name a bundle to evaluate.", hint="Or a table of the papers: --table fs-1")
    # All that can be refused is refused before the first hour is spent.
    plans = [Plan.of(_opened(name, request.store), request) for name in request.bundles]
    evaluations = [(plan.bundle, plan.threat, plan.evaluate()) for plan in plans]
    (show_summary if request.summary else show)(evaluations, request.layout)


def _opened(name: str, store: Path) -> Bundle:
    """A bundle, and its card made whole if a killed evaluation left it half written."""
    with suppress(OSError):  # a bundle that nobody may write to
        mend_card(locate(name, store))
    return resolve(name, store)


@dataclass(frozen=True)
class Plan:
    """What is to be measured on one bundle.

    Attributes:
        bundle: Under attack.
        threat: The budget of attacks that name none.
        measurements: In the order in which they are shown.
        loaded: The images.
    """

    request: Request
    bundle: Bundle
    threat: ThreatModel
    measurements: list[Measurement]
    runner: Runner
    loaded: Loaded

    @classmethod
    def of(cls, bundle: Bundle, request: Request) -> Plan:
        """Read the request for one of its bundles."""
        threat = threat_of(bundle, request.epsilon, request.norm)
        return cls.made(bundle, request, threat, list(_measurements(bundle, request, threat)))

    @classmethod
    def made(
        cls, bundle: Bundle, request: Request, threat: ThreatModel, measurements: list[Measurement]
    ) -> Plan:
        """With measurements that are known."""
        images = images_of(bundle, data=request.data, root=request.data_root, count=request.images)
        runner = Runner(
            images,
            request.store,
            request.ledgers,
            batch_size=request.batch_size,
            processes=request.processes,
            threads=request.threads,
            devices=devices_of(request.devices),
            again=request.again,
        )
        measurements = list(dict.fromkeys(measurements))
        loaded = images.load()
        check_fit(bundle, images.dataset, loaded)
        for what in measurements:
            check(what, request.store)
        return cls(request, bundle, threat, measurements, runner, loaded)

    def evaluate(self) -> Evaluation:
        """Measure, and write it into the bundle."""
        return self.record(self.measure())

    def measure(self) -> dict[Measurement, Outcome]:
        """What is in no ledger yet, with a bar; all outcomes in order."""
        classes = len(self.bundle.manifest.classes)
        passes = {what: what.line.passes(classes) for what in self.measurements}
        total = len(self.loaded.split) * sum(passes.values())
        done = 0.0
        with console.progress(f"Evaluating {self.bundle.name}", total, unit="passes") as bar:

            def advance(what: Measurement, images: float) -> None:
                nonlocal done
                done += images * passes[what]
                behind = "" if what.defence == "none" else f" behind {what.defence}"
                bar.update(round(done), note=what.line.name + behind)

            outcomes = self.runner.run(self.measurements, advance, self.loaded)
        return dict(zip(self.measurements, outcomes, strict=True))

    def record(self, measured: dict[Measurement, Outcome]) -> Evaluation:
        """The evaluation with these outcomes, and write it into the bundle if that is wanted."""
        evaluation = Evaluation(
            command=self._command(),
            date=datetime.now(UTC).replace(microsecond=0),
            dataset=self.loaded.words,
            seed=self.request.seed,
            figures=figures(measured, self.bundle.manifest, self.threat),
            unreliable="; ".join(self.doubts(measured)) or None,
        )
        if self.request.save:
            add_evaluation(self.bundle.root, evaluation)
        return evaluation

    def doubts(self, measured: dict[Measurement, Outcome]) -> list[str]:
        """Why not to believe some of it."""
        within = self.bundle.manifest.model_copy(update={"threat_model": self.threat})
        return headline.doubts(measured, within)

    def _command(self) -> str:
        """What measures the same again."""
        request = self.request
        parts = ["holdfast", "evaluate", f"{self.bundle.name}/{self.bundle.version}"]
        parts += ["--headline"] * request.headline
        parts += [word for name in request.tables for word in ("--table", name)]
        if request.tables:
            lines = request.attacks or []
        else:
            lines = [] if request.headline and not request.attacks else _lines(self.bundle, request)
        parts += [word for line in lines for word in ("--attack", line)]
        parts += [word for defence in request.defences or () for word in ("--defence", defence)]
        parts += ["--norm", self.threat.norm, "--epsilon", format_budget(self.threat.epsilon)]
        if request.images is not None:
            parts += ["--images", str(request.images)]
        if request.data is not None:
            parts += ["--data", request.data]
        parts += ["--seed", str(request.seed)]
        return shlex.join(parts)


def _lines(bundle: Bundle, request: Request) -> list[str]:
    chosen = request.attacks or _default_lines(bundle.manifest)
    return list(chosen) if CLEAN in chosen else [CLEAN, *chosen]


def _default_lines(manifest: Manifest) -> Sequence[str]:
    """The usual attacks, but for those that the model has not got what they take for."""
    if not has_gradient(manifest):
        return BLIND_LINES
    enough = len(manifest.classes) >= MINIMUM_CLASSES[Loss.DLR]
    return [line for line in DEFAULT_LINES if enough or not line.startswith("dlr")]


def _measurements(bundle: Bundle, request: Request, threat: ThreatModel) -> Iterator[Measurement]:
    defences = defences_of(bundle, request.defences)
    if request.headline:
        within = bundle.manifest.model_copy(update={"threat_model": threat})
        for defence, line in headline.lines(within, request.seed):
            if request.defences is None or defence in defences:
                yield Measurement(bundle.root, defence, line)
        if not request.attacks:
            return
    lines = [Line.parse(text, threat, request.seed) for text in _lines(bundle, request)]
    for defence in defences:
        for line in lines:
            if line.source != defence:
                yield Measurement(bundle.root, defence, line)
