"""A small HTTP port for monitoring, with bounded time and memory however many slow clients connect.

Each connection takes one request. A new connection is always accepted: at the limit the oldest one is closed, so that
clients which hold connections open cannot keep a probe out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from mode import Service

from samplejoin.core.user_errors import said
from samplejoin.engine.config import WorkerError

log = logging.getLogger(__name__)

CONNECTIONS = 128
#: accepted in one turn of the event loop; below CONNECTIONS, so that a request is read before its connection is closed
BACKLOG = 50
REQUEST_BYTES = 16 << 10
#: limits from the connection to the end of the request's head, and from there to the last byte of the answer
REQUEST_S, ANSWER_S = 5.0, 10.0


class Answer(NamedTuple):
    """The response of a page."""

    status: int
    content_type: str
    body: bytes


Pages = Mapping[str, Callable[[], Answer]]
"""Path -> the function that makes the page. If it raises, the client gets a 500 without the reason."""


def refuse_taken(host: str, port: int) -> None:
    """Raises WorkerError if the port cannot be opened. Called before anything else of the worker starts."""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        raise _cannot_open(host, port, error) from error


def _cannot_open(host: str, port: int, error: OSError) -> WorkerError:
    reason = (error.strerror or str(error)).lower()
    return WorkerError(
        f"web port {port} on {host} cannot be opened ({reason}): set web_port, --web-port or SAMPLEJOIN_WEB_BIND"
    )


class WebPort(Service):
    """Serves `pages` on `host`:`port` by GET and HEAD."""

    def __init__(
        self, host: str, port: int, pages: Pages, *, connections: int = CONNECTIONS, request_s: float = REQUEST_S
    ) -> None:
        self.host, self.port, self.pages = host, port, pages
        self.connections, self.request_s = connections, request_s
        #: the open connections, oldest first
        self.open: dict[_Connection, None] = {}
        self._server: asyncio.Server | None = None
        super().__init__()

    async def on_start(self) -> None:
        """Opens the port. Raises WorkerError if that fails."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self), self.host, self.port, backlog=BACKLOG, reuse_address=True
            )
        except OSError as error:
            raise _cannot_open(self.host, self.port, error) from error

    async def on_stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.open):
            connection.drop()

    def enter(self, connection: _Connection) -> None:
        """Adds a connection, and closes the oldest one if the limit is reached."""
        if len(self.open) >= self.connections:
            next(iter(self.open)).drop()
        self.open[connection] = None

    def answer(self, head: bytes) -> Answer:
        """Returns the answer to a request's head."""
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("ascii", "replace")
        page = self.pages.get(path)
        if method not in (b"GET", b"HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        if page is None:
            return _plain(HTTPStatus.NOT_FOUND)
        try:
            return page()
        except Exception as error:
            log.warning("page %s failed: %s", path, said(error))
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Connection(asyncio.Protocol):
    """One client's connection: reads a request's head, writes the answer, and closes."""

    def __init__(self, port: WebPort) -> None:
        self._port = port
        self._head = b""
        self._answered = False
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline = asyncio.get_running_loop().call_later(self._port.request_s, self.drop)
        self._port.enter(self)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._head += data
        if len(self._head) > REQUEST_BYTES:
            self._answer(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        elif b"\r\n\r\n" in self._head:
            self._answer(self._port.answer(self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._port.open.pop(self, None)

    def drop(self) -> None:
        """Closes the connection at once."""
        self._port.open.pop(self, None)
        self._transport.abort()

    def _answer(self, answer: Answer) -> None:
        self._answered = True
        self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(ANSWER_S, self.drop)
        status = HTTPStatus(answer.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        )
        body = b"" if self._head.startswith(b"HEAD ") else answer.body
        self._head = b""
        self._transport.write(head.encode() + body)
        self._transport.close()


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status.value, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode())
