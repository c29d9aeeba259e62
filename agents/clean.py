"""The clean agent: records of one source in, packed blocks for the join partitions out.

One block of fetched records at a time, cut into runs; each run becomes at most one repartition record per join
partition, and is acknowledged when all it caused is. A slow function's run is cleaned in slices, between which the
event loop is free: many small blocks would cost more than what is in them.
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
#: time after which the event loop is let go
SLICE_S = 0.02


@dataclass
class Cleaning:
    """What the clean agent works with."""

    config: EngineConfig
    cleaner: Cleaner
    sender: Sender
    letters: RecordLetters
    meters: Meters
    fatal: Any
    hot_keys: HotKeys
    scheduler: FairScheduler
    #: is told of each dead letter: stream, reason, function, error
    on_dead: Callable[[str, str, str, str], None] = lambda *_: None
    #: is told of a time decades before its record's: stream, time and record's time in ms
    on_far: Callable[[str, int, int], None] = lambda *_: None
    slice_records: int = RUN_RECORDS

    async def block(self, block: SourceBlock) -> None:
        """Cleans and sends one fetched block in runs, unless its partition has gone to another owner."""
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
        """One run, or as much of it as makes blocks of full size; None if the source has gone to another owner."""
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
        """Some records more; the next ones are as many as fit the time slice, however slow the user's function is."""
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
        """Sends what a run became. The batch is held open until all of it is on its way."""
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
        """Makes rows of the input topics' records, and sends them to their join partitions."""
        async for block in blocks:
            try:
                await cleaning.block(block)
            except Exception as error:  # going on would leave a gap; the next owner resends from the commit
                cleaning.fatal(error)
                raise
