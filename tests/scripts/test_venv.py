"""What `make serve` and `make test` do first: scripts/venv, with an interpreter that only records."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Stands in for Python, and for the one in the environments that it "makes". Its calls go into calls.txt.
PYTHON = """\
#!/bin/sh
case "$*" in
"-c "*) exit ${OLD:-0} ;;
--version) echo "Python 3.${MINOR:-12}.0" ;;
"-m venv "*) for venv; do :; done; echo venv >>calls.txt; rm -rf "$venv"; mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python" ;;
"-m pip "*) echo pip >>calls.txt; echo "No such package."; case "$PIP" in kill) kill -9 $PPID ;; *) exit ${PIP:-0} ;; esac ;;
esac
"""  # noqa: E501


class Checkout:
    """A directory with what scripts/venv needs, and the calls that it made of Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "venv", root / "scripts" / "venv")
        (root / "pyproject.toml").write_text("[project]\n")
        (root / "constraints.txt").write_text("numpy==2.4.6\n")
        self.python = root / "python"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def run(self, *, python: str | None = None, **variables: str) -> tuple[list[str], str, int]:
        """The calls that one run made, what it printed, and its exit status."""
        done = subprocess.run(
            [self.root / "scripts" / "venv", ".venv", "serve", "1 MB"],
            env={"PATH": os.environ["PATH"], "PYTHON": python or str(self.python), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        calls = self.root / "calls.txt"
        made = calls.read_text().split() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return made, done.stdout, done.returncode


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_a_first_run_installs_and_says_so_and_a_second_does_nothing(checkout: Checkout) -> None:
    calls, output, status = checkout.run()
    assert (calls, status) == (["venv", "pip"], 0)
    assert "Making the virtual environment .venv with Python 3.12.0" in output
    assert "Installing .[serve] into .venv (1 MB)" in output
    assert "No such package." not in output
    assert checkout.run() == ([], "", 0)


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_other_requirements_are_installed_into_the_same_environment(checkout: Checkout, file: str) -> None:
    checkout.run()
    (checkout.root / file).write_text("# changed\n")
    assert checkout.run()[0] == ["pip"]
    assert checkout.run()[0] == []


def test_an_installation_that_was_killed_is_begun_anew(checkout: Checkout) -> None:
    calls, _, status = checkout.run(PIP="kill")
    assert calls == ["venv", "pip"]
    assert status != 0
    assert checkout.run()[0] == ["venv", "pip"]
    assert checkout.run()[0] == []


def test_an_installation_that_pip_gave_up_shows_why_and_goes_on_in_the_same_environment(
    checkout: Checkout,
) -> None:
    calls, output, status = checkout.run(PIP="1")
    assert (calls, status) == (["venv", "pip"], 1)
    assert "No such package." in output
    assert "the whole log is .venv/install.log" in output
    assert checkout.run()[0] == ["pip"]
    assert checkout.run()[0] == []


def test_an_environment_that_was_moved_or_lost_its_python_is_made_anew(checkout: Checkout) -> None:
    checkout.run()
    moved = checkout.root.with_name("moved")
    checkout.root.rename(moved)
    checkout.root, checkout.python = moved, moved / "python"
    assert checkout.run()[0] == ["venv", "pip"]
    (moved / ".venv" / "bin" / "python").unlink()
    (moved / "constraints.txt").write_text("# changed\n")
    assert checkout.run()[0] == ["venv", "pip"]


def test_another_python_makes_another_environment(checkout: Checkout) -> None:
    checkout.run()
    other = checkout.root / "python3.13"
    shutil.copy(checkout.python, other)
    assert checkout.run(python=str(other))[0] == ["venv", "pip"]


def test_a_python_that_is_too_old_or_not_there_is_named_with_the_way_out(checkout: Checkout) -> None:
    calls, output, status = checkout.run(OLD="1", MINOR="9")
    assert (calls, status) == ([], 1)
    assert output.startswith(f"{checkout.python} is Python 3.9.0; Holdfast needs Python 3.11 or newer.\n")
    calls, output, status = checkout.run(python="/no/python")
    assert (calls, status) == ([], 1)
    assert output.startswith("/no/python is not there")
    assert "make PYTHON=python3.12" in output
