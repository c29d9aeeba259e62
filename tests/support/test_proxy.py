"""The proxy forwards, cuts, stalls and heals."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from samplejoin.demo.process import LOOPBACK, free_port
from tests.support.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that says back what it hears."""
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1000):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"{LOOPBACK}:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo) -> Iterator[Proxy]:
    with Proxy(LOOPBACK, free_port(), echo) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=5)


def said(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(1000)


def ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it, in order or not."""
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


def test_it_forwards_both_ways(proxy):
    with connect(proxy) as one, connect(proxy) as other:
        assert said(one, b"one") == b"one"
        assert said(other, b"other") == b"other"


def test_cut_ends_connections_and_refuses_new_ones(proxy):
    with connect(proxy) as open_before:
        assert said(open_before, b"x") == b"x"
        proxy.cut()
        assert ended(open_before)
    with connect(proxy) as refused:
        assert ended(refused)
    proxy.heal()
    with connect(proxy) as healed:
        assert said(healed, b"y") == b"y"


def test_stall_keeps_connections_and_forwards_nothing(proxy):
    with connect(proxy) as connection:
        assert said(connection, b"x") == b"x"
        proxy.stall()
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            said(connection, b"late")
        connection.settimeout(5)
        proxy.heal()
        assert connection.recv(1000) == b"late"
