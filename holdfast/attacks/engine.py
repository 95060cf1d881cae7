"""Run an attack: what all attacks have in common, so that each is only its own algorithm.

The engine asks the model about the clean images, leaves out those that are fooled already, gives the rest to
the attack's core in batches of bounded size, holds what comes back to the range and the budget, asks the
model once more, and looks for signs that the outcome should not be believed.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace

from holdfast.attacks import flags
from holdfast.attacks.arrays import copy, like, put, take, to_numpy
from holdfast.attacks.ball import ball, l2_norm, linf_norm
from holdfast.attacks.catalogue import attack_of, find
from holdfast.attacks.definition import Attack
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.noise import ImageNoise
from holdfast.attacks.oracle import Array, Oracle, passes
from holdfast.attacks.parameters import TWICE, AttackParameters
from holdfast.attacks.problem import Problem, Progress, Tally, silent, stage
from holdfast.attacks.result import AttackResult
from holdfast.attacks.targets import TargetableParameters, choose


def attack(
    oracle: Oracle,
    images: Array,
    labels: Array,
    parameters: AttackParameters,
    *,
    targets: Array | None = None,
    noise: ImageNoise | None = None,
    source: Oracle | None = None,
    eot: int = 1,
    batch_size: int = 128,
    progress: Progress = silent,
) -> AttackResult:
    """Attack a batch of images.

    The result is a function of the model, of each image and of the parameters: it depends neither on the
    other images of the batch nor on ``batch_size``, but for float rounding inside the model.

    Args:
        oracle: The model under attack.
        images: (n, c, h, w) in [0, 1], numpy or torch as the oracle takes them.
        labels: (n,) true classes; in a targeted attack, the classes to leave.
        parameters: Which attack, and its parameters; the type says which.
        targets: (n,) classes to reach, in place of the parameters' own ``target``.
        noise: A stream for each image, in place of those of ``parameters.seed``.
        source: Craft the images on this model instead, by all that the attack asks of it: a transfer attack.
            ``oracle`` then only judges them.
        eot: For a model that answers at random: craft on the mean of so many answers (expectation over
            transformation, Athalye et al. 2018), each counted; see
            :func:`holdfast.attacks.parameters.announced`. The outcome is judged on single answers, as the
            model is served.
        batch_size: The most images that are worked on at a time; it bounds the memory.
        progress: Called with the steps done and in all, between steps; what it raises ends the attack.

    Raises:
        ValueError: The images, labels and targets do not fit together or the model; fewer than one answer to
            take the mean of; means of an attack that takes means by itself.
        UnsupportedLossError: The parameters name a loss that the model has not got.
    """
    started = time.perf_counter()
    _check(images, labels, targets, oracle, batch_size)
    kind = attack_of(parameters)
    if eot != 1 and parameters.answers != 1:
        raise ValueError(
            f"{kind.name} takes the mean of {parameters.answers} answers by itself; leave eot at 1"
        )
    if eot != 1:
        source = EOTOracle(oracle if source is None else source, eot)
    streams = noise or ImageNoise.of(parameters.seed, to_numpy(images))
    parts = [
        _attack_part(oracle, source, images, labels, targets, streams, parameters, kind, rows, report)
        for rows, report in _batches(len(streams), batch_size, progress)
    ]
    found = _join(images, parts)
    return _with_flags(oracle, images, found, started, kind, eot * parameters.answers)


def _check(images: Array, labels: Array, targets: Array | None, oracle: Oracle, batch_size: int) -> None:
    if images.ndim != 4 or labels.ndim != 1 or images.shape[0] != labels.shape[0]:
        raise ValueError(
            f"images are (n, channels, height, width) and labels (n,), not {tuple(images.shape)} and "
            f"{tuple(labels.shape)}"
        )
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is None or classes.shape[0] == 0:
            continue
        if classes.shape != labels.shape:
            raise ValueError(f"{name} have the shape {tuple(classes.shape)}, not {tuple(labels.shape)}")
        values = to_numpy(classes)
        if values.min() < 0 or values.max() >= oracle.classes:
            raise ValueError(
                f"{name} are classes 0 to {oracle.classes - 1}, not {values.min()} to {values.max()}"
            )
    if batch_size < 1:
        raise ValueError("batch_size is at least 1")


def _batches(images: int, size: int, progress: Progress) -> list[tuple[np.ndarray, Progress]]:
    """The rows of each batch, with a progress that counts over all batches."""
    starts = range(0, images, size)
    return [
        (np.arange(start, min(start + size, images)), stage(progress, index, len(starts)))
        for index, start in enumerate(starts)
    ]


def _attack_part(
    oracle: Oracle,
    source: Oracle | None,
    images: Array,
    labels: Array,
    targets: Array | None,
    streams: ImageNoise,
    parameters: AttackParameters,
    kind: Attack,
    rows: np.ndarray,
    progress: Progress,
) -> AttackResult:
    whole = len(rows) == images.shape[0]
    images, labels = (images, labels) if whole else (take(images, rows), take(labels, rows))
    noise = streams if whole else streams.take(rows)
    tally = Tally.of(len(rows))
    victim = Problem(oracle, images, labels, None, images, noise, tally, progress)
    before = victim.ask(images, victim.rows)
    aims = None if targets is None else to_numpy(targets)[rows]
    if aims is None and isinstance(parameters, TargetableParameters):
        aims = choose(parameters.target, before, labels, noise)
    victim = replace(victim, logits=before, targets=None if aims is None else like(aims, images))
    open_rows = victim.rows
    if parameters.skips_misclassified:
        open_rows = open_rows[~victim.fooled(before, open_rows)]
    adversarial, after = copy(images), copy(before)
    if len(open_rows):
        problem = victim if len(open_rows) == len(victim) else victim.part(open_rows)
        found = kind.core(problem if source is None else _on_source(problem, source), parameters)
        put(adversarial, open_rows, _within(found, take(images, open_rows), parameters))
        put(after, open_rows, victim.ask(take(adversarial, open_rows), open_rows))
    progress(1, 1)
    return _judge(victim, adversarial, after, parameters, kind)


def _on_source(problem: Problem, source: Oracle) -> Problem:
    """The same problem with another model to craft on; what is spent there counts as spent."""
    crafted = replace(problem, oracle=source)
    return replace(crafted, logits=crafted.ask(problem.images, problem.rows))


def _within(found: Array, originals: Array, parameters: AttackParameters) -> Array:
    """Held to [0, 1] and to the budget: a core's arithmetic may leave both by rounding."""
    xp = array_namespace(found)
    if parameters.budget is None:
        return xp.clip(found, 0.0, 1.0)
    return ball(*parameters.budget).project(found, originals)


