"""What the Dockerfile says without being built; scripts/test-image builds it and runs what comes of it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from support.deployed import ROOT, settings_of

from holdfast.version import __version__
from serving.gateway.app import make_gate
from serving.gateway.metrics import Metrics
from serving.gateway.problems import Problem

DOCKERFILE = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
FINAL = ("gateway", "torchserve", "train")


def stages() -> dict[str, str]:
    """The text of each stage, by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("stage", FINAL)
def test_image_runs_as_nobody_in_particular_and_says_what_it_is(stage: str) -> None:
    text = stages()[stage]
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0]) == ["holdfast"]
    assert re.findall(r"^ARG VERSION=(.*)$", text, re.MULTILINE) == [__version__]
    labels = re.findall(r'org\.opencontainers\.image\.(\w+)="[^"]+"', text)
    assert labels == ["title", "description", "licenses", "version", "revision"]


def test_only_the_gateway_is_reached_from_outside() -> None:
    exposed = {stage: re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE) for stage, text in stages().items()}
    assert {stage: ports for stage, ports in exposed.items() if ports} == {"gateway": ["8000"]}


def test_gateways_environment_is_settings() -> None:
    (line,) = re.findall(r"^ENV (HOLDFAST_.*)$", stages()["gateway"], re.MULTILINE)
    settings = settings_of(dict(each.split("=", 1) for each in line.split()))
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert settings.jobs_database == "sqlite:////srv/jobs/jobs.sqlite"
    assert "/srv/jobs" in re.findall(r"^VOLUME (.*)$", stages()["gateway"], re.MULTILINE)


def test_gateway_without_keys_answers_no_page_of_another_host() -> None:
    (line,) = re.findall(r"^ENV (HOLDFAST_.*)$", stages()["gateway"], re.MULTILINE)
    gate = make_gate(settings_of(dict(each.split("=", 1) for each in line.split())), Metrics())

    def ask(host: bytes) -> None:
        scope = {"type": "http", "method": "GET", "headers": [(b"host", host)], "client": ("10.0.0.1", 1)}
        asyncio.run(gate.admit(scope, "classify"))

    ask(b"localhost:8000")
    ask(b"127.0.0.1:8000")
    with pytest.raises(Problem, match=r"not 'elsewhere\.example'") as refused:
        ask(b"elsewhere.example")
    assert "HOLDFAST_ALLOWED_HOSTS" in refused.value.detail


def test_gateway_gets_nothing_of_torchs() -> None:
    text = stages()["gateway"] + stages()["gateway-environment"]
    assert not re.search(r"torch|'\.\[.*train", text)


def test_what_is_copied_is_there_and_let_through() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = [
        source
        for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in words.split()[:-1]
    ]
    assert len(copied) > 8
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in let_through), source
