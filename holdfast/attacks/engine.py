"""Run an attack: what all attacks have in common, so that each is only its own algorithm.

The engine asks the model about the clean images, leaves out those that are fooled already, gives the rest to
the attack's core in batches of bounded size, holds what comes back to the range and the budget, asks the
model once more, and looks for signs that the outcome should not be believed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace

from holdfast.attacks import flags
from holdfast.attacks.arrays import copy, like, put, take, to_numpy
from holdfast.attacks.ball import ball, l2_norm, linf_norm
from holdfast.attacks.catalogue import attack_of
from holdfast.attacks.definition import Attack
from holdfast.attacks.ensemble import left_over
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.inputs import answered, check_classes, check_images
from holdfast.attacks.noise import ImageNoise
from holdfast.attacks.oracle import Array, Oracle, passes
from holdfast.attacks.parameters import TWICE, AttackParameters, going_on
from holdfast.attacks.problem import Check, Problem, Progress, Watch, silent, stage, unhindered
from holdfast.attacks.result import AttackResult, join
from holdfast.attacks.tally import Tally
from holdfast.attacks.targets import TargetableParameters, choose
from holdfast.errors import HoldfastError


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
    check: Check = unhindered,
    watch: Watch | None = None,
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
            ``oracle`` then only judges them. With a source, and on means, ``stop_at_success`` is off unless
            the parameters were given it.
        eot: For a model that answers at random: craft on the mean of so many answers (expectation over
            transformation, Athalye et al. 2018), each counted; see
            :func:`holdfast.attacks.parameters.announced`. The outcome is judged on single answers, as the
            model is served.
        batch_size: The most images that are worked on at a time; it bounds the memory.
        progress: Called with the steps done and in all, between steps; what it raises ends the attack.
        check: Called before each call of the model, of which a step may make many, and between the samples of
            a mean; what it raises ends the attack, too.
        watch: Told of all that the attack itself shows to the model that it crafts on, and of nothing that is
            asked around it: images (k, c, h, w), the images that they were made from by their numbers (k,),
            logits, and what is ascended (k,), or None where no gradient is asked for.

    Raises:
        ValueError: The images are not float32 in [0, 1]; images, labels, targets and noise do not fit each
            other or the model; means of fewer than one answer, or of an attack that takes means by itself.
        HoldfastError: The model answers clean images with NaN.
        UnsupportedLossError: The parameters name a loss that the model has not got.
    """
    started = time.perf_counter()
    check_images(images)
    labels = check_classes("labels", labels, images, oracle)
    targets = None if targets is None else check_classes("targets", targets, images, oracle)
    if batch_size < 1:
        raise ValueError("batch_size is at least 1")
    kind = attack_of(parameters)
    if eot != 1 and parameters.answers != 1:
        raise ValueError(
            f"{kind.name} takes the mean of {parameters.answers} answers by itself; leave eot at 1"
        )
    if source is not None or eot > 1:
        parameters = going_on(parameters)
    if eot != 1:
        source = EOTOracle(oracle if source is None else source, eot, check)
    if noise is not None and len(noise) != images.shape[0]:
        raise ValueError(f"noise is a stream for each of {images.shape[0]} images, not {len(noise)}")
    run = _Run(oracle, source, parameters, kind, check, watch)
    parts = [
        _attack_part(run, images, labels, targets, noise, rows, report)
        for rows, report in _batches(int(images.shape[0]), batch_size, progress)
    ]
    found = join(parts)
    return _with_flags(oracle, images, found, started, parameters, eot * parameters.answers)


def _batches(images: int, size: int, progress: Progress) -> list[tuple[np.ndarray, Progress]]:
    """The rows of each batch, with a progress that counts over all batches."""
    starts = range(0, images, size)
    return [
        (np.arange(start, min(start + size, images)), stage(progress, index, len(starts)))
        for index, start in enumerate(starts)
    ]


@dataclass(frozen=True)
class _Run:
    """What is the same for all batches; see :func:`attack`."""

    oracle: Oracle
    source: Oracle | None
    parameters: AttackParameters
    kind: Attack
    check: Check
    watch: Watch | None


