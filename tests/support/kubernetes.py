"""The manifests of ``deploy/kubernetes``: as they are written, and as kubectl renders them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.deployed import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
#: What `kubectl apply -k` takes.
ROOTS = ("base", "overlays/trial", "overlays/torchserve", "kserve")
#: The oldest that has sidecars by itself, and one that is current.
VERSIONS = ("1.29", "1.34")
#: What others than Kubernetes define, and what of it is a pod.
CUSTOM = ("InferenceService", "ServiceMonitor", "PrometheusRule")

Manifest = dict[str, Any]


def written() -> Iterator[Manifest]:
    """Every manifest that is whole: neither patches nor what kustomize reads itself."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name not in ("kustomization.yaml", "sidecar.yaml"):
            yield from yaml.safe_load_all(path.read_text())


@functools.cache
def _rendered(root: str) -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, which renders what kustomize puts together")
    done = subprocess.run(
        [kubectl, "kustomize", KUBERNETES / root], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(root: str) -> list[Manifest]:
    """What kubectl would apply; skips the test where there is none."""
    return list(yaml.safe_load_all(_rendered(root)))


def check(manifest: Mapping[str, Any]) -> None:
    """Hold a manifest against the schemas of Kubernetes, in which no field is unknown.

    Raises:
        kubernetes_validate.ValidationError: It is not one.
    """
    for version in VERSIONS:
        kubernetes_validate.validate(dict(manifest), version, strict=True)


def pod_of(manifest: Manifest) -> Mapping[str, Any] | None:
    """The specification of the pods that a manifest makes."""
    if manifest["kind"] in ("Deployment", "StatefulSet"):
        pod: Mapping[str, Any] = manifest["spec"]["template"]["spec"]
        return pod
    if manifest["kind"] == "InferenceService":
        own = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout")
        return {name: value for name, value in manifest["spec"]["predictor"].items() if name not in own}
    return None


def environment_of(container: Mapping[str, Any], manifests: list[Manifest]) -> dict[str, str]:
    """A container's variables; one from a secret is what the comment at the top of ``base`` says of it."""
    secrets = {"url": "postgresql://holdfast:s3cret@holdfast-postgres/holdfast", "password": "s3cret"}
    maps = {each["metadata"]["name"]: each["data"] for each in manifests if each["kind"] == "ConfigMap"}
    variables: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        variables |= maps[source["configMapRef"]["name"]]
    for each in container.get("env", ()):
        reference = each.get("valueFrom", {}).get("secretKeyRef", {})
        variables[each["name"]] = each["value"] if "value" in each else secrets[reference["key"]]
    return variables
