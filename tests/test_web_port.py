"""The web port answers probes however many slow clients it has, and opens few sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from samplejoin.connection_errors import why_away
from samplejoin.engine.clients import admin
from samplejoin.worker.faust_app import _loop_trouble
from samplejoin.worker.http_server import CONNECTIONS, REQUEST_BYTES, Answer, WebPort

PAGES = {
    "/livez": lambda: Answer(200, "application/json", b"{}"),
    "/large": lambda: Answer(200, "text/plain", b"x" * 5_000_000),
    "/broken": lambda: 1 // 0,
}
SLOW_CLIENTS = 1100


def serve(test: Callable[[WebPort, int], Awaitable[None]], **options: Any) -> None:
    """Runs a test on an open port."""

    async def run() -> None:
        port = WebPort("127.0.0.1", 0, PAGES, **options)  # type: ignore[arg-type]
        await port.start()
        assert port._server is not None
        try:
            await test(port, port._server.sockets[0].getsockname()[1])
        finally:
            await port.stop()

    asyncio.run(run())


async def ask(number: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_probes_are_answered_beside_slow_clients(many_files, caplog):
    async def test(port: WebPort, number: int) -> None:
        slow = [await asyncio.open_connection("127.0.0.1", number) for _ in range(SLOW_CLIENTS)]
        for _, writer in slow:
            writer.write(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert (await ask(number, b"GET /livez HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(port.open) <= CONNECTIONS
        assert not await slow[0][0].read()  # the oldest had to go
        for _, writer in slow:
            writer.close()

    serve(test)
    assert not caplog.records


def test_running_out_of_files_blames_no_broker_and_floods_no_log(caplog):
    out = OSError(errno.EMFILE, "Too many open files")
    loop = asyncio.new_event_loop()
    for _ in range(100):
        _loop_trouble(loop, {"message": "socket.accept() out of system resource", "exception": out})
    loop.close()
    (said,) = caplog.messages
    assert "this process has used up its " in said
    assert "broker" not in said


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_out_of_files_says_so():
    async def connect() -> None:
        client = admin(SimpleNamespace(connection={"bootstrap_servers": "127.0.0.1:1"}))  # type: ignore[arg-type]
        taken = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(socket.socket())
            since = time.monotonic()
            with pytest.raises(KafkaConnectionError) as failed:
                await client.start()
            assert why_away(failed.value, since).startswith("this process has used up its ")
        finally:
            for each in taken:
                each.close()
            await client.close()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        asyncio.run(connect())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_request_that_does_not_end_is_ended():
    async def test(port: WebPort, number: int) -> None:
        assert await ask(number, b"GET /livez HTTP/1.1\r\n") == b""

    serve(test, request_s=0.05)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez?a=b HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /router/x/ HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /table/x/ HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /livez HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"\xff\x00\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"500 Internal Server Error"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * REQUEST_BYTES, b"431 Request Header Fields Too Large"),
    ],
)
def test_what_is_asked_for(request_, status):
    async def test(port: WebPort, number: int) -> None:
        answer = await ask(number, request_)
        assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Connection: close" in head
        assert (b"Content-Length: %d\r\n" % len(body)) in head or request_.startswith(b"HEAD")

    serve(test)


def test_a_long_answer_is_whole():
    async def test(port: WebPort, number: int) -> None:
        assert len((await ask(number, b"GET /large HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")[2]) == 5_000_000

    serve(test)
