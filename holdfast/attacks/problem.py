"""What an attack works on: a model that counts its passes, the images, and when an image is fooled.

A core, the function that is an attack, gets a :class:`Problem` and its parameters and gives back images. All
that attacks have in common is done around it, by :mod:`holdfast.attacks.engine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from holdfast.attacks.arrays import namespace, take, to_numpy
from holdfast.attacks.inputs import answered
from holdfast.attacks.loss import AdaptiveLoss, AnyLoss
from holdfast.attacks.noise import ImageNoise
from holdfast.attacks.objective import Objective
from holdfast.attacks.oracle import Array, GradientAnswer, Oracle, passes, questions
from holdfast.attacks.tally import Tally

#: Called with the steps done and the steps in all. What it raises ends the attack between two steps.
Progress = Callable[[int, int], None]
#: Called before every call of the model, of which a step may make thousands. What it raises ends the attack.
Check = Callable[[], None]
#: Told what the model was shown: images (k, c, h, w), which originals they were made from (k,), the logits,
#: and what is ascended (k,), where a gradient was asked for.
Watch = Callable[[Array, np.ndarray, Array, Array | None], None]


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
    del done, total


def unhindered() -> None:
    """A check that finds nothing."""


def stage(progress: Progress, index: int, count: int) -> Progress:
    """The progress of one of ``count`` stages of equal length, so that it counts over all of them."""
    return lambda done, total: progress(index * total + done, count * total)


@dataclass
class Problem:
    """Images to fool a model on.

    Rows are indices into ``images``, a numpy array on the host; an attack that has fooled some images goes on
    with the rows of the others. One row may stand in a call several times.

    Attributes:
        oracle: The model.
        images: (n, c, h, w), the originals.
        labels: (n,), the classes to leave.
        targets: (n,), the classes to reach; None for an untargeted attack.
        logits: (n, classes), the model's answer to ``images``.
        noise: A random stream for each image.
        tally: What has been spent; shared with the problems that this one is a part of.
        progress: Called between steps.
        places: (n,), where the images stand in the tally.
        check: Called before the model is.
        watch: Told of every question, the originals by their places.
        elsewhere: Whether another model judges the result, or single answers where these are means: what only
            just fools this one seldom fools that.
    """

    oracle: Oracle
    images: Array
    labels: Array
    targets: Array | None
    logits: Array
    noise: ImageNoise
    tally: Tally
    progress: Progress = silent
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    check: Check = unhindered
    watch: Watch | None = None
    elsewhere: bool = False

    #: The last answer with a gradient, its rows and who was fooled: most cores ask for that right away.
    _judged: tuple[Array, np.ndarray, np.ndarray] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.places) == 0:
            self.places = np.arange(len(self))

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @cached_property
    def rows(self) -> np.ndarray:
        """All rows, in order; not to be written to."""
        return np.arange(len(self))

    def part(self, rows: np.ndarray, progress: Progress | None = None) -> Problem:
        """The same problem for some of the images only; passes and noise are still the images' own."""
        return replace(
            self,
            images=take(self.images, rows),
            labels=take(self.labels, rows),
            targets=None if self.targets is None else take(self.targets, rows),
            logits=take(self.logits, rows),
            noise=self.noise.take(rows),
            progress=progress or self.progress,
            places=self.places[rows],
        )

    def ask(self, images: Array, rows: np.ndarray) -> Array:
        """The model's logits, (k, classes), for ``images`` (k, c, h, w), made from the originals ``rows``."""
        self._count(rows)
        logits = self.oracle.logits(images)
        self._look_for_nan(logits)
        self._tell(images, rows, logits)
        return logits

    def ascent(
        self, images: Array, rows: np.ndarray, objective: Objective, targets: Array | None = None
    ) -> GradientAnswer:
        """Logits, objective and its gradient for ``images`` (k, c, h, w), made from the originals ``rows``.

        Args:
            images: Where the gradient is taken.
            rows: (k,).
            objective: What is ascended; its losses are targeted where there are targets.
            targets: (k,), in place of the problem's own.
        """
        aims = targets
        if aims is None and self.targets is not None:
            aims = self._of(self.targets, rows)
        labels = self._of(self.labels, rows)
        terms = [
            (weight, self._gradient(images, rows, labels, loss, aims)) for weight, loss in objective.terms
        ]
        answer = terms[0][1]
        if len(terms) > 1 or terms[0][0] != 1.0:
            answer = GradientAnswer(
                answer.logits,
                sum(weight * term.loss for weight, term in terms),
                sum(weight * term.gradient for weight, term in terms),
            )
        answer = self._examined(answer, rows)
        self._tell(images, rows, answer.logits, answer.loss)
        return answer

    def credit(self, rows: np.ndarray, name: str) -> None:
        """Say which part of an ensemble fooled the images made from the originals ``rows``."""
        self.tally.fooled_by[self.places[rows]] = name

    def fooled(self, logits: Array, rows: np.ndarray) -> np.ndarray:
        """Which of the answers (k, classes) for ``rows`` are what the attack wants: (k,) bool on the host.

        An answer with a NaN in it is no class, and so neither another one nor the target.
        """
        if self._judged is not None and self._judged[0] is logits and self._judged[1] is rows:
            return self._judged[2].copy()
        predicted = to_numpy(namespace(logits).argmax(logits, axis=1))
        same = predicted == self._wanted[rows]
        hit: np.ndarray = (same if self.targets is not None else ~same) & answered(logits)
        return hit

    def margin(self, logits: Array, rows: np.ndarray) -> np.ndarray:
        """By how much the answers (k, classes) for ``rows`` are what the attack wants: (k,) on the host.

        max_{j≠y} z_j − z_y, or z_t − max_{j≠t} z_j where there are targets; −∞ where that is NaN.
        """
        scores = to_numpy(logits)
        wanted = self._wanted[rows][:, None]
        others = scores.copy()
        np.put_along_axis(others, wanted, -np.inf, axis=1)
        with np.errstate(invalid="ignore"):  # two classes that are both infinite have no margin
            lead: np.ndarray = others.max(1) - np.take_along_axis(scores, wanted, axis=1)[:, 0]
        lead = lead if self.targets is None else -lead
        return np.where(np.isnan(lead), -np.inf, lead)

    @cached_property
    def _wanted(self) -> np.ndarray:
        """The classes that answers are compared with, on the host."""
        return to_numpy(self.labels if self.targets is None else self.targets)

    def _gradient(
        self, images: Array, rows: np.ndarray, labels: Array, loss: AnyLoss, targets: Array | None
    ) -> GradientAnswer:
        self._count(rows, loss)
        if isinstance(loss, AdaptiveLoss) and loss.needs_originals:
            return self.oracle.gradient(images, labels, loss, targets, self._of(self.images, rows))
        return self.oracle.gradient(images, labels, loss, targets)

    def _of(self, array: Array, rows: np.ndarray) -> Array:
        return array if rows is self.rows else take(array, rows)

    def _count(self, rows: np.ndarray, loss: AnyLoss | None = None) -> None:
        self.check()
        self._judged = None
        self.tally.ask(self.places[rows], questions(self.oracle), passes(self.oracle, loss))

    def _tell(self, images: Array, rows: np.ndarray, logits: Array, loss: Array | None = None) -> None:
        if self.watch is not None:
            self.watch(images, self.places[rows], logits, loss)

    def _look_for_nan(self, logits: Array) -> None:
        self.tally.unanswered += int(np.count_nonzero(~answered(logits)))

    def _examined(self, answer: GradientAnswer, rows: np.ndarray) -> GradientAnswer:
        """Count the gradients that lead nowhere, and take out what is no number, or it would spread from step
        to step over the image."""
        self._look_for_nan(answer.logits)
        # Only where the model still holds: DLR is constant, rightly, once the label has come third.
        fooled = self.fooled(answer.logits, rows)
        held = ~fooled
        xp = namespace(answer.gradient)
        flat = xp.reshape(answer.gradient, (len(rows), -1))
        highest, lowest = to_numpy(xp.max(flat, axis=1)), to_numpy(xp.min(flat, axis=1))
        finite = np.isfinite(highest) & np.isfinite(lowest)
        blind = ~finite | ((highest == 0) & (lowest == 0))
        self.tally.see(self.places[rows[held]], blind[held])
        losses, gradient = answer.loss, answer.gradient
        # A loss may be none where the gradient is one, as the margin of a model with infinite logits.
        losses = xp.where(xp.isnan(losses), xp.full_like(losses, -xp.inf), losses)
        if not finite.all():
            gradient = xp.where(xp.isfinite(gradient), gradient, xp.zeros_like(gradient))
        answer = GradientAnswer(answer.logits, losses, gradient)
        self._judged = (answer.logits, rows, fooled)
        return answer
