"""Who sends garbage, and sees to it that the gateway answers it, in words, and lives."""

from __future__ import annotations

from urllib.parse import urlsplit

import gevent
from locust import task

from loadtests import raw_http
from loadtests.answers import judge_refused_input
from loadtests.garbage import GARBAGE, Writer, packed_zeros
from loadtests.ledger import Outcome
from loadtests.target import key_headers
from loadtests.users.base import GatewayUser


class Hostile(GatewayUser):
    """Sends what cannot be used.

    The gateway fails by answering with 5xx, but for a 503 that says when to come back; by not answering; by
    showing a stack trace; by an answer that is no problem document; and by taking it.
    """

    TAGS = ("hostile",)
    weight = 2

    @classmethod
    def prepare(cls) -> None:
        """Pack what is to be unpacked."""
        packed_zeros()

    @task(8)
    def garbage(self) -> None:
        """Anything but the slow ones."""
        self._send(self.random.choice([kind for kind in GARBAGE if kind != "slow body"]))

    @task(1)
    def slowly(self) -> None:
        """A request that would take for ever to arrive."""
        self._send("slow body")

    @task(2)
    def is_alive(self) -> None:
        """Whether the gateway is there still."""
        self.ask("livez", "GET", "/livez", rule=lambda _: None)

    def _send(self, kind: str) -> None:
        target = self.target
        writer = Writer(urlsplit(target.url).netloc, key_headers(), target.model, self.random)
        which = self.random.randrange(len(GARBAGE[kind]))
        garbage = GARBAGE[kind][which](writer)
        name = f"hostile: {kind}"
        start = self.begin(name)
        try:
            answer = raw_http.exchange(
                target.url,
                garbage.pieces,
                patience=self.options.patience,
                half_close=garbage.half_close,
                method=garbage.method,
            )
        except gevent.GreenletExit:
            self.end(name, garbage.method, start, Outcome.UNANSWERED, fault="no answer by the end of the run")
            raise
        except raw_http.HangError as error:
            self.end(name, garbage.method, start, Outcome.UNANSWERED, fault=f"number {which}: {error}")
            return
        except raw_http.GoneError as error:
            # Who has gone away cannot be answered, and need not be.
            outcome = Outcome.ANSWERED if garbage.half_close else Outcome.UNANSWERED
            fault = "" if garbage.half_close else f"number {which}: {error}"
            self.end(name, garbage.method, start, outcome, fault=fault)
            return
        found = judge_refused_input(answer, protocol=garbage.protocol)
        self.conclude(name, garbage.method, start, answer, found and f"number {which}: {found}")
