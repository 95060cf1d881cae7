"""What can be chosen on the command line, beside locust's own options.

Values stay plain (numbers, texts, lists), because a master sends them to its workers.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, Namespace
from dataclasses import dataclass
from typing import Any

from loadtests.knee import Limits
from loadtests.thresholds import Threshold

WORKLOADS = ("closed", "open")
SHAPES = ("constant", "ramp", "spike", "soak", "steps")

#: Where -u or -t are not given.
DEFAULT_USERS = 10
DEFAULT_SECONDS, DEFAULT_SOAK_SECONDS = 60, 1800

#: A run is counted in about so many windows at most, however long it is.
_MOST_WINDOWS = 600
#: Seconds of a window of a short run, whose levels are short, too.
_FINEST = 0.25

_THRESHOLDS = ("--fail-ratio", "--refusal-ratio", "--p95", "--p99")


@dataclass(frozen=True)
class Options:
    """What was chosen; see :func:`add_options` for what each is."""

    workload: str
    arrival_rate: float
    think: float
    shape: str
    users: int
    seconds: int
    spawn_rate: float
    step_users: int
    step_time: int
    max_requests: int
    max_in_flight: int
    drain: float
    patience: float
    model: str
    seed: int
    allow_remote: bool
    thresholds: tuple[Threshold, ...]
    limits: Limits
    summary_json: str

    @property
    def is_open(self) -> bool:
        """Whether requests arrive whether or not the last ones have their answers."""
        return self.workload == "open"

    @property
    def resolution(self) -> float:
        """Seconds of a window, in which requests are counted."""
        fine = self.seconds <= _FINEST * _MOST_WINDOWS
        return _FINEST if fine else float(math.ceil(self.seconds / _MOST_WINDOWS))

    def load(self, users: int) -> float:
        """How much load so many users are: themselves, or their arrivals per second."""
        return users * self.arrival_rate if self.is_open else float(users)


def add_options(parser: Any) -> None:
    """Add the options to locust's parser."""
    group = parser.add_argument_group("Holdfast", "Load on a Holdfast gateway")
    for option, what, settings in _table():
        group.add_argument(option, help=" ".join(what.split()), **settings)


def _table() -> list[tuple[str, str, dict[str, Any]]]:
    """Every option, what it is, and how it is read."""
    return [
        (
            "--workload",
            """closed (as it is without): each user sends its next request when it has the answer to the last.
            open: each user is a Poisson process of arrivals, and latencies count from when a request was to
            be sent.""",
            {"choices": WORKLOADS, "default": "closed"},
        ),
        (
            "--arrival-rate",
            "Of the open workload: arrivals per second that each user stands for (1).",
            {"type": _positive, "default": 1.0, "metavar": "PER_SECOND"},
        ),
        (
            "--think",
            "Of the closed workload: mean of the exponential time between answer and next request (0).",
            {"type": _number, "default": 0.0, "metavar": "SECONDS"},
        ),
        (
            "--shape",
            """How the load goes: constant (as it is without); ramp, up to -u over the whole time; spike, a
            quarter of -u but for the middle fifth of the time; soak, constant for half an hour; steps, up to
            -u until the server is full.""",
            {"choices": SHAPES, "default": "constant"},
        ),
        (
            "--step-users",
            "Users of a step (an eighth of -u).",
            {"type": _count, "default": 0, "metavar": "N"},
        ),
        (
            "--step-time",
            "Seconds of a step (-t, shared out evenly).",
            {"type": _count, "default": 0, "metavar": "SECONDS"},
        ),
        (
            "--max-requests",
            "After so many the run ends (100000).",
            {"type": _count, "default": 100_000, "metavar": "N"},
        ),
        (
            "--max-in-flight",
            """Connections of the open workload in each process (256). What arrives when all are taken waits,
            and its time counts.""",
            {"type": _count, "default": 256, "metavar": "N"},
        ),
        (
            "--drain",
            "In the end, time for what is on its way to be answered (30).",
            {"type": _number, "default": 30.0, "metavar": "SECONDS"},
        ),
        (
            "--patience",
            "After so long without a byte a request counts as unanswered (45).",
            {"type": _positive, "default": 45.0, "metavar": "SECONDS"},
        ),
        ("--model", "NAME (the gateway's default).", {"default": "", "env_var": "HOLDFAST_MODEL"}),
        ("--seed", "Of who asks what and when (0).", {"type": int, "default": 0}),
        ("--allow-remote", "Let --host be another machine. It must be yours.", {"action": "store_true"}),
        (
            "--fail-ratio",
            "More failures than this fail the run (0). NAME may have *. Repeatable, as the next three are.",
            _threshold("--fail-ratio"),
        ),
        (
            "--refusal-ratio",
            "More refusals (429 and 503 with Retry-After) than this fail the run.",
            _threshold("--refusal-ratio"),
        ),
        ("--p95", "More milliseconds for 95 %% of the requests fail the run.", _threshold("--p95")),
        ("--p99", "More milliseconds for 99 %% of the requests fail the run.", _threshold("--p99")),
        (
            "--knee-p99",
            "A server that is slower than this is full (250).",
            {"type": _positive, "default": 250.0, "metavar": "MS"},
        ),
        (
            "--knee-fail-ratio",
            "A server that fails or refuses more than this is full (0.01).",
            {"type": _share, "default": 0.01, "metavar": "SHARE"},
        ),
        (
            "--knee-of",
            "The requests that say whether a server is full; NAME may have * (all).",
            {"default": "*", "metavar": "NAME"},
        ),
        (
            "--summary-json",
            "Write the summary there, too; - for standard output.",
            {"default": "", "metavar": "FILE"},
        ),
    ]


