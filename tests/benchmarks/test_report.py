"""Figures get into a document between their marks, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report import Report, Sheet

from holdfast.errors import UsageError


def make_report() -> Report:
    """A report of one table."""
    sheet = Sheet("Speed", ("side", ">images/s"), "Higher is better.")
    sheet.add("gateway", "1,000 (990 – 1,010)")
    return Report("speed", ["Machine: a fast one."], [sheet], {"values": [1.5]})


def test_markdown_has_the_facts_and_the_tables() -> None:
    assert make_report().markdown() == (
        "- Machine: a fast one.\n\n**Speed**\n\n| side | images/s |\n| --- | ---: |\n"
        "| gateway | 1,000 (990 – 1,010) |\n\nHigher is better."
    )


def test_a_document_is_updated_between_the_marks_alone(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("before\n<!-- begin speed -->\nold\n<!-- end speed -->\nafter\n")
    make_report().update(document)
    text = document.read_text()
    assert text.startswith("before\n<!-- begin speed -->\n\n- Machine")
    assert text.endswith("Higher is better.\n\n<!-- end speed -->\nafter\n")
    assert "old" not in text
    make_report().update(document)
    assert document.read_text() == text


@pytest.mark.parametrize(
    "text", ["", "<!-- begin speed -->\n", "<!-- end speed -->", "<!-- begin other -->\n"]
)
def test_a_document_without_the_marks_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    document = tmp_path / "performance.md"
    document.write_text(text)
    with pytest.raises(UsageError, match="no place"):
        make_report().update(document)
    assert document.read_text() == text


def test_every_value_is_in_the_file(tmp_path: Path) -> None:
    make_report().write_json(tmp_path / "new" / "speed.json")
    assert json.loads((tmp_path / "new" / "speed.json").read_text()) == {"values": [1.5]}
