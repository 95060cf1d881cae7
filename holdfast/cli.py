"""The `holdfast` command: finds the subcommands, and turns every error into a message and an exit code.

Subcommands come from the entry-point group ``holdfast.commands``; the module of one is imported when it is
called, and its help in the list is the first line of its docstring, read from the source. So
``holdfast --help`` and completion cost what Typer costs, however heavy the subcommands are.

Exit codes: 0 done; 1 an error that the message explains, or a part of what was asked for failed; 2 the
command line or a value on it cannot be used; 70 an error that nobody foresaw (a bug); 130 interrupted;
143 told to end (SIGTERM), by a command that does not wait for that.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import traceback
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from holdfast.errors import HoldfastError, MissingExtraError, UsageError
from holdfast.version import __version__

GROUP = "holdfast.commands"

#: Set to anything but 0 to see the traceback of an error.
DEBUG = "HOLDFAST_DEBUG"

EXIT_ERROR, EXIT_USAGE, EXIT_BUG = 1, 2, 70

#: The order in which a newcomer meets them; others follow by name.
_ORDER = ("train", "evaluate", "export", "models", "classify", "attack", "serve", "archive", "torchserve")

#: The extra that brings what a subcommand needs, by its name or else by the package it is in.
_EXTRA_OF_COMMAND = {"archive": "torchserve", "torchserve": "torchserve"}
_EXTRA_OF_PACKAGE = {"training": "train", "serving": "serve"}

#: Typer's options that install and show completion.
_COMPLETION = frozenset({"install_completion", "show_completion"})


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; ``arguments`` are ``sys.argv[1:]`` unless they are given."""
    if os.getpid() == 1:
        # The first process of a container: there alone, a signal that nobody handles does nothing.
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        _command()(arguments, prog_name="holdfast")
    except Exception as error:  # noqa: BLE001 - the last place where an error can be caught
        if "_HOLDFAST_COMPLETE" in os.environ:
            sys.exit(EXIT_ERROR)  # a shell asks for completions: a message would garble the line being typed
        sys.exit(_report(error))
    sys.exit(0)


class Commands(TyperGroup):
    """Subcommands that are known by name and imported when they are called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._entries = {entry.name: entry for entry in entry_points(group=GROUP)}
        names = [name for name in _ORDER if name in self._entries]
        names += sorted(set(self._entries) - set(names))
        # What help and completion list. The commands themselves take their places in resolve_command.
        self.commands = {
            name: TyperCommand(name, short_help=_summary(self._entries[name].module), rich_markup_mode=None)
            for name in names
        }

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of `holdfast` itself, all of them flags."""
        parameters: list[Any] = list(super().get_params(ctx))
        for parameter in parameters:
            # Typer hands None to pydantic, which takes longer to import than everything else here.
            if getattr(parameter, "is_flag", False) and parameter.default is None:
                parameter.default = False
        return parameters

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the subcommand by name, and import it.

        Raises:
            MissingExtraError: It needs a package that is not installed.
        """
        name, listed, rest = super().resolve_command(ctx, args)
        if name is None or listed is None:
            return name, listed, rest
        entry = self._entries[name]
        try:
            return name, _load(entry), rest
        except ModuleNotFoundError as error:
            _raise_missing(error, entry)

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand, which may import what is not installed."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if ctx.invoked_subcommand in self._entries:
                _raise_missing(error, self._entries[ctx.invoked_subcommand])
            raise


_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take as long to import as all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"holdfast {__version__}")
        raise typer.Exit


@_app.callback(epilog="Each command has its own help: holdfast COMMAND --help")
def _holdfast(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Train image classifiers that hold under adversarial attack, serve them, and attack them on demand."""


def _command() -> Any:
    return typer.main.get_command(_app)


def _load(entry: EntryPoint) -> Any:
    """Import a subcommand and make it a command of its entry point's name."""
    app = entry.load()
    command = typer.main.get_command(app)
    command.name = entry.name
    command.help = _unwrap(command.help or "")
    # Completion is installed for `holdfast` as a whole.
    command.params = [parameter for parameter in command.params if parameter.name not in _COMPLETION]
    return command


def _unwrap(text: str) -> str:
    """Join the lines of each paragraph: where they break in the source is no concern of the terminal."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _summary(module: str) -> str:
    """The first line of a module's docstring, from its source: neither it nor its parents are imported."""
    import ast

    spec = _find(module)
    get_source = getattr(spec.loader, "get_source", None) if spec else None
    source = get_source(module) if get_source else None
    docstring = ast.get_docstring(ast.parse(source)) if source else None
    return docstring.partition("\n")[0] if docstring else ""


def _find(module: str) -> ModuleSpec | None:
    parent, *rest = module.split(".")
    spec = importlib.util.find_spec(parent)
    for part in rest:
        if spec is None:
            return None
        parent = f"{parent}.{part}"
        spec = PathFinder.find_spec(parent, spec.submodule_search_locations)
    return spec


def _raise_missing(error: ModuleNotFoundError, entry: EntryPoint) -> NoReturn:
    """Say which extra brings the missing package; an error of another kind goes on as it is."""
    missing = (error.name or "").partition(".")[0]
    package = entry.module.partition(".")[0]
    extra = _EXTRA_OF_COMMAND.get(entry.name, _EXTRA_OF_PACKAGE.get(package))
    if not missing or extra is None or importlib.util.find_spec(missing) is not None:
        raise error
    raise MissingExtraError(missing, extra, f"'holdfast {entry.name}'") from error


def _report(error: Exception) -> int:
    """Tell the user about an error, on standard error; return the exit code that it has."""
    if _debugging():
        traceback.print_exception(error)
    if isinstance(error, HoldfastError):
        _print_error(error.message, error.hint)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR
    _print_error(
        f"Sorry, this should not have happened: {type(error).__name__}: {error}",
        "" if _debugging() else f"See where it happened with {DEBUG}=1, and report it.",
    )
    return EXIT_BUG


def _print_error(message: str, hint: str) -> None:
    from holdfast.console import stderr

    stderr.print("[bold red]Error:[/]", end=" ")
    stderr.print(message, markup=False, soft_wrap=True)
    if hint:
        stderr.print("[bold]Hint:[/]", end=" ")
        stderr.print(hint, markup=False, soft_wrap=True)


def _debugging() -> bool:
    return os.environ.get(DEBUG, "0") not in ("", "0")
