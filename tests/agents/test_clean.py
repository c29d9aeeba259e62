"""How the clean agent cuts what was fetched into blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition

from samplejoin.agents import clean
from samplejoin.agents.clean import RUN_RECORDS, SLICE_S, Cleaning
from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.sources import SourceBlock, Sources
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from tests.cleaning.cleaners import NOW, Record
from tests.job.helpers import job_data

IMPRESSIONS = TopicPartition("imp", 0)


class Sent:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, Any]] = []

    def enqueue(self, partition: int, entry: Any, acked: Any) -> None:
        self.blocks.append((partition, entry))

    async def room(self) -> None:
        """There is room."""


class Counted:
    """Meters that keep what is counted."""

    def __init__(self) -> None:
        self.counts: dict[Any, float] = {}
        self.slices = 0

    def add(self, name: str, labels: tuple[str, ...], by: float = 1) -> None:
        self.counts[labels] = self.counts.get(labels, 0) + by

    def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
        self.slices += 1


class Play:
    """A clean agent of one source whose function takes `seconds` for a record, by a clock of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.sent, self.meters, now = Sent(), Counted(), [0.0]
        job = compile_job(model_of(job_data(), environ={}), folder)
        config = EngineConfig(job.spec, "print", Topics("job", "s", None, None, "d"), 3, folder, {})
        cleaner = Cleaner(job)
        cleaning = cleaner.clean

        def slow(*args: Any) -> Any:
            before = args[5].records if args[5] else 0
            out = cleaning(*args)
            now[0] += seconds * (out.records - before)
            return out

        monkeypatch.setattr(cleaner, "clean", slow)
        monkeypatch.setattr(clean, "time", SimpleNamespace(perf_counter=lambda: now[0], time=lambda: NOW / 1000))
        hot_keys: Any = SimpleNamespace(count=lambda cells, rows: None)
        sender: Any = self.sent
        meters: Any = self.meters
        letters: Any = None
        self.cleaning = Cleaning(config, cleaner, sender, letters, meters, None, hot_keys, FairScheduler())
        self.offset = 0
        self.owned = Sources(config).add(IMPRESSIONS, 1, 0, "", 0)

    async def read(self, number: int, pad: str = "") -> None:
        """Takes one fetched block of so many impressions more."""
        begin, self.offset = self.offset, self.offset + number
        rows = ((n, {"uid": f"u{n}", "mid": "m", "ts": NOW - n, "pos": pad or n}) for n in range(begin, self.offset))
        records: list[KafkaRecord] = [Record(orjson.dumps(row), offset=n) for n, row in rows]
        await self.cleaning.block(SourceBlock(self.owned, records, self.offset - 1))

    @property
    def runs(self) -> list[int]:
        """How many rows each run's blocks have together, by the offset they cover."""
        runs: dict[int, int] = {}
        for _, block in self.sent.blocks:
            runs[block.upto] = runs.get(block.upto, 0) + len(block.cells)
        return list(runs.values())


@pytest.fixture
def play(tmp_path, monkeypatch):
    return lambda seconds: Play(tmp_path, monkeypatch, seconds)


@pytest.mark.parametrize("seconds", [0.0, 2**-16, 2**-10, 1.0])
async def test_blocks_are_of_full_size_however_slow_the_function_is(play, seconds):
    slow = play(seconds)
    await slow.read(10)  # from which it learns how slow
    await slow.read(2 * RUN_RECORDS + 500)
    assert slow.runs == [10, RUN_RECORDS, RUN_RECORDS, 500]
    assert slow.meters.counts == {("impression", "ok"): 2 * RUN_RECORDS + 510, ("imp",): 2 * RUN_RECORDS + 510}
    assert slow.owned.read_time == NOW
    assert slow.cleaning.slice_records == max(1, min(RUN_RECORDS, int(SLICE_S / seconds) if seconds else RUN_RECORDS))


async def test_the_event_loop_is_free_between_slices(play):
    slow = play(2**-10)
    await slow.read(10)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await slow.read(1000)
    task.cancel()
    assert slow.meters.slices == 1 + 1000 // slow.cleaning.slice_records
    assert turns >= slow.meters.slices - 2


async def test_large_rows_end_a_run(play):
    slow = play(2**-10)
    await slow.read(10)
    await slow.read(40, pad="x" * 100_000)
    assert slow.runs == [10, 11, 11, 11, 7]


async def test_a_source_that_is_lost_between_slices_sends_nothing(play):
    slow = play(2**-10)
    await slow.read(10)
    reading = asyncio.create_task(slow.read(1000))
    while slow.meters.slices < 3:
        await asyncio.sleep(0)
    slow.owned.alive = False
    await reading
    assert slow.runs == [10]
