"""Options of a load test, as they are read from its command line, without locust."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from loadtests.options import Options, add_options, read_options, settle


class Parser(ArgumentParser):
    """Locust's parser knows environment variables."""

    def add_argument_group(self, *args: Any, **kwargs: Any) -> Any:
        group = super().add_argument_group(*args, **kwargs)
        plain = group.add_argument
        group.add_argument = lambda *a, env_var="", **k: plain(*a, **k)  # type: ignore[method-assign]
        return group


def options(*arguments: str, users: int | None = 8, seconds: int | None = 40) -> Options:
    """The options of a command line; -u and -t are locust's own."""
    parser = Parser()
    add_options(parser)
    parsed = parser.parse_args(arguments, Namespace(num_users=users, run_time=seconds, spawn_rate=None))
    settle(parsed)
    return read_options(parsed)
