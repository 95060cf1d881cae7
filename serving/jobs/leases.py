"""Who works, and who has not been heard of for too long."""

from __future__ import annotations

import logging
import os
import socket

import sqlalchemy as sa

from serving.jobs.database import Database
from serving.jobs.tables import workers

logger = logging.getLogger(__name__)

#: Seconds for which it is remembered that a worker has gone.
_MEMORY = 86_400.0


class Leases:
    """The workers' table: a worker that does not renew its lease is given up by the others, for good.

    Args:
        database: Prepared.
        seconds: For how long a lease holds.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self.seconds = seconds

    def begin(self, worker: str) -> None:
        """Say that a worker is there."""
        now = self._database.now
        with self._database.write() as connection:
            connection.execute(
                sa.insert(workers).values(
                    id=worker,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    state="alive",
                    started=now,
                    seen=now,
                )
            )

    def renew(self, worker: str) -> bool:
        """Say that a worker is still there; whether the others believe it."""
        with self._database.write() as connection:
            renewed = connection.execute(
                sa.update(workers)
                .where(workers.c.id == worker, workers.c.state == "alive")
                .values(seen=self._database.now)
            )
            return renewed.rowcount == 1

    def end(self, worker: str, state: str = "stopped") -> None:
        """Say that a worker is gone, so that nobody waits for it."""
        with self._database.write() as connection:
            connection.execute(sa.update(workers).where(workers.c.id == worker).values(state=state))

    def give_up(self) -> list[str]:
        """Give up the workers that have not been heard of for longer than a lease; which these were."""
        with self._database.write() as connection:
            lost = (
                connection.execute(
                    sa.update(workers)
                    .where(workers.c.state == "alive", workers.c.seen < self._database.now - self.seconds)
                    .values(state="lost")
                    .returning(workers.c.id)
                )
                .scalars()
                .all()
            )
            connection.execute(
                sa.delete(workers).where(
                    workers.c.state != "alive", workers.c.seen < self._database.now - _MEMORY
                )
            )
        for worker in lost:
            logger.warning(
                "Worker %s has not been heard of for %.0f s; its work goes to others", worker, self.seconds
            )
        return list(lost)

    def alive(self) -> set[str]:
        """The workers that are there, as far as is known."""
        with self._database.read() as connection:
            return set(
                connection.execute(sa.select(workers.c.id).where(workers.c.state == "alive")).scalars()
            )
