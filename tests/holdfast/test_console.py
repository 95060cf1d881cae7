"""Progress and numbers as the commands show them."""

from __future__ import annotations

import json
import re

import pytest

from holdfast import console


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_345_678, "2.3 MB"), (7_000_000_000, "7.0 GB")],
)
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert console.format_size(size) == text


def test_shares_are_written_in_percent() -> None:
    assert console.format_share(0.4567) == "45.7 %"


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Counting", 400, unit="sheep") as bar:
        for _ in range(400):
            bar.advance(note="asleep")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Counting: 400 of 400 sheep (100%), 0 s, asleep\n"


def test_progress_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Counting", 4, every=0) as bar:
        bar.update(1)
        bar.advance(2, note="[nearly]")
    first, second, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"Counting: 1 of 4 \(25%\), \d+ s", first)
    assert re.fullmatch(r"Counting: 3 of 4 \(75%\), \d+ s, \[nearly\]", second)
    assert last == second


def test_progress_lines_count_what_is_done_and_not_what_is_begun(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Counting", 4, unit="sheep", every=0) as bar:
        bar.update(1.75)
    assert capsys.readouterr().err.splitlines()[0] == "Counting: 1 of 4 sheep (44%), 0 s"


def test_progress_without_a_total_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Waiting", unit="steps") as bar:
        bar.advance(3)
    assert capsys.readouterr().err == "Waiting: 3 steps, 0 s\n"


def test_quiet_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Counting", 4, every=0, quiet=True) as bar:
        bar.advance()
        bar.update(4)
    assert capsys.readouterr().err == ""


def test_interrupted_progress_does_not_claim_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with console.progress("Counting", 4) as bar:
            bar.advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    monkeypatch.setattr(console, "stderr", Console(stderr=True, force_terminal=True, width=100))
    with console.progress("Counting", 4, unit="sheep") as bar:
        bar.advance(4, note="[asleep]")
    err = capsys.readouterr().err
    assert "━" in err
    assert "4/4" in err
    assert "[asleep]" in err


def test_json_is_written_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "naïve", "long": "x" * 500}
    console.print_json(content)
    out = capsys.readouterr().out
    assert json.loads(out) == content
    assert "naïve" in out
    assert len(out.splitlines()) == 4
