"""What every attack's parameters have in common. One pydantic model for each attack: it validates an HTTP
request, makes the command line's flags, the playground's form and the docs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast.units import Budget


@dataclass(frozen=True)
class Cost:
    """Passes through the model for one image, at most: what an attack will spend if nothing ends it early.

    Attributes:
        forwards: Forward passes, those before a backward pass included.
        backwards: Backward passes.
    """

    forwards: int
    backwards: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forwards + other.forwards, self.backwards + other.backwards)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.forwards * times, self.backwards * times)


#: What the engine itself asks for each image: the clean image, the result, and the result in 8 bits.
CHECKS = Cost(forwards=3)

#: So many clean images of a call are asked about twice, to see whether the model answers the same.
TWICE = 8


class AttackParameters(BaseModel, ABC):
    """The parameters of one attack; the class says which attack is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Annotated[
        int,
        Field(ge=0, lt=2**63, description="Of all that is random; the same seed gives the same result."),
    ] = 0

    @abstractmethod
    def cost(self, classes: int) -> Cost:
        """The most that the attack itself spends on one image of a model with ``classes`` classes."""

    @property
    def members(self) -> tuple[AttackParameters, ...]:
        """Of the attacks that it is made of, in their order; none where it is no ensemble."""
        return ()

    @property
    def answers(self) -> int:
        """Answers of the model that the attack takes the mean of by its own definition, in :meth:`cost`."""
        return 1

    @property
    def skips_misclassified(self) -> bool:
        """Whether an image that the model gets wrong as it is counts as fooled without being attacked."""
        return True

    @property
    def budget(self) -> tuple[Literal["linf", "l2"], float] | None:
        """The norm and the radius that results keep to; None where the attack minimises a norm freely."""
        return None


class BoundedParameters(AttackParameters):
    """Of an attack that looks for any adversarial image within a budget."""

    norm: Annotated[Literal["linf", "l2"], Field(description="How a perturbation is measured.")] = "linf"
    epsilon: Annotated[Budget, Field(description="The budget, in image units; 8/255 is accepted.")] = 8 / 255

    @property
    def budget(self) -> tuple[Literal["linf", "l2"], float] | None:
        """See :attr:`AttackParameters.budget`."""
        return self.norm, self.epsilon


class MinimalParameters(AttackParameters):
    """Of an attack that looks for the smallest perturbation that fools the model."""

    epsilon: Annotated[
        Budget | None,
        Field(description="If given, only perturbations within it count; an image that needs more is held."),
    ] = None

    if TYPE_CHECKING:  # or pydantic would take it for what a parameter of that name in a subclass hides

        @property
        def norm(self) -> Literal["linf", "l2"]:
            """The norm that is minimised."""

    @property
    def budget(self) -> tuple[Literal["linf", "l2"], float] | None:
        """See :attr:`AttackParameters.budget`."""
        return None if self.epsilon is None else (self.norm, self.epsilon)


class MinimalL2Parameters(MinimalParameters):
    """The same where the norm is L2 and no other."""

    @property
    def norm(self) -> Literal["linf", "l2"]:
        """The norm that is minimised."""
        return "l2"


def going_on(parameters: AttackParameters) -> AttackParameters:
    """The same for an attack that is crafted on something else than what judges it.

    An image that only just fools the one seldom fools the other: ``stop_at_success`` is off unless given.
    """
    if (
        "stop_at_success" not in type(parameters).model_fields
        or "stop_at_success" in parameters.model_fields_set
    ):
        return parameters
    return parameters.model_copy(update={"stop_at_success": False})


def announced(parameters: AttackParameters, classes: int, *, eot: int = 1, transfer: bool = False) -> Cost:
    """The most that :func:`holdfast.attacks.attack` spends on one image, with all that the engine asks for.

    Beside that, a call spends one forward pass on each of its first :data:`TWICE` images.

    Args:
        parameters: Of the attack.
        classes: Of the model.
        eot: Answers that the engine takes the mean of, if the attack is crafted on means.
        transfer: Whether it is crafted on another model.
    """
    # What is crafted on, where it is not the model itself, is asked about the clean image too.
    clean = Cost(forwards=eot if eot > 1 or transfer else 0)
    return parameters.cost(classes) * eot + clean + CHECKS
