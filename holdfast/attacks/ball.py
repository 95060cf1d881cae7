"""Norm balls around images: the set that an adversary may move in, always cut with [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from holdfast.attacks.arrays import cut, each, namespace
from holdfast.attacks.noise import Noise
from holdfast.attacks.oracle import Array

#: Near the smallest float32 that has all its digits.
_SMALLEST = 1e-37


class Ball(Protocol):
    """The images within ``epsilon`` of a batch's images, in one norm."""

    @property
    def epsilon(self) -> float:
        """The radius, in image units."""

    def length(self, difference: Array) -> Array:
        """The norm of each image's difference, (n,)."""

    def random(self, centre: Array, noise: Noise) -> Array:
        """A random image of the ball around each image of ``centre``."""

    def surface(self, centre: Array, noise: Noise, radius: float | Array | None = None) -> Array:
        """A random image at the distance ``radius`` of each image of ``centre``, cut to [0, 1].

        Args:
            centre: (n, c, h, w).
            noise: Where the directions come from.
            radius: One, or one for each image (n,); without it, epsilon.
        """

    def step(self, images: Array, gradient: Array, size: float | Array, centre: Array) -> Array:
        """Go ``size`` along the steepest ascent of the norm, and back into the ball around ``centre``.

        Args:
            images: (n, c, h, w).
            gradient: (n, c, h, w).
            size: Of the step, in image units: one, or one for each image (n,).
            centre: (n, c, h, w).
        """

    def project(self, images: Array, centre: Array) -> Array:
        """The nearest images of the ball around ``centre``, cut to [0, 1]."""


@dataclass(frozen=True)
class LInfBall:
    """‖x' − x‖∞ <= epsilon: every value of every pixel may move by at most epsilon."""

    epsilon: float

    def length(self, difference: Array) -> Array:
        """‖·‖∞."""
        return linf_norm(difference)

    def random(self, centre: Array, noise: Noise) -> Array:
        """Uniform in the ball, cut to [0, 1]."""
        xp = namespace(centre)
        return xp.clip(centre + noise.uniform(centre, -self.epsilon, self.epsilon), 0.0, 1.0)

    def surface(self, centre: Array, noise: Noise, radius: float | Array | None = None) -> Array:
        """Uniform in the ball, stretched until one value of the image is at its radius."""
        return _at(
            centre, noise.uniform(centre, -1.0, 1.0), linf_norm, self.epsilon if radius is None else radius
        )

    def step(self, images: Array, gradient: Array, size: float | Array, centre: Array) -> Array:
        """x' <- P(x' + size · sign(gradient)); the sign of an exact zero is zero."""
        moved = namespace(gradient).sign(gradient)
        moved *= size if isinstance(size, float | int) else each(size)
        moved += images
        moved -= centre
        return self._back(moved, centre)

    def project(self, images: Array, centre: Array) -> Array:
        """The nearest point of the ball around ``centre``, cut with [0, 1]."""
        return self._back(images - centre, centre)

    def _back(self, offset: Array, centre: Array) -> Array:
        # Everything happens in an array that is ours: allocating is what costs most here.
        offset = cut(offset, -self.epsilon, self.epsilon)
        offset += centre
        return cut(offset, 0.0, 1.0)


@dataclass(frozen=True)
class L2Ball:
    """‖x' − x‖₂ <= epsilon, over all values of an image together."""

    epsilon: float

    def length(self, difference: Array) -> Array:
        """‖·‖₂."""
        return l2_norm(difference)

    def random(self, centre: Array, noise: Noise) -> Array:
        """A uniform direction at a radius that fills the ball evenly, cut to [0, 1]."""
        xp = namespace(centre)
        direction = noise.normal(centre)
        dimensions = centre[0, ...].shape[0] * centre.shape[2] * centre.shape[3]
        fraction = noise.uniform(l2_norm(centre), 0.0, 1.0) ** (1.0 / dimensions)
        radius = self.epsilon * fraction / _at_least_tiny(l2_norm(direction))
        return xp.clip(centre + direction * radius[:, None, None, None], 0.0, 1.0)

    def surface(self, centre: Array, noise: Noise, radius: float | Array | None = None) -> Array:
        """In a uniform direction."""
        return _at(centre, noise.normal(centre), l2_norm, self.epsilon if radius is None else radius)

    def step(self, images: Array, gradient: Array, size: float | Array, centre: Array) -> Array:
        """x' <- P(x' + size · gradient / ‖gradient‖₂); a zero gradient moves nothing."""
        # Of a very sure model the gradient is so small that its square is no float any more, nor its length.
        moved = gradient / each(cut(linf_norm(gradient), _SMALLEST, float("inf")))
        moved *= each(size / _at_least_tiny(l2_norm(moved)))
        moved += images
        moved -= centre
        return self._back(moved, centre)

    def project(self, images: Array, centre: Array) -> Array:
        """Shrunk onto the ball, then cut to [0, 1], which moves no point out of the ball."""
        return self._back(images - centre, centre)

    def _back(self, offset: Array, centre: Array) -> Array:
        offset *= each(cut(self.epsilon / _at_least_tiny(l2_norm(offset)), 0.0, 1.0))
        offset += centre
        return cut(offset, 0.0, 1.0)


def ball(norm: str, epsilon: float) -> Ball:
    """The ball of a norm's name, ``linf`` or ``l2``.

    Raises:
        ValueError: There is no such norm.
    """
    if norm == "linf":
        return LInfBall(epsilon)
    if norm == "l2":
        return L2Ball(epsilon)
    raise ValueError(f"no norm is called {norm!r}; there are linf and l2")


def l2_norm(difference: Array) -> Array:
    """‖·‖₂ of each image, (n,)."""
    xp = namespace(difference)
    return xp.linalg.vector_norm(xp.reshape(difference, (difference.shape[0], -1)), axis=1)


def linf_norm(difference: Array) -> Array:
    """‖·‖∞ of each image, (n,)."""
    xp = namespace(difference)
    return xp.max(xp.abs(difference), axis=(1, 2, 3))


def _at(centre: Array, direction: Array, norm: Callable[[Array], Array], radius: float | Array) -> Array:
    xp = namespace(centre)
    return xp.clip(centre + direction * each(radius / _at_least_tiny(norm(direction))), 0.0, 1.0)


def _at_least_tiny(norm: Array) -> Array:
    return cut(norm, 1e-12, float("inf"))
