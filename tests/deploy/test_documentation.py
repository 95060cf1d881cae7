"""docs/deployment.md speaks of what there is."""

from __future__ import annotations

import re

from support.deployed import ROOT, settings_of

TEXT = (ROOT / "docs" / "deployment.md").read_text()


def test_every_setting_that_is_named_is_one() -> None:
    names = set(re.findall(r"\bHOLDFAST_[A-Z_]+", TEXT))
    assert len(names) > 8
    settings_of(dict.fromkeys(names, ""))


def test_every_part_of_the_manifests_is_described() -> None:
    told = set(re.findall(r"^\| `([a-z/]+)` \| [^|]+ \|$", TEXT.partition("## Kubernetes")[2], re.MULTILINE))
    there = {
        str(path.parent.relative_to(ROOT / "deploy" / "kubernetes"))
        for path in (ROOT / "deploy" / "kubernetes").rglob("kustomization.yaml")
    }
    assert told == there


def test_every_service_and_variable_of_the_compose_file_is_described() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    told = TEXT.partition("## Compose")[2].partition("## Kubernetes")[0] + TEXT.partition("Without CUDA")[2]
    for name in set(re.findall(r"\$\{([A-Z_]+)", compose)):
        assert name in told, name
    for profile in set(re.findall(r"profiles: \[(\w+)\]", compose)) - {"keys"}:
        assert f"--profile {profile}" in told


def test_what_a_link_leads_to_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
