"""What an attacker maximises. Every loss is one number per image and grows as the attack succeeds.

The numeric ids of :class:`Loss` are part of the bundle format: they are the ``loss`` input of
``gradient.onnx``. Write z for the logits, y for the label, t for the target class, φ for the features.
"""

from __future__ import annotations

from enum import Enum


class Loss(Enum):
    """A loss of the logits, its name in the API and its id in ``gradient.onnx``."""

    CROSS_ENTROPY = ("ce", 0)
    """−log softmax(z)_y (FGSM, PGD: Madry et al. 2018)."""

    MARGIN = ("cw", 1)
    """max_{j≠y} z_j − z_y: Carlini & Wagner's f_6 with its confidence left open, as FS and ATLD use it."""

    DLR = ("dlr", 2)
    """−(z_y − max_{j≠y} z_j) / (z_π1 − z_π3), the difference of logits ratio (Croce & Hein 2020, eq. 6)."""

    TARGETED_CROSS_ENTROPY = ("ce-targeted", 3)
    """log softmax(z)_t."""

    TARGETED_MARGIN = ("cw-targeted", 4)
    """z_t − max_{j≠t} z_j."""

    TARGETED_DLR = ("dlr-targeted", 5)
    """−(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2) (Croce & Hein 2020, eq. 7)."""

    LOGIT_DIFFERENCE = ("difference", 6)
    """z_t − z_y: the boundary between two classes, whose gradient FAB linearises."""

    def __init__(self, label: str, ident: int) -> None:
        self.label = label
        self.id = ident

    @property
    def targeted(self) -> bool:
        """Whether the loss needs a target class for each image."""
        return self.id >= Loss.TARGETED_CROSS_ENTROPY.id

    def for_target(self) -> Loss:
        """The targeted form of this loss; itself where it is targeted already."""
        return {
            Loss.CROSS_ENTROPY: Loss.TARGETED_CROSS_ENTROPY,
            Loss.MARGIN: Loss.TARGETED_MARGIN,
            Loss.DLR: Loss.TARGETED_DLR,
        }.get(self, self)

    @classmethod
    def from_label(cls, label: str) -> Loss:
        """The loss of that name.

        Raises:
            ValueError: There is none.
        """
        for loss in cls:
            if loss.label == label:
                return loss
        raise ValueError(f"no loss is called {label!r}; there are {', '.join(x.label for x in cls)}")


class AdaptiveLoss(Enum):
    """What an attacker who knows the defence ascends too. Only models with that defence have it."""

    MANIFOLD = "manifold"
    """log (1 − D⁰) − log D⁰ with D⁰ = P(adversarial): how natural ATLD's discriminator finds the image."""

    FTC = "ftc"
    """1 − cos(φ(x'), μ_y), the distance to the class's centre (MAT eq. 4)."""

    SO = "so"
    """‖∇_φ FTC‖² (MAT eq. 6)."""

    BIBO = "bibo"
    """1 − cos(φ(x), φ(x')), the distance to the clean image's features (the inside of MAT eq. 8)."""

    @property
    def needs_originals(self) -> bool:
        """Whether the loss compares an image with the one that it was made from."""
        return self is AdaptiveLoss.BIBO


AnyLoss = Loss | AdaptiveLoss

#: DLR divides by z_π1 − z_π3, which needs three classes, its targeted form four. With fewer, oracles refuse,
#: and ``gradient.onnx`` answers NaN.
MINIMUM_CLASSES: dict[AnyLoss, int] = {Loss.DLR: 3, Loss.TARGETED_DLR: 4}
