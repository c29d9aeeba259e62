"""Forwards a chosen port to the embedded broker, which itself listens on any free port.

Clients use it only to bootstrap: the broker's metadata then direct them to the broker's own port.
"""

from __future__ import annotations

import asyncio
from contextlib import closing

from samplejoin.demo.errors import DemoError

CHUNK_BYTES = 1 << 16


async def serve(port: int, bootstrap: str) -> asyncio.Server:
    """Forwards connections from `port` on localhost to `bootstrap`. Raises DemoError if the port is taken."""
    host, _, target = bootstrap.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(target))
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    try:
        return await asyncio.start_server(connected, "localhost", port)
    except OSError as error:
        raise DemoError(
            f"port {port} on localhost cannot be opened ({error.strerror}): take another by --port"
        ) from None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        try:
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
