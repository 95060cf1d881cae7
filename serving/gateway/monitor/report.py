"""Putting a gateway's last minutes into one answer."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from holdfast.version import __version__
from serving.backends.load import Loaded
from serving.gateway.monitor.latencies import Latencies
from serving.gateway.monitor.recent import COUNTS, STEP, AttackKey, ModelKey, Slot, Strikes, Tally
from serving.gateway.monitor.schemas import (
    ClassificationSeries,
    ClassificationTotals,
    MonitorAttack,
    MonitorAttacks,
    MonitorClassifications,
    MonitorJobs,
    MonitorModel,
    MonitorQueue,
    MonitorReport,
    MonitorRequests,
    MonitorServer,
    RequestSeries,
    RequestTotals,
)
from serving.gateway.services import Services

_QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}

#: Of a step without any.
_NOTHING = Tally()


async def report(services: Services, minutes: int) -> MonitorReport:
    """What there is to tell of the last minutes, and of this moment."""
    lifecycle, attacker = services.lifecycle, services.attacks.attacker
    backend = lifecycle.backend
    load = backend.load() if isinstance(backend, Loaded) else None
    counts = await services.jobs.counts()
    ready = await lifecycle.ready()
    recent = services.metrics.recent
    slots, age = recent.slots(minutes)
    time = datetime.now(UTC)
    subjects = sorted({subject for slot in slots for subject in slot.classified})
    return MonitorReport(
        time=time,
        begin=time - timedelta(seconds=age),
        step_s=STEP,
        steps=len(slots),
        server=MonitorServer(
            state=lifecycle.state,
            ready=ready,
            uptime_s=round(recent.uptime(), 1),
            memory_bytes=_memory(),
            backend=backend.name,
            versions=_versions(),
        ),
        queue=None
        if load is None
        else MonitorQueue(waiting=load.waiting, running=load.running, limit=load.limit),
        attacks=MonitorAttacks(waiting=attacker.waiting, running=attacker.running),
        jobs=None if counts is None else MonitorJobs(**counts),
        waiting=[slot.waiting for slot in slots],
        in_flight=[slot.in_flight for slot in slots],
        requests=_requests([slot.requests for slot in slots]),
        attack_requests=_requests([slot.attack_requests for slot in slots]),
        classifications=_classifications([_sum(slot.classified.values()) for slot in slots]),
        models=[_model(slots, subject) for subject in subjects],
        attacked=_attacked(slots),
    )


def _model(slots: Sequence[Slot], subject: ModelKey) -> MonitorModel:
    found = _classifications([slot.classified.get(subject, _NOTHING) for slot in slots])
    return MonitorModel(**subject._asdict(), total=found.total, series=found.series)


def _requests(tallies: Sequence[Tally]) -> MonitorRequests:
    return MonitorRequests(
        total=RequestTotals(**_figures(_sum(tallies))),
        series=RequestSeries(**_columns(tallies, RequestSeries)),
    )


def _classifications(tallies: Sequence[Tally]) -> MonitorClassifications:
    return MonitorClassifications(
        total=ClassificationTotals(**_figures(_sum(tallies))),
        series=ClassificationSeries(**_columns(tallies, ClassificationSeries)),
    )


def _columns(tallies: Sequence[Tally], kind: type[RequestSeries]) -> dict[str, list[Any]]:
    rows = [_NO_FIGURES if tally is _NOTHING else _figures(tally) for tally in tallies]
    return {name: [row[name] for row in rows] for name in kind.model_fields}


def _sum(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        if tally is not _NOTHING:
            whole.add(tally)
    return whole


def _figures(tally: Tally) -> dict[str, Any]:
    judged = tally.natural + tally.uncertain + tally.suspect
    return {
        **{name: getattr(tally, name) for name in COUNTS},
        "unjudged": max(0, tally.images - judged),
        "largest_batch": tally.largest_batch,
        **_milliseconds(tally.latencies, _QUANTILES),
    }


def _attacked(slots: Sequence[Slot]) -> list[MonitorAttack]:
    whole: dict[AttackKey, Strikes] = {}
    for slot in slots:
        for attack, strikes in slot.attacks.items():
            whole.setdefault(attack, Strikes()).add(strikes)
    return [
        MonitorAttack(
            **attack._asdict(),
            fooled=strikes.fooled,
            held=strikes.held,
            **_milliseconds(strikes.latencies, ("p50_ms", "p95_ms")),
        )
        for attack, strikes in sorted(whole.items())
    ]


def _milliseconds(latencies: Latencies, names: Iterable[str]) -> dict[str, float | None]:
    names = list(names)
    found = latencies.quantiles([_QUANTILES[name] for name in names])
    return {
        name: None if seconds is None else float(f"{seconds * 1000:.3g}")
        for name, seconds in zip(names, found, strict=True)
    }


def _memory() -> int | None:
    """Bytes that the process holds, where Linux tells."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@cache
def _versions() -> dict[str, str]:
    found = {"holdfast": __version__, "python": platform.python_version()}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


_NO_FIGURES = _figures(_NOTHING)
