"""The `holdfast` command itself: what it lists, how fast, and how it says what went wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import Outcome, command, invoke, spawn

from holdfast import __version__

COMMANDS = ["train", "evaluate", "export", "models", "classify", "attack", "serve", "archive", "torchserve"]

#: What takes long to import, and has no business in help, completion or a usage error.
HEAVY = [
    "torch",
    "torchvision",
    "onnxruntime",
    "onnx",
    "fastapi",
    "numpy",
    "pydantic",
    "PIL",
    "rich",
    "httpx",
]

#: Runs a command line, and then writes which of the heavy modules were imported.
IMPORTED = f"""
import atexit, sys
heavy = lambda: [name for name in {HEAVY} if name in sys.modules]
atexit.register(lambda: print("imported:", *heavy(), file=sys.stderr))
from holdfast.cli import main
main()
"""


def imported(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    return done.stderr.rpartition("imported:")[2].strip()


def test_help_lists_every_command_in_the_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "--help")
    assert outcome.code == 0
    listing = outcome.out.partition("Commands:")[2].splitlines()
    names = [line.split()[0] for line in listing if line.startswith("  ") and line[2] not in " E"]
    assert names[: len(COMMANDS)] == COMMANDS


def test_help_shows_the_first_line_of_each_modules_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    from holdfast.commands import models

    assert models.__doc__
    assert models.__doc__.partition("\n")[0] in invoke(capsys, "--help").out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such"]])
def test_nothing_heavy_is_imported_for(arguments: list[str]) -> None:
    assert imported(*arguments) == ""


def test_nothing_heavy_is_imported_to_complete() -> None:
    environment = {"_HOLDFAST_COMPLETE": "complete_bash", "COMP_WORDS": "holdfast ", "COMP_CWORD": "1"}
    assert imported(**environment) == ""
    for name in ("classify", "attack"):
        environment |= {"COMP_WORDS": f"holdfast {name} --", "COMP_CWORD": "2"}
        assert imported(**environment) in ("", "pydantic")  # which Typer reads values with


def test_help_takes_less_than_a_third_of_a_second() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command("--help"), stdout=subprocess.DEVNULL, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, and the least of several runs: other work on the machine lengthens the wall time.
    assert min(cpu_seconds() for _ in range(5)) < 0.3


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(capsys, "--version") == Outcome(0, f"holdfast {__version__}\n", "")


def test_unknown_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "trian")
    assert outcome.code == 2
    assert "No such command 'trian'. Did you mean 'train'?" in outcome.err


def test_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "models", "--stor", "x")
    assert outcome.code == 2
    assert "--stor" in outcome.err
    assert outcome.out == ""


def test_errors_are_a_message_and_a_hint_on_standard_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = invoke(capsys, "models", "--store", tmp_path / "nowhere")
    assert outcome == Outcome(
        1,
        "",
        f"Error: There is no model store at {tmp_path / 'nowhere'}.\n"
        "Hint: Name one with --store or HOLDFAST_MODEL_STORE.\n",
    )


def test_command_completion_lists_commands_and_options() -> None:
    def complete(words: str, word: int) -> list[str]:
        return spawn(_HOLDFAST_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(word)).out.split()

    assert complete("holdfast ", 1)[: len(COMMANDS)] == COMMANDS
    options = complete("holdfast models --", 2)
    assert {"--store", "--verify", "--json", "--help"} <= set(options)
    assert "--install-completion" not in options


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_installed_completion_works_in_bash(tmp_path: Path) -> None:
    # Which shell runs the tests does not matter: it is named rather than detected.
    outcome = spawn(
        "--install-completion", "bash", HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert outcome.code == 0, outcome.err
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "holdfast"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holdfast "$@"\n')
    script.chmod(0o755)
    typed = (
        f'PATH="{tmp_path}/bin:$PATH"; . "{tmp_path}/.bashrc"; COMP_WORDS=(holdfast cl); COMP_CWORD=1; '
        '_holdfast_completion holdfast; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", typed], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["classify"], done.stderr


# Errors of commands: commands of another distribution, which Python finds on its path like any installed one

PLUGIN = '''"""Do what a test asks for."""

import typer

app = typer.Typer()


@app.command()
def demo(what: str) -> None:
    if what == "bug":
        raise ZeroDivisionError("the sky fell")
    if what == "missing":
        import a_package_that_is_not_there
    if what == "sleep":
        import time

        print("asleep", flush=True)
        time.sleep(60)
    if what == "usage":
        from holdfast.units import parse_budget

        parse_budget("eight")
    if what == "colour":
        from holdfast.console import stdout

        stdout.print("[red]red[/]")
'''


@pytest.fixture
def demo(tmp_path: Path) -> Callable[..., Outcome]:
    """Runs `holdfast demo WHAT`."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    metadata = tmp_path / "plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[holdfast.commands]\ndemo = plugin:app\n")

    def run(*arguments: str, **environment: str) -> Outcome:
        return spawn(*arguments, PYTHONPATH=str(tmp_path), **environment)

    return run


