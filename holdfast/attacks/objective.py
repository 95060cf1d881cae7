"""What an attack ascends: one loss, or a weighted sum of several such as ``ce+0.5*manifold``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from holdfast.attacks.loss import MINIMUM_CLASSES, AdaptiveLoss, AnyLoss, Loss

_TERM = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?([a-z-]+)")


@dataclass(frozen=True)
class Objective:
    """Σ weight · loss. A gradient is linear, so the gradient of a sum is the sum of the gradients.

    Attributes:
        terms: Weights and losses, at least one.
    """

    terms: tuple[tuple[float, AnyLoss], ...]

    @classmethod
    def of(cls, loss: AnyLoss) -> Objective:
        """A single loss."""
        return cls(((1.0, loss),))

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read ``loss`` or ``weight*loss``, joined by ``+``.

        >>> Objective.parse("ce+0.5*manifold").terms
        ((1.0, <Loss.CROSS_ENTROPY: ('ce', 0)>), (0.5, <AdaptiveLoss.MANIFOLD: 'manifold'>))

        Raises:
            ValueError: It is not written so, or a loss has no such name.
        """
        terms = []
        for part in text.replace(" ", "").split("+"):
            match = _TERM.fullmatch(part)
            if match is None:
                raise ValueError(f"{part!r} is no loss; write ce, or a sum such as ce+0.5*manifold")
            terms.append((float(match[1] or 1.0), _named(match[2])))
        if len({loss for _, loss in terms}) != len(terms):
            raise ValueError(f"{text!r} names a loss twice")
        return cls(tuple(terms))

    def for_target(self) -> Objective:
        """The same with the targeted form of each loss of the classes."""
        return Objective(
            tuple((w, loss.for_target() if isinstance(loss, Loss) else loss) for w, loss in self.terms)
        )

    def for_classes(self, classes: int) -> Objective:
        """The same for a model with so few classes that DLR's denominator is not there: with the margin."""
        return Objective(
            tuple(
                (w, _MARGINS[loss] if loss in _MARGINS and classes < MINIMUM_CLASSES[loss] else loss)
                for w, loss in self.terms
            )
        )


#: The losses that need several classes, and the numerators of theirs that do not.
_MARGINS: dict[AnyLoss, Loss] = {Loss.DLR: Loss.MARGIN, Loss.TARGETED_DLR: Loss.TARGETED_MARGIN}


def _named(label: str) -> AnyLoss:
    for adaptive in AdaptiveLoss:
        if adaptive.value == label:
            return adaptive
    for loss in Loss:
        if loss.label == label:
            return loss
    names = [*(loss.label for loss in Loss), *(loss.value for loss in AdaptiveLoss)]
    raise ValueError(f"no loss is called {label!r}; there are {', '.join(names)}")


def _check(text: str) -> str:
    objective = Objective.parse(text)
    for _, loss in objective.terms:
        if isinstance(loss, Loss) and loss.targeted:
            raise ValueError(f"{loss.label!r} needs a target: write the plain loss and set target")
    return text


#: A parameter that names an objective of an untargeted attack.
ObjectiveText = Annotated[
    str,
    AfterValidator(_check),
    Field(
        description="ce: cross-entropy, cw: margin, dlr: logit ratio; or a sum with what the defence looks "
        "at, e.g. ce+manifold (IMT) or ftc+so+bibo (MAT), each with a weight if wished: ce+0.5*manifold.",
        examples=["ce", "cw", "dlr", "ce+manifold", "ftc+so+bibo"],
        pattern=r"^[a-z0-9.*+ -]{1,100}$",
    ),
]
