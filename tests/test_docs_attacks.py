"""docs/attacks.md and the README say what is so: their table, their flags, their code, their output."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest
from support.cli import invoke
from support.digits import digit_pngs
from support.tiny import solid_png

from holdfast.attacks import attack
from holdfast.attacks import catalogue as catalogue_module_function
from holdfast.attacks.flags import FlagName
from holdfast.attacks.loss import AdaptiveLoss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
from scripts.attacks_table import inserted

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: The library's use, the adaptive attacks on IMT, and the attack that the page adds.
USE, ADAPTIVE, MODULE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def shown(page: str) -> list[tuple[str, str]]:
    """Every `holdfast attack` that a page shows with its output."""
    blocks = re.findall(r"```console\n\$ (holdfast attack [^\n]*)\n(.+?)```", page, re.DOTALL)
    return [(command, output) for command, output in blocks]


def test_the_table_is_the_catalogues() -> None:
    assert inserted(PAGE) == PAGE, "run: python scripts/attacks_table.py"


@pytest.mark.parametrize("flag", get_args(FlagName))
def test_every_flag_is_explained(flag: str) -> None:
    assert re.search(rf"^\| `{flag}` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("loss", list(AdaptiveLoss))
def test_every_loss_of_adaptive_attacks_is_explained(loss: AdaptiveLoss) -> None:
    assert re.search(rf"^\| `{loss.value}` \|", PAGE, re.MULTILINE)


def test_the_use_in_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(USE, "docs/attacks.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[ True] [0.03")


@pytest.mark.parametrize(("command", "output"), shown(PAGE) + shown(README))
def test_the_output_that_is_shown_is_what_comes_out(
    command: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("examples", "model_store"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, *shlex.split(command)[1:])
    assert outcome.code == 0, outcome.err
    assert words(outcome.out) == words(output)


def words(output: str) -> list[str]:
    """Without the numbers, which differ by rounding and by the machine's speed, and without rules."""
    masked = re.sub(r"[\d.,]*\d(\s(s|min|h)\b)?", "#", output)
    return [word for word in masked.split() if set(word) != {"─"}]


# Adaptive attacks on IMT


def with_judged(text: str) -> str:
    """The page's words, about the small model that offers IMT in place of the one that takes a training."""
    assert "atld-digits" in text
    return text.replace("atld-digits", "judged")


@pytest.fixture
def beside_judged(defended_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with that model in the store."""
    (tmp_path / "model_store").symlink_to(defended_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_adaptive_attacks_in_python_run(beside_judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(with_judged(ADAPTIVE), "docs/attacks.md", "exec"), names)
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    shares = {name: float(share.rstrip("%")) for name, share in lines.items()}
    assert list(shares) == ["BPDA", "joint", "end to end", "by scores", "worst case"]
    assert 0 <= shares["worst case"] <= min(shares.values())
    assert 0 < max(shares.values()) < 100


#: The commands in the table of adaptive attacks on IMT.
COMMANDS = re.findall(r"`(holdfast attack atld-digits IMAGES [^`]*)`", PAGE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_adaptive_commands_run(
    command: str, beside_judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside_judged / "IMAGES").mkdir()
    for index, png in enumerate(digit_pngs(4, size=8)):
        (beside_judged / "IMAGES" / f"{index}.png").write_bytes(png)
    short = [] if "square" in command else ["--set", "steps=3"]
    short += ["--set", "query_budget=3"] if "square" in command or "autoattack" in command else []
    outcome = invoke(capsys, *shlex.split(with_judged(command))[1:], *short, "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["model"]["defence"] == "imt+"
    assert (record["source"] is None) == ("--transfer-from" not in command)
    for found in record["attacks"]:
        assert "dynamic" in [flag["name"] for flag in found["flags"]]


def test_there_is_a_command_for_each_adaptive_attack_but_the_one_that_needs_torch() -> None:
    assert len(COMMANDS) == 5


# The attack that the page adds


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's module, in the catalogue as the page says."""
    from holdfast.attacks import catalogue as _  # noqa: F401 - so that the module of that name is loaded

    catalogue_module = sys.modules["holdfast.attacks.catalogue"]
    module = ModuleType("holdfast.attacks.brightness")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(MODULE, "docs/attacks.md", "exec"), module.__dict__)
    names = (*catalogue_module._MODULES, "brightness")
    monkeypatch.setattr(catalogue_module, "_MODULES", names)
    catalogue_module.catalogue.cache_clear()
    yield module
    monkeypatch.undo()
    catalogue_module.catalogue.cache_clear()
    assert "brightness" not in catalogue_module_function()


def test_the_attack_that_the_page_adds_keeps_what_it_promises(
    brightness: ModuleType, tiny_bundle: Path
) -> None:
    """The tiny model compares channels, which no shift changes, except where one is cut off at black."""
    reddish = np.full((1, 3, 8, 8), 0.0, dtype=np.float32)
    reddish[:, 0], reddish[:, 1] = 0.05, 0.5
    images = np.concatenate([reddish, np.full((1, 3, 8, 8), 0.5, dtype=np.float32)])
    parameters = brightness.BrightnessParameters(epsilon=1.0, shifts=10)
    oracle = OnnxOracle(Bundle.open(tiny_bundle), threads=1)
    result = attack(oracle, images, np.array([1, 0]), parameters)
    assert result.success.tolist() == [True, False]  # all black or all white: the first class wins the tie
    assert result.linf[0] == pytest.approx(0.5, abs=0.1)
    assert result.queries.max() <= parameters.cost(3).forwards + 3


def test_the_attack_that_the_page_adds_is_on_the_command_line(
    brightness: ModuleType, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "red.png").write_bytes(solid_png("red"))
    listed = invoke(capsys, "attack", "--list").out
    assert re.search(r"^brightness +decision", listed, re.MULTILINE)
    arguments = ["--attack", "brightness", "--set", "shifts=3", "--store", tiny_store]
    outcome = invoke(capsys, "attack", "tiny", tmp_path, *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("brightness on tiny/1: L∞ within 8/255")