def settle(parsed: Namespace) -> None:
    """Give what locust leaves open its value, so that every run is bounded."""
    parsed.num_users = DEFAULT_USERS if parsed.num_users is None else parsed.num_users
    if parsed.run_time is None:
        parsed.run_time = DEFAULT_SOAK_SECONDS if parsed.shape == "soak" else DEFAULT_SECONDS
    # What master and workers must agree on travels under names of its own: locust keeps its own to itself.
    parsed.holdfast_users = parsed.num_users
    parsed.holdfast_seconds = int(parsed.run_time)


def read_options(parsed: Namespace) -> Options:
    """The options of a run, after :func:`settle` on the process that leads it."""
    thresholds = [
        Threshold.parse(option, text)
        for option in _THRESHOLDS
        for text in (getattr(parsed, option[2:].replace("-", "_")) or ())
    ]
    if not any(each.option == "--fail-ratio" and each.pattern == "*" for each in thresholds):
        thresholds.insert(0, Threshold("--fail-ratio", 0.0))
    users = max(1, parsed.holdfast_users)
    return Options(
        workload=parsed.workload,
        arrival_rate=parsed.arrival_rate,
        think=parsed.think,
        shape=parsed.shape,
        users=users,
        seconds=max(1, parsed.holdfast_seconds),
        spawn_rate=parsed.spawn_rate or users,
        step_users=parsed.step_users or math.ceil(users / 8),
        step_time=parsed.step_time,
        max_requests=parsed.max_requests,
        max_in_flight=parsed.max_in_flight,
        drain=parsed.drain,
        patience=parsed.patience,
        model=parsed.model,
        seed=parsed.seed,
        allow_remote=parsed.allow_remote,
        thresholds=tuple(thresholds),
        limits=Limits(parsed.knee_p99, parsed.knee_fail_ratio, parsed.knee_of),
        summary_json=parsed.summary_json,
    )


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ArgumentTypeError(f"{text!r} is not a number from 0 on.")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number == 0:
        raise ArgumentTypeError("This must be more than 0.")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if number > 1:
        raise ArgumentTypeError(f"{text!r} is not a share from 0 to 1.")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on.")
    return int(text)


def _threshold(option: str) -> dict[str, Any]:
    def check(text: str) -> str:
        try:
            Threshold.parse(option, text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None
        return text

    unit = "SHARE" if option.endswith("ratio") else "MS"
    return {"type": check, "action": "append", "metavar": f"[NAME=]{unit}"}