def test_commands_of_other_distributions_are_found(demo: Callable[..., Outcome]) -> None:
    assert re.search(r"^  demo +Do what a test asks for\.$", demo("--help").out, re.MULTILINE)
    assert demo("demo", "nothing") == Outcome(0, "", "")


def test_unforeseen_error_is_one_line_and_says_how_to_see_more(demo: Callable[..., Outcome]) -> None:
    outcome = demo("demo", "bug")
    assert outcome == Outcome(
        70,
        "",
        "Error: Sorry, this should not have happened: ZeroDivisionError: the sky fell\n"
        "Hint: See where it happened with HOLDFAST_DEBUG=1, and report it.\n",
    )


def test_debugging_shows_the_traceback(demo: Callable[..., Outcome]) -> None:
    outcome = demo("demo", "bug", HOLDFAST_DEBUG="1")
    assert outcome.code == 70
    assert 'raise ZeroDivisionError("the sky fell")' in outcome.err


def test_values_that_cannot_be_used_are_usage_errors(demo: Callable[..., Outcome]) -> None:
    outcome = demo("demo", "usage")
    assert outcome.code == 2
    assert "'eight' is not a budget" in outcome.err


def test_missing_module_of_a_foreign_command_is_its_own_bug(demo: Callable[..., Outcome]) -> None:
    outcome = demo("demo", "missing")
    assert outcome.code == 70
    assert "a_package_that_is_not_there" in outcome.err


@pytest.mark.parametrize(
    ("missing", "extra", "name"),
    [("torch", "train", "train"), ("fastapi", "serve", "serve"), ("model_archiver", "torchserve", "archive")],
)
def test_missing_package_is_named_with_the_extra_that_brings_it(missing: str, extra: str, name: str) -> None:
    """A command of Holdfast's own, in an environment where ``missing`` cannot be imported."""
    program = f"""
import sys, types, typer
sys.modules[{missing!r}] = None
from importlib.metadata import entry_points
entry = next(iter(entry_points(group="holdfast.commands", name={name!r})))
module = types.ModuleType(entry.module)
module.app = typer.Typer()
@module.app.command()
def run() -> None:
    import {missing}
sys.modules[entry.module] = module
from holdfast.cli import main
main([{name!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: 'holdfast {name}' needs the Python package '{missing}', which is not installed.\n"
        f"Hint: Install it with: pip install 'holdfast[{extra}]'\n",
    )


def test_interrupt_ends_with_130_and_no_traceback(demo: Callable[..., Outcome], tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("demo", "sleep"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "asleep\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def on_a_terminal(tmp_path: Path, **environment: str) -> str:
    """What `holdfast demo colour` writes to a terminal."""
    parent, child = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    process = subprocess.Popen(
        command("demo", "colour"),
        stdout=child,
        env={**inherited, "PYTHONPATH": str(tmp_path), "TERM": "xterm-256color", **environment},
    )
    os.close(child)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(parent, 1024)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        written += block
    os.close(parent)
    assert process.wait(timeout=30) == 0
    return written.decode()


def test_colours_are_for_terminals_that_want_them(demo: Callable[..., Outcome], tmp_path: Path) -> None:
    assert on_a_terminal(tmp_path).strip() == "\x1b[31mred\x1b[0m"
    assert on_a_terminal(tmp_path, NO_COLOR="1").strip() == "red"
    assert demo("demo", "colour").out == "red\n"


def test_results_can_be_piped_into_a_program_that_stops_reading(tiny_store: Path) -> None:
    reader = subprocess.run(
        f'"{sys.executable}" -m holdfast models --store "{tiny_store}" --json | head -c 1',
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert reader.stdout == json.dumps([])[0]
    assert "Traceback" not in reader.stderr
    assert "Sorry" not in reader.stderr
