# Written from _async by scripts/unasync.py; change it there.
"""Sends requests, again where that is safe, and hands answers over."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast_client import _calls
from holdfast_client._answers import refusal, understand
from holdfast_client._call import Call, Listener, Reply
from holdfast_client._config import Config
from holdfast_client._errors import APIConnectionError, APIError, APITimeoutError, ConfigurationError
from holdfast_client._retries import Failure, Retries
from holdfast_client._server import ServerInfo, explain, info_of, is_puzzling

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")

logger = logging.getLogger("holdfast_client")

#: Seconds to reach the server, of whatever an attempt may take.
_CONNECT = 10.0

#: Of the time for an attempt, how much there is for an answer that began when most of it was over.
_READING = 0.1

#: Seconds to ask what a server is, after it answered something odd.
_HANDSHAKE = 5.0


class Transport:
    """Connections to one server, which are kept and used again.

    Args:
        config: Where, and as whom.
        retries: How often and how soon a request is sent again.
        connections: How many there may be at once.
        verify: As in httpx: whether to check the server's certificate, or by what.
        http: In place of sockets, e.g. an ``httpx.MockTransport``.
    """

    def __init__(
        self,
        config: Config,
        retries: Retries,
        *,
        connections: int,
        verify: ssl.SSLContext | bool,
        http: httpx.BaseTransport | None,
    ) -> None:
        import ssl

        import httpx

        if verify is True and config.base_url.startswith("http://"):
            # Nothing is encrypted: spare the tenth of a second that reading all certificates takes.
            verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.config = config
        self.retries = retries
        self._httpx = httpx
        self._http = httpx.Client(
            base_url=config.base_url,
            headers=config.headers,
            transport=http,
            verify=verify,
            follow_redirects=False,  # a redirection could take the key elsewhere
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def call(self, call: Call[T], timeout: float | None = None) -> T:
        """Send a request and read its answer.

        Raises:
            APIConnectionError: There was none.
            ProblemError: The server refused.
            UnexpectedAnswerError: It cannot be understood.
        """
        try:
            return understand(call, self._send(call, timeout or self.config.timeout))
        except APIError as error:
            if is_puzzling(error):
                explain(error, self.describe(), self.config.base_url)
            raise

    def describe(self) -> ServerInfo | None:
        """What the server says that it is; None if it says nothing, or is no Holdfast."""
        call = _calls.describe()
        outcome = self._attempt(call, {}, _HANDSHAKE)
        if not isinstance(outcome, Reply) or outcome.status != 200:
            return None
        try:
            return info_of(call.read(outcome))
        except ValueError:
            return None

    def _send(self, call: Call[Any], timeout: float) -> Reply:
        """Send a request, again if it has to be and may be."""
        # One id for all attempts: the server's log shows them together, and a canary's dice fall alike.
        request_id = uuid.uuid4().hex
        attempt = 0
        while True:
            attempt += 1
            began = time.monotonic()
            outcome = self._attempt(call, {"X-Request-Id": request_id}, timeout)
            _log(call, outcome, time.monotonic() - began, request_id)
            if not self._waited(call, outcome, attempt):
                break
        if isinstance(outcome, Reply):
            return replace(outcome, attempts=attempt)
        outcome.error.request_id = request_id
        outcome.error.attempts = attempt
        raise outcome.error

    def _waited(self, call: Call[Any], outcome: Reply | Failure, attempt: int) -> bool:
        """Whether a request may be sent again after what came of it; the wait before that is over then."""
        delay = self.retries.delay(call, outcome, attempt)
        if delay is None:
            return False
        logger.info("%s %s: %s; it is sent again in %.2f s", call.method, call.path, _result(outcome), delay)
        time.sleep(delay)
        return True

    def _attempt(self, call: Call[Any], headers: dict[str, str], timeout: float) -> Reply | Failure:
        """Send a request once."""
        httpx = self._httpx
        deadline = time.monotonic() + timeout
        answered = False
        try:
            with self._open(call, headers, timeout) as response:
                answered = True
                # Sending alone may have taken all of the time, and what is answered then is not thrown away.
                deadline = max(deadline, time.monotonic() + _READING * timeout)
                late = False
                parts: list[bytes] = []
                listener = _listener(call, response)
                for part in response.iter_bytes():
                    if late:  # httpx's own timeouts are from one byte to the next
                        raise httpx.ReadTimeout("the answer came too slowly", request=response.request)
                    if listener is None:
                        parts.append(part)
                    else:
                        listener.hear(part)
                    late = time.monotonic() > deadline  # and given up only if this was not the last part
                whole = Reply(response.status_code, _lower(response), b"".join(parts))
                reply = whole if listener is None else listener.reply(whole)
                if reply is None:
                    raise httpx.RemoteProtocolError("the events ended too soon", request=response.request)
                return reply
        except httpx.HTTPError as error:
            return self._failure(call, error, timeout, answered=answered)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"The address cannot be used: {error}.") from error

    @contextmanager
    def stream(
        self, call: Call[Any], silence: float, *, again: bool = True
    ) -> Generator[httpx.Response, None, None]:
        """Begin a request whose answer is read as it comes; it is not sent again once that has begun.

        Args:
            call: The request.
            silence: Seconds without a byte after which the answer is given up.
            again: Send the request again, where it may be, as long as it is not answered as it should be.

        Raises:
            APIConnectionError: There was no answer, or it ended too soon.
            ProblemError: The server refused.
        """
        request_id = uuid.uuid4().hex
        attempt = 0
        while True:
            attempt += 1
            began = time.monotonic()
            answered = accepted = False
            outcome: Reply | Failure
            try:
                with self._open(call, {"X-Request-Id": request_id}, silence) as response:
                    answered = True
                    accepted = response.status_code == 200
                    if accepted:
                        yield response
                        return
                    outcome = Reply(response.status_code, _lower(response), response.read())
            except self._httpx.HTTPError as error:
                outcome = self._failure(call, error, silence, answered=answered)
            _log(call, outcome, time.monotonic() - began, request_id)
            if accepted or not again or not self._waited(call, outcome, attempt):
                break
        if isinstance(outcome, Reply):
            raise refusal(call, replace(outcome, attempts=attempt))
        outcome.error.request_id = request_id
        outcome.error.attempts = attempt
        raise outcome.error

    def _open(self, call: Call[Any], headers: dict[str, str], timeout: float) -> Any:
        return self._http.stream(
            call.method,
            call.path,
            params=dict(call.params) or None,
            headers={**call.headers, **headers},
            content=call.content,
            data=dict(call.fields) or None,
            files=list(call.files) or None,
            timeout=self._httpx.Timeout(timeout, connect=min(timeout, _CONNECT)),
        )

    def _failure(self, call: Call[Any], error: httpx.HTTPError, timeout: float, *, answered: bool) -> Failure:
        httpx = self._httpx
        late = isinstance(error, httpx.TimeoutException)
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
        sent = not isinstance(error, (*unsent, httpx.UnsupportedProtocol, httpx.LocalProtocolError))
        words = str(error) or type(error).__name__
        where = f"{call.method} {self.config.base_url}{call.path}"
        if isinstance(error, httpx.PoolTimeout):
            message = f"{where}: no connection was free within {timeout:g} s."
        elif not sent:
            message = f"{where}: the server cannot be reached: {words}."
        elif late:
            message = f"{where}: not answered within {timeout:g} s."
        elif answered:
            message = f"{where}: the connection ended within the answer: {words}."
        else:
            message = f"{where}: the connection ended before an answer: {words}."
        raised = APITimeoutError(message) if late else APIConnectionError(message)
        raised.__cause__ = error
        return Failure(raised, sent=sent, answered=answered, late=late)


def _listener(call: Call[Any], response: httpx.Response) -> Listener | None:
    """What hears an answer, if it comes in events and they were asked for."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    events = response.status_code == 200 and kind == "text/event-stream"
    return call.listen() if call.listen is not None and events else None


def _log(call: Call[Any], outcome: Reply | Failure, seconds: float, request_id: str) -> None:
    """Say what became of an attempt: no header, no body, no query."""
    took = 1000 * seconds
    logger.debug("%s %s: %s in %.0f ms (%s)", call.method, call.path, _result(outcome), took, request_id)


def _result(outcome: Reply | Failure) -> str:
    return str(outcome.status) if isinstance(outcome, Reply) else type(outcome.error).__name__


def _lower(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
