"""How a bundle's weights are stored where that is not as float32, and what their rounding changed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.record import Record

Share = Annotated[float, Field(ge=0, le=1)]
#: A share of images before the weights were rounded, and after.
BeforeAfter = tuple[Share, Share]


class AttackedPrecision(Record):
    """Accuracy under PGD within the threat model, of the float32 network and of the rounded one."""

    steps: Annotated[int, Field(ge=1, description="Of PGD on the cross-entropy, from one random start.")]
    images: Annotated[int, Field(ge=1)]
    accuracy: BeforeAfter


class Precision(Record):
    """Weights stored as float16, and the network that they make beside the one that was trained.

    The graphs compute in float32 from the rounded weights, and every other figure of the manifest is of the
    rounded network. Where there were no labelled images, only logits and classes were compared.
    """

    weights: Literal["float16"]
    share: Annotated[Share, Field(description="Of the network's numbers that are stored so.")]
    images: Annotated[int, Field(ge=1, description="Images that both networks were compared on.")]
    logits: Annotated[float, Field(ge=0, description="Largest absolute difference of a logit.")]
    changed: Annotated[Share, Field(description="Of images that are given another class.")]
    accuracy: Annotated[
        BeforeAfter | None, Field(description="On those images, before the rounding and after.")
    ] = None
    defended: Annotated[
        dict[Literal["imt", "imt+"], BeforeAfter],
        Field(description="The same behind each defence at inference."),
    ] = Field(default_factory=dict)
    attacked: AttackedPrecision | None = None
