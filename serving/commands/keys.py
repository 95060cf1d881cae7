"""Make, list and revoke the API keys of a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from serving.keys.record import Scope
    from serving.keys.store import KeyStore
    from serving.rates import Rate

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="HOLDFAST_KEYS_FILE",
        show_default=False,
        help="The file of keys, which the gateway finds by the same variable.",
    ),
]


@app.callback()
def keys() -> None:
    """Make, list and revoke the API keys of a gateway.

    The gateway asks for keys where HOLDFAST_KEYS_FILE names a file of them. It takes what is changed here
    within a second, without a restart.
    """


@app.command()
def create(
    scope: Annotated[
        list[str],
        typer.Option(help="What the key is for: classify, attack (attacks and jobs) or admin; repeatable."),
    ],
    name: Annotated[str, typer.Option(help="Whose it is, or what it is for.")] = "",
    expires: Annotated[
        str | None,
        typer.Option(help="When it is valid no longer: 12h, 90d, 2027-01-31 or 2027-01-31T12:00Z."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Its own rate limit, e.g. 600/minute, in place of the gateway's.")
    ] = None,
    file: FileOption = None,
) -> None:
    """Make a key, and show it this once.

    The key itself goes to standard output, and all else to standard error, so that it can be piped to where
    it is to be kept.
    """
    import sys

    from holdfast.console import stderr

    store = _store(file)
    token, record = store.create(
        name or "+".join(scope), _scopes(scope), expires=_expiry(expires), rate=_rate(rate)
    )
    until = f", valid until {_moment(record.expires)}" if record.expires else ""
    stderr.print(
        f"Key {record.id} ({record.name}) for {', '.join(record.scopes)}{until}, in {store.path}. "
        "This is the only time that it is shown:",
        markup=False,
        soft_wrap=True,
    )
    sys.stdout.write(token.reveal() + "\n")


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="Write JSON, for other programs.")] = False,
    file: FileOption = None,
) -> None:
    """List the keys; none of them can be read from what is stored."""
    from holdfast.console import print_json, stdout, table

    store = _store(file)
    records = store.read()
    if json:
        print_json(
            [
                {**record.model_dump(mode="json", exclude={"hash"}), "state": record.state()}
                for record in records
            ]
        )
        return
    from rich.markup import escape

    listing = table("id", "name", "scopes", "state", "created", "expires", "rate")
    for record in records:
        state = record.state()
        listing.add_row(
            record.id,
            escape(record.name),
            ", ".join(record.scopes),
            state,
            _moment(record.created),
            _moment(record.expires) if record.expires else "never",
            str(record.rate or ""),
            style="" if state == "active" else "dim",
        )
    stdout.print(listing)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as 'holdfast keys list' shows it.")],
    file: FileOption = None,
) -> None:
    """Revoke a key; a gateway that runs refuses it within a second."""
    from holdfast.console import stderr

    record = _store(file).revoke(_id(key))
    stderr.print(f"Key {record.id} ({record.name}) is revoked.", markup=False, soft_wrap=True)


def _store(file: Path | None) -> KeyStore:
    from holdfast.errors import UsageError
    from serving.keys.store import KeyStore

    if file is None:
        raise UsageError(
            "Nobody says which file of keys is meant.",
            hint="Name one with HOLDFAST_KEYS_FILE, which the gateway reads too, or with --file.",
        )
    return KeyStore(file)


def _id(text: str) -> str:
    """A key's id; who gives the whole key means that one."""
    from serving.keys.token import Token

    token = Token.parse(text)
    return text if token is None else token.id


def _scopes(given: list[str]) -> tuple[Scope, ...]:
    from holdfast.errors import UsageError
    from serving.keys.record import SCOPES

    unknown = [scope for scope in given if scope not in SCOPES]
    if unknown:
        raise UsageError(f"There is no scope {unknown[0]!r}.", hint=f"There are: {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in given)


def _expiry(text: str | None) -> datetime | None:
    import re
    from datetime import UTC, datetime, timedelta

    from holdfast.errors import UsageError

    if text is None:
        return None
    now = datetime.now(UTC)
    try:
        if match := re.fullmatch(r"(\d{1,6})([hd])", text, re.ASCII):
            span = timedelta(**{"hours" if match[2] == "h" else "days": int(match[1])})
            moment = now.replace(microsecond=0) + span
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--expires is {text!r}: that is no time.",
            hint="Write 12h, 90d, 2027-01-31 or 2027-01-31T12:00Z; without a time zone it is UTC.",
        ) from None
    if moment <= now:
        raise UsageError(f"--expires is {text!r}: that is over already.")
    return moment


def _rate(text: str | None) -> Rate | None:
    from holdfast.errors import UsageError
    from serving.rates import Rate

    if text is None:
        return None
    try:
        return Rate.parse(text)
    except ValueError as error:
        raise UsageError(f"--rate is {text!r}: {error}.") from None


def _moment(moment: datetime) -> str:
    from datetime import UTC

    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
