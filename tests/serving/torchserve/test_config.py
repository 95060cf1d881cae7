"""The configuration that TorchServe is started with."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError

from serving.torchserve.config import LaunchSettings, logging_config, properties


def parsed(settings: LaunchSettings, directory: Path = Path("/private")) -> dict[str, str]:
    text = properties(settings, directory, ["one", "two.x-1"])
    return dict(line.split("=", 1) for line in text.splitlines())


def test_everything_listens_on_loopback_and_nothing_is_loaded_at_run_time() -> None:
    values = parsed(LaunchSettings(port=1111, metrics_port=2222))
    assert values["inference_address"] == "http://127.0.0.1:1111"
    assert values["metrics_address"] == "http://127.0.0.1:2222"
    assert values["grpc_inference_address"] == values["grpc_management_address"] == "127.0.0.1"
    assert values["enable_model_api"] == values["install_py_dep_per_model"] == "false"
    assert values["allowed_urls"] == "none"
    assert values["load_models"] == "one=one,two.x-1=two.x-1"


def test_the_management_api_is_a_socket_in_the_private_directory_unless_a_port_is_asked_for() -> None:
    assert parsed(LaunchSettings())["management_address"] == "unix:/private/management.sock"
    assert parsed(LaunchSettings(management_port=3333))["management_address"] == "http://127.0.0.1:3333"


def test_paths_are_escaped_as_java_reads_properties() -> None:
    directory = Path("/tmp/grün\\𝄞")
    assert parsed(LaunchSettings(), directory)["model_store"] == "/tmp/gr\\u00fcn\\\\\\ud834\\udd1e/models"


def test_the_log_is_one_bounded_file_in_the_private_directory() -> None:
    root = ET.fromstring(logging_config(Path("/private/a&b")))
    (appender,) = root.iter("RollingFile")
    assert appender.get("fileName") == "/private/a&b/torchserve.log"
    assert root.find(".//SizeBasedTriggeringPolicy") is not None


@pytest.mark.parametrize("heap", ["512", "-1m", "512m -XX:OnError=reboot", ""])
def test_a_heap_is_a_size_and_nothing_else(heap: str) -> None:
    with pytest.raises(ValidationError):
        LaunchSettings(heap=heap)
