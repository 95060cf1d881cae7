"""The README's tour runs on the models that are shipped, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from support.gateway_process import running_gateway

ROOT = Path(__file__).parents[2]
README = ROOT / "clients" / "python" / "README.md"


def blocks(page: str) -> list[tuple[str, str]]:
    """Each block of Python with the output that the page shows below it."""
    return re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", page, re.DOTALL)


def printed(codes: list[str]) -> list[str]:
    """What pieces of one program print, one after another."""
    names: dict[str, object] = {"__name__": "tour"}
    outputs = []
    for code in codes:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(code, str(README), "exec"), names)
        outputs.append(output.getvalue())
    names["client"].close()  # type: ignore[attr-defined]
    return outputs


def shape(text: str) -> str:
    """A text without its numbers, which another processor rounds differently, and without repeated lines."""
    lines = [re.sub(r"\d+(\.\d+)?", "#", line) for line in text.splitlines()]
    return "\n".join(line for place, line in enumerate(lines) if lines[place - 1 : place] != [line])


def test_tour_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    settings = {"HOLDFAST_JOBS_DATABASE": f"sqlite:///{tmp_path}/jobs.sqlite"}
    told = blocks(README.read_text(encoding="utf-8"))
    with running_gateway(ROOT / "model_store", **settings) as url:
        monkeypatch.setenv("HOLDFAST_URL", url)
        outputs = printed([code for code, _ in told])
    for output, (_, shown) in zip(outputs, told, strict=True):
        assert shape(output) == shape(shown)
    assert (tmp_path / "adversarial.png").exists()
    assert (tmp_path / "result.zip").exists()
