"""Square Attack (Andriushchenko et al. 2020): random search over squares, by the scores alone.

Settings are those of AutoAttack: the margin is maximised, and squares shrink after fixed numbers of queries.
Every image draws its own squares, where the authors' code gives one position to a whole batch, so that what
becomes of an image does not depend on its neighbours. A square may touch the far edges too, as in the paper;
in pyautoattack 0.2 it never does, which shows on small images.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from holdfast.attacks.arrays import copy, each, like, namespace, put, take
from holdfast.attacks.ball import l2_norm
from holdfast.attacks.definition import Attack
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import BoundedParameters, Cost
from holdfast.attacks.problem import Problem
from holdfast.attacks.squares import hills, side, tiles, windows
from holdfast.attacks.targets import TargetableParameters

#: Queries that random numbers are drawn for at a time: fewer calls of each image's generator.
_BLOCK = 64
_TINY = 1e-12


class SquareParameters(BoundedParameters, TargetableParameters):
    """Changes of square shape, kept where they bring the image nearer to another class."""

    query_budget: Annotated[
        int, Field(ge=1, le=1_000_000, description="The most images shown to the model for each image.")
    ] = 5000
    p_init: Annotated[
        float, Field(gt=0, le=1, description="The share of the pixels that the first squares change.")
    ] = 0.8
    rescale_schedule: Annotated[
        bool,
        Field(
            description="Shrink the squares as the paper does over 10,000 queries, stretched to the query "
            "budget; if not, after the same numbers of queries whatever the budget, as AutoAttack does."
        ),
    ] = False

    def cost(self, classes: int) -> Cost:
        """A forward pass for each query."""
        del classes
        return Cost(forwards=self.query_budget)


class _Search(Protocol):
    """How images are proposed in one norm.

    Attributes:
        draws: Random numbers that a proposal takes for each image.
    """

    draws: int

    def start(self, centre: Array, problem: Problem) -> Array:
        """The first image, for every original (n, c, h, w)."""

    def propose(self, best: Array, centre: Array, size: int, draws: np.ndarray) -> Array:
        """A change of the best images so far, (k, c, h, w), by squares with sides of about ``size``.

        Args:
            best: (k, c, h, w); not changed.
            centre: (k, c, h, w), the originals.
            size: In pixels.
            draws: (k, draws) on the host, uniform in [0, 1).
        """


def square(problem: Problem, parameters: SquareParameters) -> Array:
    """For each image the one that fools the model, else the one with the largest margin (Algorithm 1)."""
    p = parameters
    channels, height, width = (int(extent) for extent in problem.images.shape[1:])
    kind: type[_LInfSearch | _L2Search] = _LInfSearch if p.norm == "linf" else _L2Search
    search: _Search = kind(p.epsilon, channels)
    rows, centre = problem.rows, problem.images
    best = search.start(centre, problem)
    adversarial = copy(best)
    logits = problem.ask(best, rows)
    margin, fooled = problem.margin(logits, rows), problem.fooled(logits, rows)
    draws = np.empty((len(rows), 0, search.draws), dtype=np.float32)
    for query in range(p.query_budget):
        if query:
            step = (query - 1) % _BLOCK
            if step == 0:
                blank = np.empty((len(rows), _BLOCK, search.draws), dtype=np.float32)
                draws = problem.noise.take(rows).uniform(blank, 0.0, 1.0)
            size = side(query - 1, p.p_init, height * width, p.query_budget if p.rescale_schedule else None)
            proposed = search.propose(best, centre, size, draws[:, step])
            logits = problem.ask(proposed, rows)
            reached, fooled = problem.margin(logits, rows), problem.fooled(logits, rows)
            better = np.flatnonzero(fooled | (reached > margin))
            put(best, better, take(proposed, better))
            margin[better] = reached[better]
        problem.progress(query + 1, p.query_budget)
        if fooled.any():
            held = np.flatnonzero(~fooled)
            put(adversarial, rows[fooled], take(best, np.flatnonzero(fooled)))
            rows, margin, draws = rows[held], margin[held], draws[held]
            best, centre = take(best, held), take(centre, held)
        if not len(rows):
            return adversarial
    put(adversarial, rows, best)
    return adversarial


class _LInfSearch:
    """Every value is at an edge of the ball; a square sets each channel to one of the two (Algorithm 2)."""

    def __init__(self, epsilon: float, channels: int) -> None:
        self._epsilon = epsilon
        self.draws = 2 + channels

    def start(self, centre: Array, problem: Problem) -> Array:
        """Vertical stripes, a pixel wide."""
        count, channels, _, width = centre.shape
        draws = problem.noise.uniform(np.empty((count, channels, 1, width), dtype=np.float32), -1.0, 1.0)
        return self._at_edge(centre, like(draws >= 0, centre))

    def propose(self, best: Array, centre: Array, size: int, draws: np.ndarray) -> Array:
        """See :meth:`_Search.propose`."""
        height, width = centre.shape[2:]
        window, _ = windows(draws[:, :2], min(size, height, width), height, width)
        high = draws[:, 2:, None, None] >= 0.5
        moved = self._at_edge(centre, like(high, centre))
        return namespace(best).where(like(window, centre), moved, best)

    def _at_edge(self, centre: Array, high: Array) -> Array:
        xp = namespace(centre)
        sign = 2.0 * xp.astype(high, centre.dtype) - 1.0
        return xp.clip(centre + self._epsilon * sign, 0.0, 1.0)


class _L2Search:
    """The whole budget in hills, of which a square's is moved to another square (Algorithm 3)."""

    def __init__(self, epsilon: float, channels: int) -> None:
        self._epsilon = epsilon
        self._channels = channels
        self.draws = 5 + channels

    def start(self, centre: Array, problem: Problem) -> Array:
        """Five by five tiles of hills."""
        return self._on_sphere(centre, like(tiles(problem.noise, tuple(centre.shape)), centre))

    def propose(self, best: Array, centre: Array, size: int, draws: np.ndarray) -> Array:
        """See :meth:`_Search.propose`."""
        xp = namespace(best)
        height, width = centre.shape[2:]
        odd = max(size, 3) // 2 * 2 + 1
        extent = min(odd, height, width)
        here, corners = windows(draws[:, :2], extent, height, width)
        there, _ = windows(draws[:, 2:4], extent, height, width)
        hill = hills(extent, corners, draws[:, 4] >= 0.5, height, width)
        sign = np.where(draws[:, 5:, None, None] >= 0.5, 1, -1).astype(np.float32)
        taken = like(here, centre)
        both = like(here | there, centre)
        change = best - centre
        zero = xp.zeros_like(change)
        old = xp.where(taken, change, zero)
        new = like(hill * sign, centre) + old / (_channel_norm(old) + _TINY)
        freed = xp.sum(xp.where(both, change * change, zero), axis=(2, 3), keepdims=True)
        spare = xp.clip(self._epsilon**2 - each(l2_norm(change)) ** 2, 0.0, None) / self._channels
        new = new / (_channel_norm(new) + _TINY) * (spare + freed) ** 0.5
        return self._on_sphere(centre, xp.where(taken, new, xp.where(both, zero, change)))

    def _on_sphere(self, centre: Array, change: Array) -> Array:
        xp = namespace(centre)
        return xp.clip(centre + change * each(self._epsilon / (l2_norm(change) + _TINY)), 0.0, 1.0)


def _channel_norm(change: Array) -> Array:
    """‖·‖₂ of each channel, (n, c, 1, 1)."""
    return namespace(change).sum(change * change, axis=(2, 3), keepdims=True) ** 0.5


ATTACKS = (
    Attack(
        name="square",
        summary="Random search over square changes: needs scores only, and no gradient can mislead it.",
        source="Andriushchenko, Croce, Flammarion & Hein 2020, Square Attack: a Query-efficient Black-box "
        "Adversarial Attack via Random Search.",
        access="scores",
        parameters=SquareParameters,
        core=square,
    ),
)
