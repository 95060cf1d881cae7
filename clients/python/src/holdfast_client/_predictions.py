"""What a model says of an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from holdfast_client._images import ImageInput, encode_image
from holdfast_client._pictures import open_image

if TYPE_CHECKING:
    from PIL import Image

#: A defence at inference.
Defence = Literal["none", "imt", "imt+"]

#: What the manifold evidence says of an image.
Verdict = Literal["natural", "uncertain", "suspect"]


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """One class and how probable it is.

    Attributes:
        label: The class's name.
        class_index: The class's number, from 0, in the model's order.
        probability: From 0 to 1.
    """

    label: str
    class_index: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class ManifoldEvidence:
    """How natural the model found the image as it came, before a defence moved it.

    Attributes:
        score: Of a discriminator, the probability that the image is adversarial; of centres, the cosine
            between the image's features and its class's centre, high where it is natural.
        evidence: ``discriminator`` or ``centre``.
        verdict: By the model's own thresholds.
        moved: How far the defence moved each value of the image before it was classified.
    """

    score: float
    evidence: Literal["discriminator", "centre"]
    verdict: Verdict
    moved: float | None = None


@dataclass(frozen=True, kw_only=True)
class Answer(ClassProbability):
    """What a model says of one image: its most probable class, and all others.

    Attributes:
        top_k: The most probable classes, best first.
        probabilities: The probability of every class, in the model's order.
        manifold: Its manifold evidence, of models that give it.
    """

    top_k: list[ClassProbability]
    probabilities: dict[str, float]
    manifold: ManifoldEvidence | None = None

    def __repr__(self) -> str:
        """The class and its probability."""
        return f"<{type(self).__name__} {self._words()}>"

    def _words(self) -> str:
        verdict = f", {self.manifold.verdict}" if self.manifold else ""
        return f"{self.label} {self.probability:.1%}{verdict}"


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of a classification went, in milliseconds on the server."""

    decode_ms: float
    queue_ms: float
    inference_ms: float
    total_ms: float


@dataclass(frozen=True, kw_only=True)
class ClassificationAnswer:
    """A classification as the server answers it."""

    model: str
    version: str
    defence: Defence
    predictions: list[Answer]
    timings: Timings
    request_id: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction(Answer):
    """The answer to a classification of one image.

    >>> prediction = client.classify("ship.png")
    >>> prediction.label, prediction.probability
    ('ship', 0.929645)

    In a notebook it shows the image beside bars of the probabilities.

    Attributes:
        model: The model that answered.
        version: Its version.
        defence: The defence that it stood behind.
        timings: Where the server's time went.
        request_id: The id in the server's log.
        source: The image that was sent: the path, where it was one, else the file's bytes.
    """

    model: str
    version: str
    defence: Defence
    timings: Timings
    request_id: str
    source: ImageInput = field(repr=False, compare=False)

    @property
    def image(self) -> Image.Image:
        """The image that was classified, as a PIL image.

        Raises:
            MissingDependencyError: Pillow is not installed.
        """
        return open_image(encode_image(self.source))

    def __repr__(self) -> str:
        """The class, its probability, and who says so."""
        return f"<Prediction {self._words()}, by {self.model}/{self.version}>"

    def _repr_html_(self) -> str:
        from holdfast_client._html import prediction_html

        return prediction_html(self)


def prediction_of(answer: ClassificationAnswer, source: ImageInput) -> Prediction:
    """The prediction that the answer to a single image holds."""
    (found,) = answer.predictions
    return Prediction(
        **vars(found),
        model=answer.model,
        version=answer.version,
        defence=answer.defence,
        timings=answer.timings,
        request_id=answer.request_id,
        source=source,
    )