def _judge(
    victim: Problem, adversarial: Array, after: Array, parameters: AttackParameters, kind: Attack
) -> AttackResult:
    fooled = victim.fooled(after, victim.rows)
    if victim.targets is not None:
        fooled &= to_numpy(victim.targets) != to_numpy(
            victim.labels
        )  # nothing to reach from the class itself
    if kind.minimises and not fooled.all():
        put(adversarial, np.flatnonzero(~fooled), take(victim.images, np.flatnonzero(~fooled)))
        put(after, np.flatnonzero(~fooled), take(victim.logits, np.flatnonzero(~fooled)))
    difference = adversarial - victim.images
    survives = fooled.copy()
    winners = np.flatnonzero(fooled & (to_numpy(linf_norm(difference)) > 0))
    if len(winners):
        xp = array_namespace(adversarial)
        rounded = xp.round(take(adversarial, winners) * 255.0) / 255.0
        survives[winners] = victim.fooled(victim.ask(rounded, winners), winners)
    return AttackResult(
        images=adversarial,
        success=like(fooled, adversarial),
        survives_rounding=like(survives, adversarial),
        logits_before=victim.logits,
        logits=after,
        linf=linf_norm(difference),
        l2=l2_norm(difference),
        targets=victim.targets,
        queries=victim.tally.queries,
        forwards=victim.tally.forwards,
        backwards=victim.tally.backwards,
        gradients=victim.tally.gradients,
        zero_gradients=victim.tally.zeros,
        fooled_by=np.where(fooled, victim.tally.fooled_by, ""),
        seed=parameters.seed,
        seconds=0.0,
    )


def _join(images: Array, parts: list[AttackResult]) -> AttackResult:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        raise ValueError("there are no images to attack")
    xp = array_namespace(images)

    def joined(name: str) -> Array:
        return xp.concat([getattr(part, name) for part in parts])

    return AttackResult(
        images=joined("images"),
        success=joined("success"),
        survives_rounding=joined("survives_rounding"),
        logits_before=joined("logits_before"),
        logits=joined("logits"),
        linf=joined("linf"),
        l2=joined("l2"),
        targets=None if parts[0].targets is None else joined("targets"),
        queries=np.concatenate([part.queries for part in parts]),
        forwards=sum(part.forwards for part in parts),
        backwards=sum(part.backwards for part in parts),
        gradients=sum(part.gradients for part in parts),
        zero_gradients=sum(part.zero_gradients for part in parts),
        fooled_by=np.concatenate([part.fooled_by for part in parts]),
        seed=parts[0].seed,
        seconds=0.0,
    )


def _with_flags(
    oracle: Oracle, images: Array, found: AttackResult, started: float, kind: Attack, answers: int
) -> AttackResult:
    again = oracle.logits(images[:TWICE, ...])
    few = found.logits_before[:TWICE, ...]
    difference = float(array_namespace(few).max(array_namespace(few).abs(again - few)))
    scale = max(1.0, float(array_namespace(few).max(array_namespace(few).abs(few))))
    successes = int(np.sum(to_numpy(found.success)))
    lost = successes - int(np.sum(to_numpy(found.success) & to_numpy(found.survives_rounding)))
    zeros = flags.zero_gradient(found.zero_gradients, found.gradients)
    raised = [
        *(zeros if kind.access == "gradient" else []),
        *flags.randomised(difference / scale, answers),
        *flags.dynamic(oracle),
        *flags.left_to_black_box(_blind(found), len(found.fooled_by)),
        *flags.lost_by_rounding(lost, successes),
    ]
    spent = found.forwards + int(again.shape[0]) * passes(oracle)
    return replace(found, forwards=spent, seconds=time.perf_counter() - started, flags=raised)


def _blind(found: AttackResult) -> dict[str, int]:
    """How many images each attack of an ensemble fooled that sees no gradient."""
    names = sorted({name for name in found.fooled_by if name and find(name).access != "gradient"})
    return {name: int(np.sum(found.fooled_by == name)) for name in names}
