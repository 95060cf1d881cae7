"""The connections to a server elsewhere: opened once, used for every request, renewed where one breaks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping

import httpx

from serving import tracing
from serving.backends.base import UnavailableError

#: A connection that is not made by then is not going to be.
_CONNECT_TIMEOUT = 5.0


class Connection:
    """What requests go through to one server. Only connecting has a time limit: every call has its own.

    Args:
        title: What messages and traces call the server.
        url: The server's address; a user and password in it are sent, and shown nowhere.
        kept: Connections that are kept open for the next requests.
        headers: Asked for headers to send along with every request, e.g. the id of the one being answered.
    """

    def __init__(
        self,
        title: str,
        url: str,
        *,
        kept: int,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._base = url.rstrip("/")
        self._title = title
        self._kept = kept
        self.headers = headers
        self._tls: ssl.SSLContext | None = None
        self._client: httpx.AsyncClient | None = None
        self._is_open = False

    @property
    def url(self) -> str:
        """The server's address, to be shown."""
        return _shown(httpx.URL(self._base))

    async def open(self) -> None:
        """Be ready to send requests; the first of them connects."""
        # Once, and beside the event loop: it reads all authorities' certificates, which takes some 20 ms.
        self._tls = await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
        self._client, self._is_open = self._new(), True

    def shut(self) -> None:
        """Take no more requests; those on their way go on."""
        self._is_open = False

    async def close(self) -> None:
        """Close every connection, which ends what is still on its way."""
        self.shut()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Request:
        """A request to the server, with the headers that go along with every one.

        Raises:
            UnavailableError: The connection is shut.
        """
        return self._open().build_request(method, path, content=body, headers={**self.headers(), **headers})

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The response to a request, read to its end.

        A connection may break before anything of an answer has come: one that was kept may be closed just as
        it is used again. A prediction changes nothing, so it is asked for a second time, once, and on a
        connection that is certainly new.

        Raises:
            UnavailableError: The connection is shut.
            httpx.HTTPError: There is no response.
        """
        client = self._open()
        with tracing.call(self._title, _shown(request.url)):
            request.headers.update(tracing.headers())
            try:
                response = await client.send(request, stream=True)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                async with self._new() as another:
                    return await another.send(request)
            try:
                await response.aread()
            finally:
                await response.aclose()
            return response

    async def get(self, path: str) -> httpx.Response:
        """What the server answers at a path, outside every trace.

        Raises:
            UnavailableError: The connection is shut.
            httpx.HTTPError: There is no response.
        """
        return await self._open().get(path, headers=dict(self.headers()))

    def _open(self) -> httpx.AsyncClient:
        if self._client is None or not self._is_open:
            raise UnavailableError(f"The connection to {self._title} is closed.")
        return self._client

    def _new(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._base,
            verify=True if self._tls is None else self._tls,
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._kept),
            trust_env=False,  # what proxies browsers is nothing to a server and its backend
        )


def _shown(url: httpx.URL) -> str:
    """An address for messages and traces, without who asks and by which password."""
    return str(url.copy_with(userinfo=b""))
