"""Expectation over transformation (Athalye et al. 2018): attack the mean of a model's random answers.

A model that answers at random hides its gradient in noise. What counts against it is the gradient of its
expected loss, which is the mean of the gradients over samples. ``attack(..., eot=n)`` crafts on such means
and judges the outcome on single answers of the model, as it is served.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.oracle import Array, GradientAnswer, Oracle, passes, questions
from holdfast.attacks.parameters import Cost


class EOTOracle:
    """A model whose every answer is the mean of several.

    The samples are asked for one after another, so that no more images stand in memory than without it, and a
    model that draws once for a whole batch is sampled as truly as one that draws for each image.

    Args:
        oracle: The model; any oracle, another of these included.
        samples: Answers to take the mean of, at least 1.
        check: Called between two samples, of which there may be thousands; what it raises ends the answer.

    Attributes:
        questions: Answers of the model that one of these is made of: attacks count them.
        dynamic: As of the model; see :class:`holdfast.attacks.oracle.Oracle`.

    Raises:
        ValueError: Fewer than one sample.
    """

    def __init__(self, oracle: Oracle, samples: int, check: Callable[[], None] = lambda: None) -> None:
        if samples < 1:
            raise ValueError(f"the mean of {samples} answers is none; samples are at least 1")
        self._oracle = oracle
        self._samples = samples
        self._check = check
        self.questions: int = samples * questions(oracle)
        self.dynamic: bool = getattr(oracle, "dynamic", False)

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self._oracle.classes

    def passes(self, loss: AnyLoss | None) -> Cost:
        """See :func:`holdfast.attacks.oracle.passes`: those of every sample."""
        return passes(self._oracle, loss) * self._samples

    def logits(self, images: Array) -> Array:
        """The mean of the logits, (n, classes)."""
        total = self._oracle.logits(images)
        for _ in range(self._samples - 1):
            self._check()
            total = total + self._oracle.logits(images)
        return total / self._samples

    def gradient(
        self,
        images: Array,
        labels: Array,
        loss: AnyLoss,
        targets: Array | None = None,
        originals: Array | None = None,
    ) -> GradientAnswer:
        """The means of logits, losses and gradients: ∇ E[L] = E[∇ L]."""
        answer = self._oracle.gradient(images, labels, loss, targets, originals)
        logits, losses, gradient = answer.logits, answer.loss, answer.gradient
        for _ in range(self._samples - 1):
            self._check()
            answer = self._oracle.gradient(images, labels, loss, targets, originals)
            logits, losses, gradient = (
                logits + answer.logits,
                losses + answer.loss,
                gradient + answer.gradient,
            )
        return GradientAnswer(logits / self._samples, losses / self._samples, gradient / self._samples)
