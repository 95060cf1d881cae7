"""How the load goes over the time of a run: the stages of each shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtests.options import Options

#: Stages of a ramp, at most.
_RAMP = 20
#: A spike's time before, during and after, as shares; and the load outside of it, as a share of that within.
_SPIKE = (0.4, 0.2, 0.4)
_CALM = 0.25
#: The share of a stage, and the most seconds, that a level takes to settle and is not measured.
_SETTLING, _MOST_SETTLING = 0.25, 10.0


@dataclass(frozen=True)
class Stage:
    """A number of users for some time."""

    users: int
    seconds: float


def stages_of(options: Options) -> list[Stage]:
    """The stages of a run, in order. They take all of its time, but for steps of a given time."""
    users, seconds = options.users, float(options.seconds)
    if options.shape == "ramp":
        count = max(1, min(users, _RAMP, options.seconds))
        return [Stage(math.ceil(users * (n + 1) / count), seconds / count) for n in range(count)]
    if options.shape == "spike":
        calm = max(1, round(users * _CALM))
        loads = (calm, users, calm)
        return [Stage(load, seconds * share) for load, share in zip(loads, _SPIKE, strict=True)]
    if options.shape == "steps":
        levels = [*range(options.step_users, users, options.step_users), users]
        each = float(options.step_time) or seconds / len(levels)
        fitting = levels[: max(1, int(seconds / each))]
        return [Stage(level, each) for level in fitting]
    return [Stage(users, seconds)]


def settling(stage: Stage) -> float:
    """Seconds after a stage's beginning that are not measured."""
    return min(stage.seconds * _SETTLING, _MOST_SETTLING)
