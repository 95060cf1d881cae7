"""The database of campaigns: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from holdfast.errors import UsageError
from serving.jobs import tables
from serving.jobs.errors import StorageError, StorageFullError

logger = logging.getLogger(__name__)

#: Seconds for which a writer waits for another one on SQLite.
_PATIENCE = 20.0

#: Seconds after which PostgreSQL counts as not there.
_CONNECT_TIMEOUT = 5

#: Seconds after which PostgreSQL gives up a statement; the longest here stores a campaign's images.
_STATEMENT_TIMEOUT = 60

#: Connections of one process; more callers than these wait for one.
_POOL = 8

#: Of the lock under which PostgreSQL's tables are made, so that two processes do not make them at once.
_LOCK = 0x486F6C6466617374

#: What SQLite and PostgreSQL say where there is no room left.
_FULL = ("disk is full", "53100")


class Database:
    """A connection pool, and what differs between the two kinds of databases.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.

    Raises:
        UsageError: It is neither.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = _with_driver(sa.make_url(url))
        except (ArgumentError, ValueError):  # a port that is no number, which may be the end of a password
            raise UsageError(
                "HOLDFAST_JOBS_DATABASE is no address of a database.",
                hint="Write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, and in a password "
                "%40 for @, %3A for :, %2F for / and %25 for %.",
            ) from None
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.engine = self._make_engine()

    @property
    def url(self) -> str:
        """As DBOS takes it."""
        return self._url.render_as_string(hide_password=False)

    @property
    def file(self) -> Path | None:
        """Where SQLite keeps it; ``None`` on PostgreSQL."""
        return Path(self._url.database or "") if self.is_sqlite else None

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The time by the clock that all who use the database share."""
        if self.is_sqlite:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Double)
        return sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Double)

    def free(self) -> int | None:
        """Bytes that are free where SQLite keeps it; ``None`` where that cannot be known."""
        if self.file is None:
            return None
        try:
            return shutil.disk_usage(self.file.absolute().parent).free
        except OSError:
            return None

    def prepare(self) -> None:
        """Make the file and the tables, DBOS's and ours, where they are not there yet.

        Raises:
            StorageError, StorageFullError: They cannot be made, or are of another version of Holdfast.
        """
        with explained():
            if self.file is not None:
                self.file.absolute().parent.mkdir(parents=True, exist_ok=True)
                with self.engine.connect() as connection:  # it stays so, for everyone who opens the file
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            # The lock is ours alone: DBOS's migrations wait for other transactions to end.
            quieten()
            DBOS.migrate(self.url)
            with self.write() as connection:
                if not self.is_sqlite:
                    connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                tables.metadata.create_all(connection)
                found = connection.execute(sa.select(tables.schema.c.version)).scalar()
                if found is None:
                    connection.execute(sa.insert(tables.schema).values(version=tables.SCHEMA_VERSION))
        if found not in (None, tables.SCHEMA_VERSION):
            raise StorageError(
                f"The jobs in this database were written by another version of Holdfast (their form is "
                f"{found}, this one's is {tables.SCHEMA_VERSION}).",
                hint="Use that version, or another database.",
            )

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes: it sees all that others committed, and all of it happens or none."""
        with self.engine.begin() as connection:
            if self.is_sqlite:  # or what is read before the first change would be read outside of it
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that reads."""
        with self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _make_engine(self) -> sa.Engine:
        if self.is_sqlite:
            engine = sa.create_engine(
                self._url, pool_size=_POOL, max_overflow=0, connect_args={"timeout": _PATIENCE}
            )
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        return sa.create_engine(
            self._url,
            pool_size=_POOL,
            max_overflow=0,
            pool_timeout=_CONNECT_TIMEOUT,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT,
                "application_name": "holdfast",
                "options": f"-c statement_timeout={_STATEMENT_TIMEOUT}s",
            },
        )


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the database raises into an error that says what is wrong with it, and no more.

    Raises:
        StorageFullError: There is no room left.
        StorageError: Anything else.
    """
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        reason = reason_of(error) if isinstance(error, SQLAlchemyError) else str(error)
        state = getattr(getattr(error, "orig", None), "sqlstate", "") or ""
        logger.error("The database of jobs failed: %s", reason)  # noqa: TRY400 - its statement is no help
        if any(sign in reason or sign == state for sign in _FULL):
            raise StorageFullError(
                "There is no room left where jobs are kept.",
                hint="Delete jobs that are finished, or ask the operator for more room.",
            ) from None
        raise StorageError(
            f"The storage of jobs cannot be {'written' if 'readonly' in reason else 'used'} at the moment.",
            hint="The server's log says why; the operator has to look at HOLDFAST_JOBS_DATABASE.",
        ) from None


def reason_of(error: SQLAlchemyError) -> str:
    """What the database said, without the statement that it said it to."""
    return str(getattr(error, "orig", None) or error).strip()


def is_passing(error: SQLAlchemyError) -> bool:
    """Whether the same may succeed later: a connection or a lock was lost, or the disk is full."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    reason, state = str(error.orig), getattr(error.orig, "sqlstate", None) or ""
    return (
        error.connection_invalidated
        or any(sign in reason for sign in ("is locked", "is full", "connection failed", "server closed"))
        or state[:2] in ("08", "40", "53", "57")
    )


def quieten() -> None:
    """Send what DBOS says through this process's own logging, and only what calls for attention."""
    log = logging.getLogger("dbos")
    if not any(isinstance(handler, logging.NullHandler) for handler in log.handlers):
        log.addHandler(logging.NullHandler())  # where there is a handler, DBOS adds none of its own
    log.propagate = True
    log.setLevel(logging.WARNING)


def _with_driver(url: sa.URL) -> sa.URL:
    name = url.get_backend_name()
    if "@" in (url.host or ""):  # or the end of a password would be looked up as a name, and logged as one
        raise ArgumentError(name)
    if name in ("postgresql", "postgres"):
        # A database of no encoding, as one is where there was no locale, would answer in bytes.
        encoding = {"client_encoding": "utf8"} | dict(url.query)
        return url.set(drivername="postgresql+psycopg", query=encoding)
    if name == "sqlite" and url.database:
        return url
    raise ArgumentError(name)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    connection.execute("PRAGMA synchronous=FULL")  # what was committed outlives a power cut
