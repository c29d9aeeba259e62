"""The floor: a join on these libraries that does only the unavoidable steps.

Fetch, parse, clean, key, repartition through Kafka, merge, RocksDB and changelog, sample. The window is 10 s of the
machine's clock from a key's first event. It has no transactions, recovery, ids, ticks, metrics or committed offsets:
it is a yardstick, not a product.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cramjam
import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from rocksdict import DBCompressionType, MemtableFactory, Options, Rdict, WriteBatch, WriteOptions

from bench.fetch import Log
from bench.job.functions import clean_action, clean_impression

PARTITIONS = 4
WINDOW_S = 10.0
COMMIT_S = 0.5
#: how far one input may be read ahead of the others, by Kafka's timestamps: or windows lose what is still unread
ALIGN_MS = 1000
#: blocks sent and not yet merged, and keys closed at a time: what keeps memory small and the loop free
MAX_BLOCKS = 64
SLICE_KEYS = 2000
#: RocksDB holds the GIL while it writes
WRITE_KEYS = 20_000

pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


def open_db(path: Path) -> Rdict:
    """Opens a database that is written and never read, so its memtable is a vector; the changelog is its log."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_memtable_factory(MemtableFactory.vector())
    options.set_allow_concurrent_memtable_write(False)
    options.set_write_buffer_size(16 << 20)
    options.set_compression_type(DBCompressionType.none())
    return Rdict(str(path), options)


class Output:
    """Batches of one topic; records are appended when they come, so that none is kept as an object."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer, self._topic = producer, topic
        self._batches: dict[int, list[Any]] = {}

    def add(self, partition: int, value: bytes) -> None:
        """Appends one record."""
        batches = self._batches.setdefault(partition, [])
        if batches and batches[-1].append(timestamp=None, key=None, value=value) is not None:
            return
        batches.append(self._producer.create_batch())
        batches[-1].append(timestamp=None, key=None, value=value)

    async def send(self) -> None:
        """Sends the batch and waits for its acknowledgement."""
        batches, self._batches = self._batches, {}
        await asyncio.gather(*[
            await self._producer.send_batch(batch, self._topic, partition=partition)
            for partition, each in batches.items()
            for batch in each
        ])  # fmt: skip


class Cleaner:
    """Turns blocks of an input into blocks of each join partition, by column."""

    def __init__(self, impressions: str, actions: str) -> None:
        self._columns = {impressions: self._impressions, actions: self._actions}

    def blocks(self, topic: str, values: Iterable[bytes]) -> list[tuple[int, bytes]]:
        """Returns (join partition, block) for each with rows."""
        kind, columns = self._columns[topic](values)
        rows: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        for row in columns:
            rows[zlib.crc32(row[0]) % PARTITIONS].append(row)
        return [
            (number, bytes(cramjam.zstd.compress(pack([kind, *zip(*rows[number], strict=True)]), level=1)))
            for number in range(PARTITIONS)
            if rows[number]
        ]

    def _impressions(self, values: Iterable[bytes]) -> tuple[str, list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = []
        for value in values:
            row = clean_impression(orjson.loads(value))
            if row is not None:
                payload = pack((row["ts"], row["pos"], row["scene"], row["device"], row["feat"]))
                rows.append((f"{row['uid']}|{row['mid']}".encode(), row["ts"], payload))
        return "impressions", rows

    def _actions(self, values: Iterable[bytes]) -> tuple[str, list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = []
        for value in values:
            row = clean_action(orjson.loads(value))
            key = f"{row['uid']}|{row['mid']}".encode()
            rows.append((key, row["ts"], row.get("click", 0), row.get("like", 0), row.get("dwell", 0.0)))
        return "actions", rows


class Partition:
    """One join partition: open keys in a dict, changes since the last commit, and the times when keys are due."""

    def __init__(self, folder: Path) -> None:
        self.table: dict[bytes, tuple[Any, ...]] = {}
        self.db = open_db(folder)
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign,assignment]  # a property; its stub says method
        self._changed: set[bytes] = set()
        self._closed: list[bytes] = []
        self._due: deque[tuple[float, list[bytes]]] = deque()

    def merge(self, block: bytes) -> None:
        """Folds a block into the keys' states: (payload, impressions, clicks, likes, dwell sum, dwell max, last ts)."""
        kind, keys, *columns = unpack(cramjam.zstd.decompress(block))
        new = (self._impressions if kind == "impressions" else self._actions)(keys, *columns)
        self._changed.update(keys)
        if new:
            self._due.append((time.time() + WINDOW_S, new))

    def _impressions(self, keys: list[bytes], times: list[int], payloads: list[bytes]) -> list[bytes]:
        table, new = self.table, []
        for key, ts, payload in zip(keys, times, payloads, strict=True):
            state = table.get(key)
            if state is None:
                table[key] = (payload, 1, 0, 0, 0.0, 0.0, ts)
                new.append(key)
            else:
                first, count, clicks, likes, total, most, last = state
                table[key] = (first or payload, count + 1, clicks, likes, total, most, ts if ts > last else last)
        return new

    def _actions(
        self, keys: list[bytes], times: list[int], clicks: list[int], likes: list[int], dwells: list[float]
    ) -> list[bytes]:
        table, new = self.table, []
        for key, ts, click, like, dwell in zip(keys, times, clicks, likes, dwells, strict=True):
            state = table.get(key)
            if state is None:
                table[key] = (None, 0, click, like, dwell, dwell, ts)
                new.append(key)
            else:
                first, count, clicked, liked, total, most, last = state
                table[key] = (
                    first, count, clicked + click, liked + like, total + dwell, dwell if dwell > most else most,
                    ts if ts > last else last,
                )  # fmt: skip
        return new

    def close(self, now_s: float, add: Callable[[bytes], None]) -> bool:
        """Adds the samples of some keys whose window has ended; False if there were none."""
        start = len(self._closed)
        while self._due and self._due[0][0] <= now_s and len(self._closed) - start < SLICE_KEYS:
            end_s, keys = self._due.popleft()
            end_ms = int(end_s * 1000)
            for key in keys:
                payload, count, clicks, likes, total, most, last = self.table.pop(key)
                if count:
                    uid, mid = key.decode().split("|")
                    ts, pos, scene, device, feat = unpack(payload)
                    add(orjson.dumps({
                        "uid": uid, "mid": mid, "ts": ts, "pos": pos, "scene": scene, "device": device, "feat": feat,
                        "imps": count, "clicks": clicks, "likes": likes, "dwell_sum": total, "dwell_max": most,
                        "last_ts": last, "label": clicks > 0, "window_end_ms": end_ms,
                    }))  # fmt: skip
            self._closed += keys
        return len(self._closed) > start

    def changes(self) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        """Returns the puts and deletes since the last commit."""
        changed, self._changed = self._changed, set()
        closed, self._closed = self._closed, []
        table = self.table
        return [(key, pack(table[key])) for key in changed if key in table], [key for key in closed if key not in table]

    def write(self, puts: list[tuple[bytes, bytes]], deletes: list[bytes]) -> None:
        """Writes the same changes to RocksDB."""
        batch = WriteBatch(raw_mode=True)
        for key, state in puts:
            batch.put(key, state)
        for key in deletes:
            batch.delete(key)
        self.db.write(batch, self._unlogged)


