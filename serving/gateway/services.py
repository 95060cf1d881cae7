"""What the routes of one gateway share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from serving.gateway.admission import Admission
from serving.gateway.attack.service import AttackService
from serving.gateway.classification import Classifier
from serving.gateway.decoding import Decoder
from serving.gateway.gate import Gate
from serving.gateway.jobs.service import JobService
from serving.gateway.lifecycle import Lifecycle
from serving.gateway.metrics import Metrics
from serving.playground.assets import Assets
from serving.settings import Settings


@dataclass(frozen=True)
class Services:
    """One gateway's parts. The application owns them; a route finds them with :func:`services_of`."""

    settings: Settings
    lifecycle: Lifecycle
    admission: Admission
    decoder: Decoder
    classifier: Classifier
    metrics: Metrics
    gate: Gate
    templates: Mapping[Callable[..., Any], str]
    attacks: AttackService
    jobs: JobService
    playground: Assets | None


def services_of(request: Request) -> Services:
    """The services of the gateway that a request came to."""
    services: Services = request.app.state.services
    return services
