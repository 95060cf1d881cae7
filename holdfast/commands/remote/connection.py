"""A client of a gateway, whose errors are those of every command."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.errors import HoldfastError, UsageError

if TYPE_CHECKING:
    from holdfast_client import Holdfast

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Ask this gateway in place of a bundle here; its key is taken from HOLDFAST_API_KEY.",
    ),
]


#: Problems with status 422 that are an image's own.
_OF_AN_IMAGE = frozenset({"not-an-image", "empty-image", "truncated-image", "damaged-image"})

_AWAY = "Is a gateway running there? 'holdfast serve' starts one."
_KEY = "The key that is sent is the one in HOLDFAST_API_KEY."


@contextmanager
def connected(server: str | None) -> Iterator[Holdfast]:
    """A client of the gateway at ``server``, or where ``HOLDFAST_URL`` says.

    Raises:
        UsageError: The client is not installed, or something was given that cannot be sent.
        HoldfastError: The gateway refused, or cannot be reached.
    """
    try:
        import holdfast_client as sdk
    except ModuleNotFoundError as error:
        if error.name not in ("holdfast_client", "httpx", "anyio"):
            raise
        raise UsageError(
            "Asking a gateway needs the package holdfast-client, which is not installed.",
            hint="Install it from a checkout with: pip install ./clients/python",
        ) from None
    try:
        with _told(), sdk.Holdfast(server) as client:
            yield client
    except (sdk.ConfigurationError, sdk.ImageInputError) as error:
        raise UsageError(error.message, hint=error.hint) from error
    except sdk.ProblemError as error:
        found = f" (request {error.request_id})" if error.request_id else ""
        hint = _KEY if isinstance(error, sdk.AuthenticationError) else error.hint
        raise HoldfastError(f"{error.problem.title}: {error.message}{found}", hint=hint) from error
    except sdk.HoldfastError as error:
        away = isinstance(error, sdk.APIConnectionError) and not isinstance(error, sdk.APITimeoutError)
        raise HoldfastError(error.message, hint=error.hint or (_AWAY if away else "")) from error


class _Telling(logging.Handler):
    """Says what the client has to say, such as that it waits as long as a busy gateway asks for."""

    def emit(self, record: logging.LogRecord) -> None:
        from holdfast.console import stderr

        last = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if isinstance(last, float) and last < 1:
            return  # a wait that nobody notices
        stderr.print(record.getMessage(), markup=False, style="yellow", soft_wrap=True)


@contextmanager
def _told() -> Iterator[None]:
    """Whoever waits is told what for."""
    logger, handler = logging.getLogger("holdfast_client"), _Telling(logging.INFO)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def is_about_one_image(error: Exception) -> bool:
    """Whether what is wrong may be so with one image alone; else it is wrong with every other, too."""
    import holdfast_client as sdk

    if isinstance(error, sdk.InvalidRequestError):
        return error.kind in _OF_AN_IMAGE
    of_all = (
        sdk.APIConnectionError,
        sdk.AuthenticationError,
        sdk.PermissionDeniedError,
        sdk.NotFoundError,
    )
    return isinstance(error, sdk.ImageInputError | sdk.APIError) and not isinstance(error, of_all)


def as_json(value: Any) -> Any:
    """A result of the client as JSON has it, without the files in it."""
    from dataclasses import fields, is_dataclass
    from datetime import datetime

    if is_dataclass(value):
        left_out = ("base64", "source")
        return {
            each.name: as_json(getattr(value, each.name))
            for each in fields(value)
            if each.name not in left_out
        }
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value
