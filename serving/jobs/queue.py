"""The queue of chunks, by DBOS: a chunk is a durable workflow of its own, and any worker may take it.

The names and the version are part of what is stored: a worker takes only what is of its own version, so a
change of what a chunk means changes the version too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer

from serving.jobs.database import Database, quieten

APPLICATION = "holdfast"
VERSION = "campaigns-1"
QUEUE = "holdfast-chunks"
WORKFLOW = "holdfast.chunk"

#: Seconds between two looks of an idle worker at the queue.
POLLING = 0.25

_LARGEST_PRIORITY = 2**31 - 1

#: Chunks that one statement names: PostgreSQL takes 65,535 parameters, and SQLite, as it comes, 32,766.
_AT_ONCE = 1_000


class ChunkQueue:
    """What a process that is not a worker, or that speaks for itself, may do with the queue.

    Args:
        database: Prepared; its connections are used.
    """

    def __init__(self, database: Database) -> None:
        quieten()
        self._client = DBOSClient(
            system_database_engine=database.engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            retry_connection_errors=False,
        )

    def put(self, connection: sa.Connection, job: str, chunks: Sequence[int]) -> None:
        """Enqueue chunks of a job within a transaction: they are there if the job is.

        Jobs take turns: of all that wait, the chunk goes first whose job has had the fewest before it.
        """
        for turn, chunk in enumerate(chunks, 1):
            self._client.enqueue_in_transaction(
                connection,
                {
                    "workflow_name": WORKFLOW,
                    "queue_name": QUEUE,
                    "workflow_id": workflow_id(job, chunk),
                    "app_version": VERSION,
                    "priority": min(turn, _LARGEST_PRIORITY),
                },
                job,
                chunk,
            )

    def cancel(self, job: str, chunks: Iterable[int]) -> None:
        """Take chunks out of the queue; what a worker has begun it is told to end by the job's state."""
        for ids in _in_batches(job, chunks):
            self._client.cancel_workflows(ids)

    def forget(self, job: str, chunks: Iterable[int]) -> None:
        """Delete all that the queue knows of chunks; where that is interrupted, it can be done again."""
        for ids in _in_batches(job, chunks):
            self._client.delete_workflows(ids)

    def holders(self) -> set[str]:
        """The workers in whose name chunks are being carried out."""
        found = self._client.list_workflows(
            status="PENDING", name=WORKFLOW, load_input=False, load_output=False
        )
        return {status.executor_id for status in found if status.executor_id}

    def close(self) -> None:
        """End what runs for it; the database stays open."""
        self._client.destroy()


def workflow_id(job: str, chunk: int) -> str:
    """A chunk's name in DBOS: there is only one of it, however often it is enqueued."""
    return f"{job}.{chunk}"


def _in_batches(job: str, chunks: Iterable[int]) -> Iterator[list[str]]:
    """The names of chunks in DBOS, as many at a time as one statement takes."""
    names = (workflow_id(job, chunk) for chunk in chunks)
    while batch := list(islice(names, _AT_ONCE)):
        yield batch
