"""What can go wrong with campaigns.

HoldfastError
└── JobError
    ├── UnknownJobError          there is no such job, or it is another caller's
    ├── UnknownRunError          the job has no such run
    ├── JobNotFinishedError      its result is asked for too early
    ├── KeyReusedError           the Idempotency-Key stands for another campaign
    ├── TooManyJobsError         as many jobs wait as may
    ├── QuotaError               all jobs together would hold more bytes than they may
    ├── StorageFullError         the disk or the database is full
    └── StorageError             the database cannot be reached, read or written
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class JobError(HoldfastError):
    """A campaign cannot be taken on, found or answered; the message is fit for the caller."""


class UnknownJobError(JobError):
    """There is no such job, or it is another caller's."""


class UnknownRunError(JobError):
    """The job has no such run."""


class JobNotFinishedError(JobError):
    """Its result is asked for too early."""


class KeyReusedError(JobError):
    """The Idempotency-Key stands for another campaign."""


class TooManyJobsError(JobError):
    """As many jobs wait as may."""


class QuotaError(JobError):
    """All jobs together would hold more bytes than they may."""


class StorageFullError(JobError):
    """The disk or the database is full."""


class StorageError(JobError):
    """The database cannot be reached, read or written."""
