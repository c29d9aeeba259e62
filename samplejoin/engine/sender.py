"""Sends blocks and ticks in the order in which they were made, with one task per partition of the repartition topic."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from aiokafka.structs import RecordMetadata

from samplejoin.core.messages import Entry
from samplejoin.engine.failpoints import passed, reached
from samplejoin.engine.plain_producer import PlainProducer
from samplejoin.engine.record_format import RecordFormat
from samplejoin.engine.record_size import TOO_LARGE, TooLarge
from samplejoin.engine.wire import pack_entry

#: entries and bytes that may be sent and not yet acknowledged
MOST_ENTRIES, MOST_BYTES = 256, 32 << 20

Acked = Callable[[int], None]
"""Called with the record's log offset once Kafka has acknowledged it."""


class Sender:
    """Sends entries to the partitions of one topic. The first failed send calls `fatal`; nothing is sent after it."""

    def __init__(
        self,
        producer: PlainProducer,
        topic: str,
        fatal: Callable[[BaseException], None],
        most_bytes: int = MOST_BYTES,
        record_format: RecordFormat | None = None,
    ) -> None:
        self.producer, self.topic, self.fatal, self._most_bytes = producer, topic, fatal, most_bytes
        self._record_format = record_format or RecordFormat()
        self._queues: dict[int, deque[tuple[bytes, Acked]]] = {}
        self._wake: dict[int, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._room = asyncio.Event()
        self._room.set()
        self._failed = False
        #: enqueued entries that are not acknowledged, and their bytes
        self.unacked = self.unacked_bytes = 0

    def enqueue(self, partition: int, entry: Entry, acked: Acked) -> None:
        """Packs `entry` and sends it after everything that was enqueued for the partition before."""
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = deque()
            self._wake[partition] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._run(partition), name=f"send-{self.topic}-{partition}"))
        value = pack_entry(
            entry, self._record_format.writes
        )  # packed here and not when it is sent: thousands of waiting rows are work for the garbage collector
        queue.append((value, acked))
        self._wake[partition].set()
        self.unacked += 1
        self.unacked_bytes += len(value)
        if self.unacked > MOST_ENTRIES or self.unacked_bytes > self._most_bytes:
            self._room.clear()

    async def room(self) -> None:
        """Waits until few enough entries are unacknowledged, so that reading keeps the pace of sending."""
        await self._room.wait()

    async def drain(self, timeout_s: float) -> bool:
        """Waits until all entries are acknowledged; returns False if the timeout ran out or a send failed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while self.unacked and not self._failed and loop.time() < end:
            await asyncio.sleep(0.01)
        return not self.unacked

    async def close(self) -> None:
        """Stops sending at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, partition: int) -> None:
        queue, wake = self._queues[partition], self._wake[partition]
        try:
            while not self._failed:
                if not queue:
                    wake.clear()
                    await wake.wait()
                    continue
                value, acked = queue.popleft()
                await passed("block-begin")
                batch = self.producer.create_batch()
                batch.append(timestamp=None, key=None, value=value)
                batch.close()
                future = await self.producer.send_batch(batch, self.topic, partition=partition)
                future.add_done_callback(partial(self._done, acked, len(value)))
                reached("block-sent")
        except Exception as error:
            self._fail(error)

    def _done(self, acked: Acked, size: int, future: asyncio.Future[RecordMetadata]) -> None:
        if self._failed or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._fail(error)
            return
        self.unacked -= 1
        self.unacked_bytes -= size
        if self.unacked < MOST_ENTRIES // 2 and self.unacked_bytes <= self._most_bytes // 2:
            self._room.set()
        acked(future.result().offset)

    def _fail(self, error: BaseException) -> None:
        if not self._failed:
            self._failed = True
            self._room.set()
            for wake in self._wake.values():  # no partition sends anything more
                wake.set()
            self.fatal(TooLarge(self.topic) if isinstance(error, TOO_LARGE) else error)
