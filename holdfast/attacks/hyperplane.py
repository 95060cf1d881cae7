"""The way to the nearest image on a hyperplane: what FAB goes by."""

from __future__ import annotations

from holdfast.attacks.arrays import each, namespace
from holdfast.attacks.oracle import Array

#: A slope below this share of the image's steepest helps nothing and only costs digits.
_FLAT = 1e-8
_TINY = 1e-30


def to_hyperplane(images: Array, slope: Array, gap: Array, norm: str) -> Array:
    """The smallest change δ with ⟨slope, δ⟩ = gap and images + δ in [0, 1] (Croce & Hein 2020, eq. 7).

    Every value moves in the direction in which it helps, by min(λ r_i, room_i), where r_i is 1 in L∞ and
    ``abs(slope_i)`` in L2. What is left is one equation for each image, Σ abs(slope_i) min(λ r_i, room_i) =
    abs(gap). Its left side is concave and piecewise linear in λ, so that Newton's method climbs from 0 to the
    root without passing it, and arrives after finitely many steps, with no sorting (Cominetti, Mascarenhas &
    Silva 2014, A Newton's method for the continuous quadratic knapsack problem). Five to fifteen are usual.

    Args:
        images: (n, c, h, w) in [0, 1].
        slope: (n, c, h, w).
        gap: (n,), of either sign.
        norm: ``linf`` or ``l2``, in which δ is smallest.

    Returns:
        δ (n, c, h, w). Where no image of [0, 1] is on the hyperplane, the way to the one that comes nearest;
        where the slope is zero, nothing moves.
    """
    xp = namespace(images)
    weight = xp.abs(slope)
    steepest = xp.clip(xp.max(weight, axis=(1, 2, 3)), _TINY, None)
    weight = weight / each(steepest)
    useful = weight > _FLAT
    forward = (slope > 0) == each(gap > 0)
    room = xp.where(forward, 1 - images, images)
    room = xp.where(useful, room, xp.zeros_like(room))
    rate = xp.ones_like(weight) if norm == "linf" else xp.clip(weight, _FLAT, None)
    edge = room / rate  # the λ at which a value is at the edge
    whole, gain = weight * room, weight * rate
    need = xp.minimum(xp.abs(gap) / steepest, xp.sum(whole, axis=(1, 2, 3)))
    zero = xp.zeros_like(gain)
    reach = xp.zeros_like(need)
    stuck = xp.full_like(need, -1.0)
    while True:
        full = edge <= each(reach)
        count = xp.sum(xp.astype(full, need.dtype), axis=(1, 2, 3))
        if not bool(xp.any(count > stuck)):
            break
        stuck = count
        at_edge = xp.sum(xp.where(full, whole, zero), axis=(1, 2, 3))
        climb = xp.sum(xp.where(full, zero, gain), axis=(1, 2, 3))
        ahead = (need - at_edge) / xp.clip(climb, _TINY, None)
        reach = xp.where(climb > 0, xp.maximum(ahead, reach), reach)
    change = xp.minimum(edge, each(reach)) * rate
    return xp.where(forward, change, -change)