def _attack_part(
    run: _Run,
    images: Array,
    labels: Array,
    targets: Array | None,
    streams: ImageNoise | None,
    rows: np.ndarray,
    progress: Progress,
) -> AttackResult:
    parameters = run.parameters
    whole = len(rows) == images.shape[0]
    images, labels = (images, labels) if whole else (take(images, rows), take(labels, rows))
    noise = ImageNoise.of(parameters.seed, to_numpy(images)) if streams is None else streams.take(rows)
    tally = Tally.of(len(rows))
    victim = Problem(run.oracle, images, labels, None, images, noise, tally, progress, check=run.check)
    before = _ask_clean(victim)
    aims = None if targets is None else to_numpy(targets)[rows]
    if aims is None and isinstance(parameters, TargetableParameters):
        aims = choose(parameters.target, before, labels, noise)
    victim = replace(victim, logits=before, targets=None if aims is None else like(aims, images))
    left_alone = _from_their_targets(victim)
    if parameters.skips_misclassified:
        left_alone |= victim.fooled(before, victim.rows)
    open_rows = np.flatnonzero(~left_alone)
    adversarial, after = copy(images), copy(before)
    if len(open_rows):
        problem = victim if len(open_rows) == len(victim) else victim.part(open_rows)
        crafted = problem if run.source is None else _on_source(problem, run.source)
        found = run.kind.core(_watched(crafted, run.watch, rows), parameters)
        tally.settle()
        put(adversarial, open_rows, _within(found, take(images, open_rows), parameters))
        put(after, open_rows, victim.ask(take(adversarial, open_rows), open_rows))
    progress(1, 1)
    return _judge(victim, adversarial, after, parameters, run.kind)


def _from_their_targets(problem: Problem) -> np.ndarray:
    """Which images are of the class that they are to reach: there is nothing to do, and nothing to win."""
    if problem.targets is None:
        return np.zeros(len(problem), dtype=bool)
    same: np.ndarray = to_numpy(problem.targets) == to_numpy(problem.labels)
    return same


def _on_source(problem: Problem, source: Oracle) -> Problem:
    """The same problem with another model to craft on; what is spent there counts as spent."""
    crafted = replace(problem, oracle=source, elsewhere=True)
    return replace(crafted, logits=_ask_clean(crafted))


def _watched(problem: Problem, watch: Watch | None, rows: np.ndarray) -> Problem:
    """The same problem, told of by the images' numbers among all, which are ``rows`` in this batch."""
    if watch is None:
        return problem
    return replace(
        problem, watch=lambda images, places, logits, loss: watch(images, rows[places], logits, loss)
    )


def _ask_clean(problem: Problem) -> Array:
    """The model's answer to the images as they are, which every attack starts from."""
    logits = problem.ask(problem.images, problem.rows)
    wrong = int(np.count_nonzero(~answered(logits)))
    if wrong:
        raise HoldfastError(
            f"The model answers {wrong} of {len(problem)} clean images with NaN; there is nothing to attack.",
            hint="Look for weights or statistics of its layers that are not finite.",
        )
    return logits


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
    fooled &= ~_from_their_targets(victim)
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
        unanswered=victim.tally.unanswered,
        seed=parameters.seed,
        seconds=0.0,
    )


def _with_flags(
    oracle: Oracle,
    images: Array,
    found: AttackResult,
    started: float,
    parameters: AttackParameters,
    answers: int,
) -> AttackResult:
    again = oracle.logits(images[:TWICE, ...])
    few = found.logits_before[:TWICE, ...]
    difference = float(array_namespace(few).max(array_namespace(few).abs(again - few)))
    scale = max(1.0, float(array_namespace(few).max(array_namespace(few).abs(few))))
    successes = int(np.sum(to_numpy(found.success)))
    lost = successes - int(np.sum(to_numpy(found.success) & to_numpy(found.survives_rounding)))
    zeros = flags.zero_gradient(found.zero_gradients, found.gradients)
    raised = [
        *(zeros if attack_of(parameters).access == "gradient" else []),
        *flags.randomised(difference / scale, answers),
        *flags.dynamic(oracle),
        *flags.left_to_black_box(left_over(parameters, found.fooled_by), len(found.fooled_by)),
        *flags.not_a_number(found.unanswered),
        *flags.lost_by_rounding(lost, successes),
    ]
    spent = passes(oracle) * int(again.shape[0])
    return replace(
        found,
        forwards=found.forwards + spent.forwards,
        backwards=found.backwards + spent.backwards,
        seconds=time.perf_counter() - started,
        flags=raised,
    )
