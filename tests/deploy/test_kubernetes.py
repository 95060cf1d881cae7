"""deploy/kubernetes is what Kubernetes takes, and sets up what Holdfast understands."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError
from support.deployed import ROOT, containers, drain_seconds, settings_of
from support.gateway import gateway
from support.kubernetes import CUSTOM, ROOTS, Manifest, check, environment_of, pod_of, rendered, written
from support.peers import interpreter

from holdfast.version import __version__


def of_kind(kind: str, manifests: list[Manifest], name: str = "") -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind and name in each["metadata"]["name"]]


@pytest.fixture(params=ROOTS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(request.param)


def test_everything_that_is_written_follows_the_schemas() -> None:
    kinds = set()
    for manifest in written():
        kinds.add(manifest["kind"])
        if manifest["kind"] not in CUSTOM:
            check(manifest)
        if pod := pod_of(manifest):
            check({"apiVersion": "v1", "kind": "Pod", "spec": pod})
    assert kinds >= {"Deployment", "StatefulSet", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    assert kinds >= {"NetworkPolicy", *CUSTOM}


def test_what_is_rendered_follows_the_schemas(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            check(manifest)
        if pod := pod_of(manifest):
            check({"apiVersion": "v1", "kind": "Pod", "spec": pod})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicaCount"), 2),
        (("spec", "template", "spec", "containers", 0, "readOnlyRootFilesystem"), True),
        (("spec", "template", "spec", "containers", 0, "readinessProbe", "httpGet", "port"), 1.5),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "50s"),
    ],
)
def test_what_is_misspelt_is_found(path: tuple[str | int, ...], value: object) -> None:
    (manifest,) = of_kind("Deployment", list(written()), "gateway")
    changed: Any = copy.deepcopy(manifest)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        check(changed)


def test_settings_are_settings(manifests: list[Manifest]) -> None:
    seen = 0
    for manifest in manifests:
        for container in containers(pod_of(manifest) or {"containers": []}):
            environment = environment_of(container, manifests)
            if container["image"].startswith("holdfast-gateway"):
                seen += 1
                settings = settings_of(environment)
                assert settings.port == 8000
                assert settings.keys_file is not None
                assert not settings.allow_unauthenticated
                assert settings.jobs_database.startswith("postgresql://")
            else:
                settings_of(environment)
    assert seen


def test_settings_that_are_written_are_settings() -> None:
    lines = (ROOT / "deploy/kubernetes/base/settings.env").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings_of(environment).drain_delay > 0


def test_torchserve_is_what_the_gateway_beside_it_uses() -> None:
    manifests = rendered("overlays/torchserve")
    (deployment,) = of_kind("Deployment", manifests, "gateway")
    pod = pod_of(deployment)
    assert pod is not None
    (main,) = pod["containers"]
    assert settings_of(environment_of(main, manifests)).backend == "torchserve"
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"


def test_pods_have_time_to_drain(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        pod = pod_of(manifest)
        if pod is None or manifest["metadata"]["name"] == "holdfast-postgres":
            continue
        settings = settings_of(environment_of(pod["containers"][0], manifests))
        needed = (
            settings.jobs_drain + 5 if "worker" in manifest["metadata"]["name"] else drain_seconds(settings)
        )
        assert pod["terminationGracePeriodSeconds"] >= needed


def test_pods_may_do_nothing_that_they_need_not(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        pod = pod_of(manifest)
        if pod is None:
            continue
        assert pod["enableServiceLinks"] is False  # or HOLDFAST_PORT is a service's
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
        mounted = {mount["name"] for each in containers(pod) for mount in each["volumeMounts"]}
        claims = manifest["spec"].get("volumeClaimTemplates", ())
        assert mounted == {each["name"] for each in pod["volumes"]} | {
            each["metadata"]["name"] for each in claims
        }


def test_whatever_selects_pods_finds_some(manifests: list[Manifest]) -> None:
    pods = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in manifests
        if each["kind"] in ("Deployment", "StatefulSet")
    ]
    for manifest in manifests:
        spec = manifest.get("spec", {})
        selector = spec.get("selector") if manifest["kind"] != "ServiceMonitor" else None
        labels = (selector or {}).get("matchLabels", selector) or spec.get("podSelector", {}).get(
            "matchLabels"
        )
        if labels:
            assert any(labels.items() <= pod.items() for pod in pods), manifest["metadata"]["name"]
    for scaler in of_kind("HorizontalPodAutoscaler", manifests):
        assert of_kind("Deployment", manifests, scaler["spec"]["scaleTargetRef"]["name"])


def test_images_are_of_this_version(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        for container in containers(pod_of(manifest) or {"containers": []}):
            if container["image"].startswith("holdfast-"):
                assert container["image"].endswith(f":{__version__}")


@pytest.mark.anyio
async def test_probes_ask_for_what_there_is(tiny_store: Path) -> None:
    probes = [
        container[kind]["httpGet"]
        for manifest in written()
        for container in containers(pod_of(manifest) or {"containers": []})
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        if "httpGet" in container.get(kind, {})
    ]
    assert len(probes) == 5
    async with gateway(tiny_store) as started:
        for probe in probes:
            assert (await started.client.get(probe["path"])).status_code == 200
            assert probe["port"] in ("http", 8000)


def test_the_operators_alerts_are_those_of_prometheus() -> None:
    (rule,) = of_kind("PrometheusRule", list(written()))
    alerts = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    assert rule["spec"] == alerts


#: Walks KServe's own models: a field that they do not have, or a value of another type, is an error.
KSERVE = """
import json, re, sys
import kserve, kubernetes.client
def check(kind, value, path):
    if kind.startswith("list["):
        assert isinstance(value, list), path
        for i, each in enumerate(value): check(kind[5:-1], each, f"{path}[{i}]")
        return
    if kind.startswith("dict("):
        assert isinstance(value, dict), path
        return
    if kind in ("str", "int", "bool", "float"):
        assert type(value).__name__ == kind or kind == "str", f"{path} is {value!r}, not {kind}"
        return
    model = getattr(kserve, kind, None) or getattr(kubernetes.client, kind, None)
    if model is None or not hasattr(model, "openapi_types"): return
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    for key, each in value.items():
        assert key in names, f"{path} has no {key}"
        check(model.openapi_types[names[key]], each, f"{path}.{key}")
check("V1beta1InferenceService", json.load(sys.stdin), "InferenceService")
"""


def kserve_complains(manifest: Manifest) -> str:
    import json

    done = subprocess.run(
        [interpreter("kserve"), "-c", KSERVE],
        input=json.dumps(manifest),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def test_inference_service_is_one_by_kserves_models() -> None:
    (manifest,) = of_kind("InferenceService", list(written()))
    assert kserve_complains(manifest) == ""
    manifest["spec"]["predictor"]["minReplica"] = 1
    assert "has no minReplica" in kserve_complains(manifest)
