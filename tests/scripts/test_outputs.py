"""Documents that show what commands print: found, run, and put in their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import outputs

PAGE = """\
# A page

<!-- begin output: python -c "print('one')" -->

old

<!-- end output -->

Between.

<!-- begin output: python -c "print(2)" -->
<!-- end output -->

After.
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_every_output_is_put_in_its_place_and_nothing_else_changes(page: Path) -> None:
    assert outputs.main([str(page)]) == 0
    written = page.read_text(encoding="utf-8")
    assert written == PAGE.replace("\nold\n", "\none\n").replace('print(2)" -->\n', 'print(2)" -->\n\n2\n\n')
    assert outputs.main([str(page)]) == 0
    assert page.read_text(encoding="utf-8") == written


def test_words_choose_what_is_run(page: Path) -> None:
    assert outputs.main([str(page), "print(2)"]) == 0
    written = page.read_text(encoding="utf-8")
    assert "\nold\n" in written
    assert "\n2\n" in written


def test_a_command_that_fails_leaves_its_place_and_says_so(
    page: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page.write_text(PAGE.replace("print(2)", "print(2); raise SystemExit(3)"), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    assert outputs.main([str(page)]) == 1
    assert page.read_text(encoding="utf-8") == before.replace("\nold\n", "\none\n")
    assert "it ended with 3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (PAGE.replace("<!-- end output -->", "", 1), "without"),
        (PAGE.replace("print(2)", "print('one')"), "twice"),
        (PAGE.replace("python -c", "rm -c"), "begins with holdfast or python"),
    ],
)
def test_a_page_that_is_written_wrongly_is_refused(page: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        outputs.commands(page)
