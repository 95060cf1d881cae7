"""The feature matching distance between two batches (FS Definition 1)."""

from __future__ import annotations

import math

from torch import Tensor

from training.distributed import World
from training.transport.cost import cosine_cost
from training.transport.matching import MatchingOptions, make_plan


def matching_distance(clean: Tensor, moved: Tensor, options: MatchingOptions) -> Tensor:
    """D(μ, ν) = <T, C> (FS eq. 4), where mass moves within groups of the batch only.

    Each image weighs the same, in whichever group it is. With several processes, each matches its own images,
    unless ``options.gather``: then all compute the one distance of all their images, and its gradient reaches
    each process's own features, scaled so that the average over the processes, which the optimiser takes, is
    the gradient of that distance.

    Args:
        clean: Features of the clean images, (n, d).
        moved: Features of the perturbed images, (n, d).
        options: Which plan, and the groups' size.

    Returns:
        A scalar.
    """
    if options.gather:
        world = World.current(clean.device)
        clean, moved = world.gather(clean), world.gather(moved)
    total = clean.new_zeros(())
    for first, second in zip(
        stack_groups(clean, options.group), stack_groups(moved, options.group), strict=True
    ):
        cost = cosine_cost(first, second)
        share = first.shape[1] / len(clean)
        total = total + share * (make_plan(cost, options) * cost).sum()
    return total


def stack_groups(features: Tensor, largest: int) -> list[Tensor]:
    """Split a batch, in its order, into groups of nearly equal size, none above ``largest``.

    Args:
        features: (n, d), n at least 1.
        largest: The most images in a group.

    Returns:
        The groups of one size stacked, so that they are solved together: (groups, size, d), and where the
        batch does not divide evenly a second such tensor with groups smaller by one.
    """
    groups = math.ceil(len(features) / largest)
    size, longer = divmod(len(features), groups)
    cut = longer * (size + 1)
    stacks = [features[:cut].reshape(longer, size + 1, -1)] if longer else []
    return [*stacks, features[cut:].reshape(groups - longer, size, -1)]
