"""Settings come from the environment, options override them, and a bad one is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from serving.backends.remote import RemoteBackend
from serving.gateway.backend import make_backend
from serving.gateway.metrics import Metrics
from serving.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)


def test_without_any_it_listens_on_loopback_with_the_embedded_backend() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.backend == "onnxruntime"
    assert settings.max_delay == 0
    assert not settings.allow_unauthenticated


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "9000")
    monkeypatch.setenv("HOLDFAST_MODEL_STORE", "/models")
    monkeypatch.setenv("HOLDFAST_MAX_BODY_BYTES", "5MiB")
    monkeypatch.setenv("HOLDFAST_ALLOW_UNAUTHENTICATED", "1")
    settings = load_settings()
    assert settings.port == 9000
    assert settings.model_store == Path("/models")
    assert settings.max_body_bytes == 5 * 1024 * 1024
    assert settings.allow_unauthenticated


def test_option_overrides_the_environment_and_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "9000")
    monkeypatch.setenv("HOLDFAST_HOST", "::1")
    settings = load_settings(port=9001, host=None)
    assert (settings.host, settings.port) == ("::1", 9001)


def test_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "")
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("BACKEND", "triton"),
        ("MAX_DELAY", "-1"),
        ("DEADLINE", "0"),
        ("MAX_BODY_BYTES", "big"),
        ("TORCHSERVE_URL", "localhost"),
        ("LOG_LEVEL", "loud"),
        ("QUEUE", "0"),
        ("MAX_PIXELS", "1000000000"),
        ("ALLOW_UNAUTHENTICATED", "perhaps"),
        ("RATE_LIMIT", "often"),
        ("RATE_LIMIT_ANONYMOUS", "0/second"),
        ("MAX_HEADER_BYTES", "1"),
        ("MAX_URL_BYTES", "long"),
        ("HEADER_TIMEOUT", "0"),
        ("MIN_BODY_RATE", "-1"),
    ],
)
def test_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HOLDFAST_{name}", value)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"HOLDFAST_{name} is {value!r}: ")
    assert "holdfast serve --settings" in caught.value.hint


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBS_DATABASE", f"postgresql+asyncpg://holdfast:{SECRET}@db/holdfast"),
        ("JOBS_DATABASE", f"holdfast:{SECRET}@db/holdfast"),
        ("TORCHSERVE_URL", f"http://holdfast:{SECRET}@torchserve/path"),
        ("TORCHSERVE_URL", f"http://holdfast:p@{SECRET}@torchserve"),
        ("OIP_URL", f"ftp://holdfast:{SECRET}@oip"),
        ("OIP_URL", f"holdfast:{SECRET} @oip"),
        ("CORS_ORIGINS", f"https://holdfast:{SECRET}@page.example"),
    ],
)
def test_password_in_a_bad_value_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HOLDFAST_{name}", value)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"HOLDFAST_{name} ")
    assert SECRET not in caught.value.message
    assert "should match" in caught.value.message or "…@page.example" in caught.value.message


def test_password_given_as_an_option_is_not_shown_either() -> None:
    with pytest.raises(UsageError, match="--jobs-database cannot be used") as caught:
        load_settings(jobs_database=f"mysql://holdfast:{SECRET}@db/holdfast")
    assert SECRET not in caught.value.message


def test_end_of_the_line_of_a_file_is_no_part_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("JOBS_DATABASE", f"postgresql://holdfast:{SECRET}@db/holdfast\n"),
        ("OIP_KEY", f"{SECRET}\r\n"),
        ("OIP_URL", " http://oip:8000\n"),
        ("TORCHSERVE_URL", f"http://holdfast:{SECRET}@torchserve/\n"),
        ("TLS_KEY_PASSWORD", f" {SECRET} \n"),
        ("TLS_CERTIFICATE", "certificate.pem"),
    ):
        monkeypatch.setenv(f"HOLDFAST_{name}", value)
    settings = load_settings()
    assert settings.jobs_database == f"postgresql://holdfast:{SECRET}@db/holdfast"
    assert settings.oip_url == "http://oip:8000"
    assert settings.torchserve_url == f"http://holdfast:{SECRET}@torchserve/"
    assert settings.oip_key is not None
    assert settings.oip_key.get_secret_value() == SECRET
    assert settings.tls_key_password is not None
    assert settings.tls_key_password.get_secret_value() == f" {SECRET} "


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "x")
    monkeypatch.setenv("HOLDFAST_QUEUE", "y")
    with pytest.raises(UsageError) as caught:
        load_settings(max_batch=0)
    lines = caught.value.message.splitlines()
    assert [line.split(" ")[0] for line in sorted(lines)] == [
        "--max-batch",
        "HOLDFAST_PORT",
        "HOLDFAST_QUEUE",
    ]


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match=r"HOLDFAST_MAX_IMAGES .* HOLDFAST_QUEUE"):
        load_settings(queue=10)
    with pytest.raises(UsageError, match=r"HOLDFAST_MAX_BODY_BYTES .* HOLDFAST_MAX_MEMORY"):
        load_settings(max_memory=1000)


def test_every_setting_is_explained() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("backend", ["torchserve", "oip"])
def test_how_long_a_server_elsewhere_may_take_to_start_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str
) -> None:
    monkeypatch.setenv("HOLDFAST_BACKEND_START_TIMEOUT", "7")
    settings = load_settings(backend=backend, model_store=tmp_path)
    made = make_backend(settings, Metrics())
    assert isinstance(made, RemoteBackend)
    assert made._start_timeout == 7
