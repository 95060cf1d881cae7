"""The tables of campaigns, in the same database as DBOS's own.

Everything about a job is in the database, its images and its results too: whoever reaches the database can
take a share of the work, with no folder in common. Times are seconds since the epoch, by the database's clock
where it has one of its own (see :meth:`serving.jobs.database.Database.now`).
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import BigInteger

#: Of the tables' meaning. A database that says another is refused, rather than misread.
SCHEMA_VERSION = 1

metadata = MetaData()

schema = Table("holdfast_schema", metadata, Column("version", Integer, primary_key=True))

#: One row for each job. ``done`` counts finished chunks of ``chunks``; ``events`` is the last event's number;
#: ``size`` is what it counts for against the quota: while it runs, what it may come to hold at most, and then
#: what it holds, which is ``stored``.
jobs = Table(
    "holdfast_jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("error", Text, nullable=False, default=""),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("images", Integer, nullable=False),
    Column("labels", String(16), nullable=False),
    Column("float_images", Boolean, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("done", Integer, nullable=False, default=0),
    Column("events", Integer, nullable=False, default=0),
    Column("size", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("request_id", String(128), nullable=False),
    Index("holdfast_jobs_by_owner", "owner", "created"),
    Index("holdfast_jobs_by_state", "state"),
)

#: What is to be run over all images of a job: one attack, on one model, behind one defence.
runs = Table(
    "holdfast_runs",
    metadata,
    Column("job", String(32), primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("defence", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("attack", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("eot", Integer, nullable=False),
    Column("judged", Boolean, nullable=False),
)

#: The images as they came: files, or the bytes of float32 arrays where those were sent.
images = Table(
    "holdfast_images",
    metadata,
    Column("job", String(32), primary_key=True),
    Column("image", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("label", Text),
    Column("exact", Boolean, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

#: A share of a run that one worker carries out at a time. ``epoch`` grows with every claim: whoever holds an
#: older one may not commit. ``attempts`` counts the claims that ended in nothing.
chunks = Table(
    "holdfast_chunks",
    metadata,
    Column("job", String(32), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("cost", Double, nullable=False),
    Column("state", String(16), nullable=False, default="waiting"),
    Column("epoch", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", String(64)),
    Column("seconds", Double, nullable=False, default=0.0),
    Column("wrong_before", Integer, nullable=False, default=0),
    Column("fooled", Integer, nullable=False, default=0),
    Column("successes", Integer, nullable=False, default=0),
)

#: What came of a chunk: JSON, compressed, and the adversarial images as a zip.
results = Table(
    "holdfast_results",
    metadata,
    Column("job", String(32), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("record", LargeBinary, nullable=False),
    Column("pictures", LargeBinary, nullable=False),
)

#: What happened to a job, in order: what server-sent events are made from, and replayed.
events = Table(
    "holdfast_events",
    metadata,
    Column("job", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("data", Text, nullable=False),
)

#: Which job an Idempotency-Key stands for, and of what content.
idempotency = Table(
    "holdfast_idempotency",
    metadata,
    Column("owner", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("job", String(32), nullable=False, index=True),
)

#: Who works. A worker is alive while it renews its lease; one that was given up never becomes alive again.
workers = Table(
    "holdfast_workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started", Double, nullable=False),
    Column("seen", Double, nullable=False),
)

#: All tables that have a row for a job, by the column that names it.
OF_JOBS = (
    (results, results.c.job),
    (images, images.c.job),
    (chunks, chunks.c.job),
    (runs, runs.c.job),
    (events, events.c.job),
    (idempotency, idempotency.c.job),
    (jobs, jobs.c.id),
)