class Floor:
    """The whole floor: one loop reads inputs, one merges, one commits."""

    def __init__(self, bootstrap: str, impressions: str, actions: str, run_id: str, out: str, folder: Path) -> None:
        self._bootstrap, self._folder = bootstrap, folder
        self._cleaner = Cleaner(impressions, actions)
        self._inputs = Log(bootstrap, [(t, n) for t in (impressions, actions) for n in range(PARTITIONS)], 256 << 10)
        self._blocks = Log(bootstrap, [(f"{run_id}-blocks", n) for n in range(PARTITIONS)])
        self._partitions = [Partition(folder / f"db{number}") for number in range(PARTITIONS)]
        self._names = f"{run_id}-blocks", out, f"{run_id}-changelog"
        self._on_its_way = 0

    async def run(self) -> None:
        """Runs until it is cancelled."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, enable_idempotence=True, acks="all", linger_ms=0,
            max_batch_size=1 << 20, max_request_size=8 << 20,
        )  # fmt: skip
        async with producer, self._inputs, self._blocks, asyncio.TaskGroup() as tasks:
            blocks, samples, changelog = (Output(producer, name) for name in self._names)
            tasks.create_task(self._clean(blocks))
            tasks.create_task(self._join())
            tasks.create_task(self._commit(samples, changelog))

    async def _clean(self, out: Output) -> None:
        read_ms: dict[tuple[str, int], float] = dict.fromkeys(self._inputs.next_offset, 0.0)
        first: Path | None = self._folder / f"first-{os.getpid()}"
        while True:
            if self._on_its_way > MAX_BLOCKS:
                await asyncio.sleep(0.005)
                continue
            limit_ms = min(read_ms.values()) + ALIGN_MS
            for partition, batches in await self._inputs.fetch([p for p, at in read_ms.items() if at <= limit_ms]):
                # at its end it holds nobody back, until something comes
                read_ms[partition] = batches[-1].max_timestamp if batches else time.time() * 1000
                if batches and first is not None:
                    first.touch()
                    first = None
                values = (record.value for batch in batches for record in batch)
                for number, block in self._cleaner.blocks(partition[0], values) if batches else ():
                    out.add(number, block)
                    self._on_its_way += 1
                await out.send()

    async def _join(self) -> None:
        while True:
            for (_, number), batches in await self._blocks.fetch():
                for batch in batches:
                    for record in batch:
                        self._partitions[number].merge(record.value)
                        self._on_its_way -= 1
                        await asyncio.sleep(0)

    async def _commit(self, samples: Output, changelog: Output) -> None:
        """Commits each partition in turn: samples, changelog, RocksDB, each after the one before is stored."""
        while True:
            for number, partition in enumerate(self._partitions):
                await asyncio.sleep(COMMIT_S / PARTITIONS)
                while partition.close(time.time(), partial(samples.add, number)):
                    await samples.send()
                puts, deletes = partition.changes()
                for start in range(0, max(len(puts), len(deletes)), WRITE_KEYS):
                    some_puts, some_deletes = puts[start : start + WRITE_KEYS], deletes[start : start + WRITE_KEYS]
                    value = pack([some_puts, some_deletes])
                    changelog.add(number, bytes(cramjam.zstd.compress(value, level=1)))
                    await changelog.send()
                    partition.write(some_puts, some_deletes)


async def main() -> None:
    """Runs with the settings of the environment until it is ended."""
    environ = os.environ
    folder = Path(environ["RUN_DIR"])
    floor = Floor(environ["BROKER"], environ["IMP"], environ["ACT"], environ["RUN_ID"], environ["OUT"], folder)
    task = asyncio.ensure_future(floor.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


if __name__ == "__main__":
    asyncio.run(main())
