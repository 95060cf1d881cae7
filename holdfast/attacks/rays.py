"""RayS (Chen & Gu 2020, Algorithms 1 to 3): the smallest L∞ perturbation, from the predicted class alone.

It searches the directions in {−1, 1}^d for the one along which the decision boundary is nearest. Blocks of
the best direction's signs are flipped, from halves down to single values; a flip is kept where the boundary
along it is nearer. One query, at the best radius so far, tells whether it is (the paper's fast check); only
then is the boundary looked for. Nothing here is a gradient or its estimate, so nothing can be masked.

Departures that save queries: the paper bisects from 0 to the best radius, while here strides go down from the
best radius, the first half as long as the last gain and each twice as long as the one before, until the model
holds, and only the last is bisected; and an image whose last sweep of single values gained nothing is done.

Every image has its own place in the search, and each call of the model asks one question for each image.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from holdfast.attacks.arrays import copy, cut, each, like, namespace, put, take
from holdfast.attacks.definition import Attack
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import Cost, MinimalParameters
from holdfast.attacks.problem import Problem
from holdfast.attacks.targets import TargetableParameters


class RaySParameters(MinimalParameters, TargetableParameters):
    """A search for the nearest boundary along directions of signs."""

    query_budget: Annotated[
        int, Field(ge=1, le=1_000_000, description="The most questions asked for one image.")
    ] = 10_000
    tolerance: Annotated[
        float,
        Field(
            ge=1e-6,
            le=1,
            description="How exactly the boundary's distance is found, in image units. The authors' code has "
            "0.001 in L2, which is this for a colour image of 32 x 32.",
        ),
    ] = 2e-5
    stop_at_success: Annotated[
        bool,
        Field(
            description="Leave an image alone once it is fooled within epsilon, if that is given; if not, go "
            "on to its smallest perturbation."
        ),
    ] = True

    @property
    def norm(self) -> Literal["linf", "l2"]:
        """The norm that is minimised."""
        return "linf"

    def cost(self, classes: int) -> Cost:
        """The query budget."""
        del classes
        return Cost(forwards=self.query_budget)


def rays(problem: Problem, parameters: RaySParameters) -> Array:
    """The nearest image found; the original where there was none.

    The mean over images of the radius found, ``AttackResult.linf``, is the paper's ADBD.
    """
    p = parameters
    search = _Search(problem.images, p.tolerance)
    enough = p.epsilon if p.stop_at_success and p.epsilon is not None else 0.0
    rows = problem.rows
    for question in range(p.query_budget):
        search.hear(rows, problem.fooled(problem.ask(search.question(rows), rows), rows))
        problem.progress(question + 1, p.query_budget)
        rows = rows[search.going(rows, enough)]
        if not len(rows):
            break
    return search.nearest()


class _Search:
    """The place of each of n images in the search.

    What is tried is the best direction with one block's signs flipped: it is checked at the best radius, and
    searched for its boundary if it passes. The model holds at ``low`` along it and is fooled at ``high``.

    Args:
        images: (n, c, h, w), the originals.
        tolerance: How exactly the boundary is found.
    """

    def __init__(self, images: Array, tolerance: float) -> None:
        n = images.shape[0]
        xp = namespace(images)
        self._images, self._tolerance = images, tolerance
        self._signs = xp.reshape(xp.ones_like(images), (n, -1))
        self._values: int = self._signs.shape[1]
        self._place = like(np.arange(self._values)[None, :], images)
        self._found, self._improved, self._exhausted, self._searching = (np.zeros(n, bool) for _ in range(4))
        self._radius, self._high, self._asked, self._stride = (np.ones(n, np.float32) for _ in range(4))
        self._low, self._gain = (np.zeros(n, np.float32) for _ in range(2))
        self._blocks, self._size = np.ones(n, np.int64), np.full(n, self._values)
        self._block = np.zeros(n, np.int64)

    def question(self, rows: np.ndarray) -> Array:
        """The image to ask the model about for each of the rows, (k, c, h, w)."""
        low, high, stride = self._low[rows], self._high[rows], self._stride[rows]
        within = np.maximum(high - stride, (low + high) / 2)
        self._asked[rows] = np.where(self._searching[rows], within, high)
        return self._along(self._tried(rows), self._asked, rows)

    def hear(self, rows: np.ndarray, fooled: np.ndarray) -> None:
        """Take in the model's answers to :meth:`question`, (k,)."""
        searching, asked = self._searching[rows], self._asked[rows]
        self._high[rows[fooled]] = asked[fooled]
        self._low[rows[searching & ~fooled]] = asked[searching & ~fooled]
        self._stride[rows[searching & fooled & (self._low[rows] == 0)]] *= 2
        self._searching[rows] = searching | fooled
        ended = self._searching[rows] & (self._high[rows] - self._low[rows] <= self._tolerance)
        if ended.any():
            self._accept(rows[ended])
        self._next_block(rows[ended | ~self._searching[rows]])

    def going(self, rows: np.ndarray, enough: float) -> np.ndarray:
        """Which of the rows are worth another question, (k,): not those within ``enough``, nor at the end."""
        fooled = self._found[rows] | self._searching[rows]  # at ``high``, then
        done: np.ndarray = (fooled & (self._high[rows] <= max(enough, self._tolerance))) | self._exhausted[
            rows
        ]
        return ~done

    def nearest(self) -> Array:
        """The nearest image found for each original, (n, c, h, w); the original where there was none."""
        self._accept(np.flatnonzero(self._searching))  # the questions ran out on the way
        found = np.flatnonzero(self._found)
        images = copy(self._images)
        put(images, found, self._along(take(self._signs, found), self._radius, found))
        return images

    def _tried(self, rows: np.ndarray) -> Array:
        first = self._block[rows] * self._size[rows]
        first, last = (like(edge[:, None], self._images) for edge in (first, first + self._size[rows]))
        best = take(self._signs, rows)
        flipped = (self._place >= first) & (self._place < last)
        return namespace(best).where(flipped, -best, best)

    def _along(self, signs: Array, radius: np.ndarray, rows: np.ndarray) -> Array:
        """The images at the radii along the directions ``signs``, an array that nothing else needs."""
        originals = take(self._images, rows)
        offset = namespace(signs).reshape(signs, tuple(originals.shape))
        offset *= each(like(radius[rows], originals))
        offset += originals
        return cut(offset, 0.0, 1.0)

    def _accept(self, rows: np.ndarray) -> None:
        gain = self._radius[rows] - self._high[rows]
        put(self._signs, rows, self._tried(rows))
        # The first radius found is no gain over one before.
        self._gain[rows] = np.where(self._found[rows], gain, self._high[rows] / 4)
        self._improved[rows] |= ~self._found[rows] | (gain > 0)
        self._radius[rows] = self._high[rows]
        self._found[rows] = True
        self._searching[rows] = False

    def _next_block(self, rows: np.ndarray) -> None:
        if not len(rows):
            return
        self._low[rows], self._high[rows] = 0, self._radius[rows]
        stride = np.maximum(self._gain[rows] / 2, np.float32(self._tolerance))
        self._stride[rows] = np.where(self._found[rows], stride, 1)
        self._block[rows] += 1
        over = rows[self._block[rows] * self._size[rows] >= self._values]
        # Where no single value's flip gained anything, none will: the answers would be the same.
        self._exhausted[over] = (self._size[over] == 1) & ~self._improved[over]
        self._improved[over] = False
        self._block[over] = 0
        self._blocks[over] = np.minimum(2 * self._blocks[over], self._values)
        self._size[over] = -(-self._values // self._blocks[over])


ATTACKS = (
    Attack(
        name="rays",
        summary="The smallest L∞ perturbation from predicted classes alone, by flipping blocks of signs.",
        source="Chen & Gu 2020, RayS: A Ray Searching Method for Hard-label Adversarial Attack.",
        access="decision",
        parameters=RaySParameters,
        core=rays,
        minimises=True,
    ),
)
