"""What dashboards and alerts ask of Prometheus, the gateway tells it: every name and every label."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.gateway import gateway
from support.tiny import solid_png

from serving.gateway.problem_kinds import KINDS
from serving.settings import PREFIX, Settings

pytestmark = pytest.mark.anyio

DEPLOY = Path(__file__).parents[2] / "deploy"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
DASHBOARD = DEPLOY / "grafana" / "holdfast.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

#: Names that Prometheus itself gives to what it scrapes, and labels that it adds.
OF_PROMETHEUS = {"up", "ALERTS"}
LABELS_OF_PROMETHEUS = {"job", "instance", "le", "alertname"}

_METRIC = re.compile(r"\b((?:holdfast|process|python)_[a-z_]+|up)\b")
_MATCHERS = re.compile(r"\{([^{}]*=[^{}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^()]*)\)")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


@pytest.fixture
async def exposed(tiny_store: Path, anyio_backend: str) -> dict[str, set[str]]:
    """What a gateway at work exposes: the labels of every sample, by its name."""
    async with gateway(tiny_store) as started:
        await started.classify(solid_png("red"))
        metrics = started.services.metrics
        metrics.count_attack("tiny", "1", "pgd", "none", True, 0.1)
        metrics.set_jobs("queued", 1)
        metrics.count_auth_failure("missing")
        metrics.count_rate_limited("key")
        metrics.count_refused_connection("header-timeout")
        metrics._verdicts.labels("tiny", "1", "none", "suspect").inc()
        text = (await started.client.get("/metrics")).text
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def test_there_are_panels_and_alerts_for_what_matters() -> None:
    assert len(list(expressions())) > 30
    assert {rule["alert"] for rule in rules()} >= {
        "HoldfastSuspectTraffic",
        "HoldfastBackendDown",
        "HoldfastSlow",
        "HoldfastQueueNearlyFull",
        "HoldfastErrors",
    }


async def test_every_metric_that_is_asked_for_is_exposed(exposed: dict[str, set[str]]) -> None:
    for title, expression in expressions():
        names = set(_METRIC.findall(expression)) - OF_PROMETHEUS
        assert names or "up" in expression, title
        assert names <= set(exposed), f"{title}: {sorted(names - set(exposed))}"


async def test_every_label_that_is_asked_for_is_exposed(exposed: dict[str, set[str]]) -> None:
    for title, expression in expressions():
        known = set(LABELS_OF_PROMETHEUS)
        for name in set(_METRIC.findall(expression)) & set(exposed):
            known |= exposed[name]
        for matchers in _MATCHERS.findall(expression):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert asked <= known, f"{title}: {sorted(asked - known)}"
        for grouping in _GROUPING.findall(expression):
            asked = {label.strip() for label in grouping.split(",")}
            assert asked <= known, f"{title}: {sorted(asked - known)}"


async def test_everything_of_the_gateways_own_is_on_the_dashboard(exposed: dict[str, set[str]]) -> None:
    shown = " ".join(expression for _, expression in expressions())
    own = {
        re.sub(r"_(created|bucket|count|sum)$", "", name) for name in exposed if name.startswith("holdfast_")
    }
    missing = {name for name in own if name.removesuffix("_total") not in shown}
    assert missing <= {"holdfast_build_info"}


def test_alerts_say_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["for"]
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_do_not_lie_upon_one_another() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_are_raised_when_they_are_to_be_and_not_else() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, which Debian's package prometheus brings")
    directory = DEPLOY / "prometheus"
    for check in (
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ):
        done = subprocess.run([promtool, *check], cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_documentation_lists_exactly_what_is_exposed(exposed: dict[str, set[str]]) -> None:
    rows = re.findall(r"^\| (`holdfast_.*?) \| \w+ \| (.*?) \|", OPERATIONS.read_text(), re.MULTILINE)
    listed = {
        name: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in _METRIC.findall(names)
    }
    own = {
        re.sub(r"_(bucket|count|sum)$", "", name): labels - {"le"}
        for name, labels in exposed.items()
        if name.startswith("holdfast_")
    }
    assert listed == own


def test_documentation_names_settings_and_problems_that_there_are() -> None:
    text = OPERATIONS.read_text()
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"\bHOLDFAST_[A-Z_]+", text)) <= settings
    limits = text.partition("## Limits")[2].partition("## Metrics")[0]
    kinds = {kind.name: str(kind.status) for kind in KINDS}
    rows = re.findall(r"\| (\d{3}) \| `([a-z-]+)` \|$", limits, re.MULTILINE)
    assert len(rows) > 12
    for status, name in rows:
        assert kinds[name] == status
