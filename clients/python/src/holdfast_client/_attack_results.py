"""What came of an attack, and what attacks there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from holdfast_client._pictures import ExactImage, PerturbationPicture, Picture, decoded
from holdfast_client._predictions import Answer, Defence, ManifoldEvidence
from holdfast_client._reading import named

if TYPE_CHECKING:
    from PIL import Image

#: ``wrong before``: the model did what the attacker wants of the image as it was.
Outcome = Literal["fooled", "held", "wrong before"]

#: What an attack asks of the model.
Access = Literal["gradient", "scores", "decision", "none"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How far an adversary may move an image: ``epsilon`` image units in ``norm``."""

    norm: str
    epsilon: float

    def __str__(self) -> str:
        """As people write it: ``linf 8/255``."""
        steps = self.epsilon * 255
        exact = 0 < round(steps) < 64 and abs(steps - round(steps)) < 1e-6
        return f"{self.norm} {round(steps)}/255" if exact else f"{self.norm} {self.epsilon:.6g}"


@dataclass(frozen=True, kw_only=True)
class Norms:
    """How far an adversarial image is from the original, in image units."""

    linf: float
    l2: float


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A reason not to believe a result, in words."""

    name: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class AppliedAttack:
    """Which attack it was, with all of its parameters, those that were not given too."""

    name: str
    access: Access
    minimises: bool
    parameters: Mapping[str, Any]
    budget: Budget | None = None


@dataclass(frozen=True, kw_only=True)
class DefencePredictions:
    """What the model says behind one of its defences.

    Attributes:
        before: Of the image as it came.
        after: Of the exact result.
        after_in_8_bits: Of the PNG.
        fooled: Whether the PNG does to this defence what the attack was to do to the one under attack.
    """

    before: Answer
    after: Answer
    after_in_8_bits: Answer
    fooled: bool


@dataclass(frozen=True, kw_only=True)
class AttackCounts:
    """What an attack spent: passes, and images that the model was shown."""

    forwards: int
    backwards: int
    queries: int


@dataclass(frozen=True, kw_only=True)
class AttackCost:
    """What an attack was reckoned to cost at most, before it began."""

    gradients: int
    forwards: int
    images: int
    seconds: float
    seconds_per_forward: float
    seconds_per_gradient: float


@dataclass(frozen=True, kw_only=True)
class AttackProgress:
    """How an attack is that has not ended.

    Attributes:
        waiting: How many attacks have to end before it begins; 0 once it has begun.
        done: Steps that are done, of the attack's own kind.
        total: Steps at most: it may need fewer; 0 where that is not known yet.
        seconds: Since it began.
    """

    waiting: int = 0
    done: int = 0
    total: int = 0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """How much of the most that it may take is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class TraceStep:
    """One image that the attack tried on its way.

    Attributes:
        query: Which one it was, from 0.
        label: What the model said of it, behind the defence under attack.
        class_index: That class's number.
        probability: Of that class.
        probability_of_label: Of the class that was to be left.
        linf: How far it is from the image, in image units.
        l2: The same in L2.
        base64: The image, a PNG file.
        loss: What the attack ascends, if it follows gradients.
        probabilities: Of every class, in the model's order; empty where the server is older than this.
    """

    query: int
    label: str
    class_index: int
    probability: float
    probability_of_label: float
    linf: float
    l2: float
    base64: str = field(repr=False, metadata=named("png"))
    loss: float | None = None
    probabilities: list[float] = field(default_factory=list, repr=False)

    @property
    def png(self) -> bytes:
        """The image, a PNG file."""
        return decoded(self.base64)


@dataclass(frozen=True, kw_only=True)
class AttackTrace:
    """The attack's way, evenly thinned out: of ``queries`` images each ``every``-th."""

    queries: int
    every: int
    steps: list[TraceStep]


