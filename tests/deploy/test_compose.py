"""compose.yaml is what the Compose specification has it, and sets up what Holdfast understands."""

from __future__ import annotations

import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from support.deployed import ROOT, drain_seconds, interpolate, seconds, settings_of

COMPOSE = ROOT / "compose.yaml"
OURS = ("gateway", "worker", "keys", "torchserve")


def load(**variables: str) -> dict[str, Any]:
    """The file as `docker compose config` shows it."""
    content: dict[str, Any] = interpolate(
        yaml.safe_load(COMPOSE.read_text()), {"POSTGRES_PASSWORD": "s3cret"} | variables
    )
    return content


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load()["services"]
    return found


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The specification's own, as check-jsonschema carries it."""
    vendored = (
        importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    )
    return Draft202012Validator(json.loads(vendored.read_text()))


def test_it_follows_the_specification(schema: Draft202012Validator) -> None:
    schema.validate(yaml.safe_load(COMPOSE.read_text()))
    schema.validate(load())


@pytest.mark.parametrize(
    "change", [{"read-only": True}, {"cap_drop": "ALL"}, {"depends_on": {"postgres": {"condition": "ready"}}}]
)
def test_what_is_misspelt_is_found(schema: Draft202012Validator, change: dict[str, Any]) -> None:
    content = load()
    content["services"]["gateway"] |= change
    with pytest.raises(ValidationError):
        schema.validate(content)


def test_without_a_password_it_says_where_to_read() -> None:
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        load(POSTGRES_PASSWORD="")


@pytest.mark.parametrize(
    "variables", [{}, {"HOLDFAST_BACKEND": "torchserve", "HOLDFAST_KEYS_FILE": "/srv/keys/keys.json"}]
)
def test_gateway_and_worker_are_set_up_alike(variables: dict[str, str]) -> None:
    services = load(**variables)["services"]
    gateway, worker = (settings_of(services[name]["environment"]) for name in ("gateway", "worker"))
    assert gateway.backend == variables.get("HOLDFAST_BACKEND", "onnxruntime")
    assert str(gateway.keys_file or "") == variables.get("HOLDFAST_KEYS_FILE", "")
    assert gateway.jobs_workers == 0
    assert gateway.jobs_database == worker.jobs_database == "postgresql://holdfast:s3cret@postgres/holdfast"
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "s3cret"
    settings_of(services["keys"]["environment"])


def test_every_variable_of_ours_that_is_named_is_a_setting() -> None:
    names = set(re.findall(r"\bHOLDFAST_[A-Z_]+", COMPOSE.read_text()))
    assert len(names) > 5
    settings_of(dict.fromkeys(names, ""))


def test_there_is_time_to_drain(services: dict[str, dict[str, Any]]) -> None:
    gateway = services["gateway"]
    assert seconds(gateway["stop_grace_period"]) >= drain_seconds(settings_of(gateway["environment"]))
    worker = services["worker"]
    assert seconds(worker["stop_grace_period"]) > settings_of(worker["environment"]).jobs_drain + 5


def test_nothing_is_published_but_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not any("ports" in services[name] for name in ("worker", "torchserve", "postgres", "keys"))


def test_every_container_is_confined(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_only_what_everyone_wants_starts_without_a_profile(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "profiles" not in service} == {
        "gateway",
        "worker",
        "postgres",
    }
    for name, service in services.items():
        profiles = set(service.get("profiles", ()))
        for needed in service.get("depends_on", {}):
            # It is there whenever the one that needs it is.
            assert set(services[needed].get("profiles", profiles)) >= profiles, (name, needed)


def test_whoever_is_waited_for_healthy_says_whether_it_is(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"]


def test_images_are_stages_of_the_dockerfile(services: dict[str, dict[str, Any]]) -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name in OURS:
        target = services[name]["build"]["target"]
        assert target in stages
        assert services[name]["image"] == f"holdfast:{target}"


def test_what_is_mounted_is_there() -> None:
    content = load()
    for service in content["services"].values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in content["volumes"]
        assert set(service.get("networks", ())) <= set(content["networks"])


def test_prometheus_reads_the_gateway_and_our_alerts(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "holdfast"
    assert job["static_configs"] == [{"targets": ["gateway:8000"]}]
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, which Debian's package prometheus brings")
    for part in ("compose/prometheus.yml", "prometheus/alerts.yml"):  # as the volumes put them together
        shutil.copy(ROOT / "deploy" / part, tmp_path)
    subprocess.run(
        [promtool, "check", "config", "prometheus.yml"], cwd=tmp_path, check=True, capture_output=True
    )


@pytest.mark.parametrize(
    ("named", "allowed"),
    [("", ["gateway"]), ("api.example,www.example", ["gateway", "api.example", "www.example"])],
)
def test_gateway_answers_prometheus_whatever_else_it_is_called(named: str, allowed: list[str]) -> None:
    gateway = load(HOLDFAST_ALLOWED_HOSTS=named)["services"]["gateway"]
    assert list(settings_of(gateway["environment"]).allowed_hosts) == allowed


def test_grafana_finds_prometheus_and_the_dashboard(services: dict[str, dict[str, Any]]) -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "holdfast.yml").read_text())["providers"]
    mounted = [mount.split(":")[1] for mount in services["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/holdfast.json" in mounted
