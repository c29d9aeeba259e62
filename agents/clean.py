"""The clean agent: cleans the records of one source and sends packed blocks to the join partitions.

It cuts each block of fetched records into runs. A run becomes at most one record of the repartition log per join
partition, and is acknowledged when everything it caused is. A run with a slow function is cleaned in slices, between
which the event loop is free, instead of in smaller runs: many small blocks would cost more than their content.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faust

from samplejoin.cleaning.cleaned import Cleaned, DeadRecord
from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.cells import combine
from samplejoin.core.covering import Batch
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.dead_letters import RecordLetters
from samplejoin.engine.hot_keys import HotKeys
from samplejoin.engine.meters import Meters
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.sender import Sender
from samplejoin.engine.sources import OwnedSource, SourceBlock

RUN_RECORDS = 2000
#: bytes of cells after which a run ends: its blocks must stay below Kafka's request size
RUN_BYTES = 1 << 20
#: seconds after which the event loop gets a turn
SLICE_S = 0.02


@dataclass
class Cleaning:
    """The parts that the clean agent works with, and its work on one block."""

    config: EngineConfig
    cleaner: Cleaner
    sender: Sender
    letters: RecordLetters
    meters: Meters
    fatal: Any
    hot_keys: HotKeys
    scheduler: FairScheduler
    #: called for each dead letter with stream, reason, function and error
    on_dead: Callable[[str, str, str, str], None] = lambda *_: None
    #: called for a time decades before its record's, with stream, time in ms, and the record's timestamp in ms
    on_far: Callable[[str, int, int], None] = lambda *_: None
    slice_records: int = RUN_RECORDS

    async def block(self, block: SourceBlock) -> None:
        """Cleans and sends one fetched block in runs, until its partition moves to another owner."""
        owned, records = block.owned, block.records
        done = 0
        while True:
            await self.sender.room()
            cleaned = await self._clean(owned, records[done : done + RUN_RECORDS])
            if cleaned is None:
                return
            done += cleaned.records
            last = done >= len(records)
            await self._send(owned, cleaned, block.upto if last else records[done - 1].offset)
            if last:
                return

    async def _clean(self, owned: OwnedSource, run: list[Any]) -> Cleaned | None:
        """Cleans a run, or as much of it as fills blocks. Returns None if the source has moved to another owner."""
        cleaned, done = None, 0
        while cleaned is None or (done < len(run) and cleaned.bytes <= RUN_BYTES):
            await self.scheduler.next_turn()
            if not owned.alive:
                return None
            cleaned = self._slice(owned, run[done : done + self.slice_records], cleaned)
            done = cleaned.records
        self.meters.add("records", (owned.tp.topic,), cleaned.records)
        for (stream, outcome), count in cleaned.counts.items():
            self.meters.add("events", (stream, outcome), count)
        for stream, times in cleaned.far.items():
            self.on_far(stream, *times)
        return cleaned

    def _slice(self, owned: OwnedSource, records: list[KafkaRecord], before: Cleaned | None) -> Cleaned:
        """Cleans the next records, and sets how many fit the next time slice, however slow the user's function is."""
        topic, done = owned.tp.topic, before.records if before else 0
        started = time.perf_counter()
        cleaned = self.cleaner.clean(topic, owned.tp.partition, records, int(time.time() * 1000), RUN_BYTES, before)
        elapsed_s = time.perf_counter() - started
        if cleaned.records > done:
            fitting = int(SLICE_S * (cleaned.records - done) / max(elapsed_s, 1e-6))
            self.slice_records = max(1, min(RUN_RECORDS, fitting))
        self.meters.observe("clean_seconds", (topic,), elapsed_s)
        if cleaned.row_time is not None:
            owned.read_time = max(owned.read_time or 0, cleaned.row_time)
        return cleaned

    async def _send(self, owned: OwnedSource, cleaned: Cleaned, upto: int) -> None:
        """Sends the blocks and dead letters of a run. The batch stays open until all of them are enqueued."""
        batch = owned.writer.batch(upto, cleaned.row_time)
        batch.outstanding += 1
        self._send_blocks(owned, batch, cleaned)
        for dead in cleaned.dead:
            await self._dead_letter(owned, batch, dead)
        _acked(owned, batch)

    def _send_blocks(self, owned: OwnedSource, batch: Batch, cleaned: Cleaned) -> None:
        writer, spec = owned.writer, self.config.spec
        for target, cells in sorted(cleaned.cells.items()):
            if self.config.combine:
                rows = len(cells)
                cells = combine(spec, cells, writer.uncombined)
                self.hot_keys.count(cells, rows)
            batch.outstanding += 1
            self.sender.enqueue(target, writer.block(target, batch, cells), lambda _: _acked(owned, batch))

    async def _dead_letter(self, owned: OwnedSource, batch: Batch, dead: DeadRecord) -> None:
        self.meters.add("dead_letters", (dead.reason,))
        self.on_dead(dead.stream, dead.reason, dead.function, dead.error)
        batch.outstanding += 1
        await self.letters.send(dead, lambda: _acked(owned, batch))


def _acked(owned: OwnedSource, batch: Batch) -> None:
    batch.outstanding -= 1
    owned.writer.settle()


def clean_agent(app: faust.App, channel: Any, cleaning: Cleaning) -> None:
    """Registers the agent on the channel of fetched source blocks."""

    @app.agent(channel, name="clean", concurrency=1)
    async def clean(blocks: faust.StreamT[SourceBlock]) -> None:
        """Cleans the records of the input topics into rows, and sends them to their join partitions."""
        async for block in blocks:
            try:
                await cleaning.block(block)
            except Exception as error:  # going on would leave a gap; the next owner resends from the committed offset
                cleaning.fatal(error)
                raise