@dataclass(frozen=True, kw_only=True)
class AttackTimings:
    """Where the time of an attack went, in milliseconds on the server."""

    decode_ms: float
    queue_ms: float
    attack_ms: float
    predict_ms: float
    total_ms: float


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What came of an attack on one image.

    >>> result = client.attack("ship.png", "pgd", epsilon="16/255", steps=20)
    >>> result.success, result.before.label, result.after.label
    (True, 'ship', 'automobile')
    >>> result.adversarial.save("adversarial.png")

    In a notebook it shows the image, the adversarial one, the perturbation, and bars of the probabilities
    before and after.

    Attributes:
        model: The model that was attacked.
        version: Its version.
        defence: The defence that was attacked, and attacked through.
        attack: The attack, with all of its parameters.
        label: The class that was to be left.
        class_index: Its number.
        label_from: Who says so: the caller (``request``), or the model itself.
        target: The class that was to be reached, if one was.
        outcome: ``fooled``, ``held``, or ``wrong before``.
        success: The model does what the attacker wants of the exact result.
        survives_rounding: It does so of the PNG too.
        reached: How far the exact result is from the image.
        reached_in_8_bits: How far the PNG is.
        predictions: What the model says behind every defence that it offers.
        counts: What the attack spent.
        cost: What it was reckoned to cost at most.
        flags: Why not to believe the outcome.
        adversarial: The result, of the model's input size.
        perturbation: What was changed, larger than life.
        exact: The result before rounding, where it was asked for.
        trace: The attack's way, where it was asked for.
        original: The image as the model was shown it; none where the server is older than this.
    """

    model: str
    version: str
    defence: Defence
    attack: AppliedAttack
    label: str
    class_index: int
    label_from: Literal["request", "model"]
    outcome: Outcome
    success: bool
    survives_rounding: bool
    reached: Norms
    reached_in_8_bits: Norms
    predictions: dict[str, DefencePredictions]
    counts: AttackCounts
    cost: AttackCost
    flags: list[Flag]
    adversarial: Picture
    perturbation: PerturbationPicture
    timings: AttackTimings
    request_id: str
    target: str | None = None
    exact: ExactImage | None = field(default=None, metadata=named("float"))
    trace: AttackTrace | None = None
    original: Picture | None = None

    @property
    def before(self) -> Answer:
        """What the model says of the image as it came, behind the defence under attack."""
        return self.predictions[self.defence].before

    @property
    def after(self) -> Answer:
        """What the model says of the adversarial PNG, behind the defence under attack."""
        return self.predictions[self.defence].after_in_8_bits

    @property
    def probabilities(self) -> dict[str, float]:
        """Of every class, of the adversarial PNG."""
        return self.after.probabilities

    @property
    def manifold(self) -> ManifoldEvidence | None:
        """How natural the model found the adversarial PNG, of models that say so."""
        return self.after.manifold

    @property
    def image(self) -> Image.Image:
        """The adversarial image, as a PIL image.

        Raises:
            MissingDependencyError: Pillow is not installed.
        """
        return self.adversarial.image

    def __repr__(self) -> str:
        """The outcome, from what to what, by which attack."""
        budget = f" {self.attack.budget}" if self.attack.budget else ""
        doubt = f", {len(self.flags)} flags" if self.flags else ""
        return (
            f"<AttackResult {self.outcome}: {self.before.label} {self.before.probability:.1%} -> "
            f"{self.after.label} {self.after.probability:.1%}, by {self.attack.name}{budget} on "
            f"{self.model}/{self.version}{doubt}>"
        )

    def _repr_html_(self) -> str:
        from holdfast_client._html import attack_html

        return attack_html(self)


@dataclass(frozen=True, kw_only=True)
class AttackPasses:
    """Passes through a model of so many classes for one image, at most, with an attack's defaults."""

    forwards: int
    backwards: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class AttackDescription:
    """One attack that the server knows.

    Attributes:
        name: What it is called, e.g. ``pgd``.
        summary: One line that says what it does.
        source: The paper.
        access: What it asks of the model: gradients, scores, only the class, or nothing.
        minimises: Whether it looks for the smallest perturbation, not for any in a budget.
        norms: The norms that it knows.
        targetable: Whether it can aim at a class.
        parameters: JSON Schema of its parameters.
        passes: What it costs.
    """

    name: str
    summary: str
    source: str
    access: Access
    minimises: bool
    norms: list[str]
    targetable: bool
    parameters: Mapping[str, Any]
    passes: AttackPasses

    def __repr__(self) -> str:
        """Its name and what it does."""
        return f"<AttackDescription {self.name}: {self.summary}>"


#: In a class with a method ``list``, the type has to have another name.
AttackDescriptions = list[AttackDescription]


@dataclass(frozen=True, kw_only=True)
class AttackCatalogue:
    """The attacks, as the server lists them."""

    attacks: AttackDescriptions
