"""Keeps state in RocksDB, one database per join partition; the only module that imports rocksdict.

There is no write-ahead log: the changelog is one, and a database without its last memtable is an older prefix of it.
All databases of a worker share one block cache and one write buffer budget (rocksdict's defaults are per database).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    MemtableFactory,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from samplejoin.stores import StoreError

#: nice value of RocksDB's threads above the event loop's: a third of its share where they compete
NICE = 5


@dataclass(frozen=True)
class Shared:
    """Block cache and write buffers that all databases of a worker share."""

    cache: Cache
    writes: WriteBufferManager


class RocksStore:
    """A `Store` in the directory `path`. Methods raise StoreError if it is locked, damaged or not writable."""

    def __init__(self, path: Path, shared: Shared | None = None, memtable_bytes: int = 16 << 20) -> None:
        self.path = path
        self._shared, self._memtable_bytes = shared or shared_cache(), memtable_bytes
        #: memtables are sorted for reads; without reads they are unsorted, which makes writing several times as fast
        self._reads = False
        self._write_options = WriteOptions()
        self._write_options.disable_wal = True  # type: ignore[method-assign,assignment]  # a property; its stub says method
        self._db: Rdict | None = None
        self._open()

    @property
    def db(self) -> Rdict:
        """The open database. Raises StoreError after `close`."""
        if self._db is None:
            raise StoreError(f"state directory {self.path}: used after it was closed")
        return self._db

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self.db.get(key)
        except Exception as error:
            raise self._error("read", error) from error
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        try:
            values: list[bytes | None] = cast(Any, self.db).get(keys)  # its stub allows one key only
        except Exception as error:
            raise self._error("read", error) from error
        return values

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in puts:
            batch.put(key, value)
        for key in deletes:
            batch.delete(key)
        try:
            self.db.write(batch, self._write_options)
        except Exception as error:
            raise self._error("write", error) from error

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_iterate_upper_bound(prefix[:-1] + bytes([prefix[-1] + 1]))
        last: Any = prefix
        for last, value in self.db.items(from_key=prefix, read_opt=options):
            yield last, value
        # rocksdict's loop ends at a damaged block as it does at the end: go there again, and ask for the status
        end = self.db.iter(options)
        end.seek(last)
        if end.valid():
            end.next()
        try:
            end.status()
        except Exception as error:
            raise self._error("read", error) from error

    def expect_reads(self, reads: bool) -> None:
        if reads != self._reads:
            self._reads = reads
            self.close()
            self._open()

    def clear(self) -> None:
        self.close()
        try:
            Rdict.destroy(str(self.path), Options(raw_mode=True))
        except Exception as error:
            raise self._error("clear", error) from error
        self._open()

    def close(self) -> None:
        if self._db is not None:
            try:
                self._db.close()
            except Exception as error:  # closing flushes the memtable, and the disk may be full
                raise self._error("flush on closing", error) from error
            finally:
                self._db = None
                gc.collect()  # rocksdict keeps the lock while any iterator is alive

    def _open(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            options = _options(self._shared, self._memtable_bytes, self._reads)
            # the column family is named, or RocksDB takes the options that it was last opened with
            families = {"default": options}
            self._db = Rdict(str(self.path), options, families, access_type=AccessType.read_write())
            _background_gives_way()
        except Exception as error:
            raise self._error("open", error) from error

    def _error(self, doing: str, error: Exception) -> StoreError:
        text = str(error)
        if "No space" in text:
            hint = "the disk is full: free space on it, then restart"
        elif "LOCK" in text:  # the lock file's name
            hint = "another worker uses it: give each worker a state_dir of its own, or wait until that one has ended"
        else:
            hint = "if it is damaged, delete it: it will be rebuilt from the changelog"
        return StoreError(f"state directory {self.path}: cannot {doing} ({text}); {hint}")


def shared_cache(cache_bytes: int = 64 << 20, write_bytes: int = 256 << 20) -> Shared:
    """Creates the block cache and the memtable budget, in bytes. Over `write_bytes` the fullest memtable is flushed."""
    cache = Cache(cache_bytes)
    # memtables have a cache of their own, which costs nothing
    return Shared(cache, WriteBufferManager.new_write_buffer_manager_with_cache(write_bytes, False, Cache(write_bytes)))


def _background_gives_way() -> None:
    """Lowers the priority of RocksDB's own threads: where cores are scarce, samples come before compactions."""
    for thread in Path("/proc/self/task").glob("*"):  # Linux only, where each thread has a priority of its own
        try:
            if (thread / "comm").read_text().startswith("rocksdb:"):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE))
        except OSError:  # the thread has just ended
            continue


def _options(shared: Shared, memtable_bytes: int, reads: bool) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(memtable_bytes)
    options.set_max_write_buffer_number(3)
    options.set_write_buffer_manager(shared.writes)
    if reads:  # most keys looked up are new: a filter tells so without searching the memtables
        options.set_memtable_prefix_bloom_ratio(0.1)
        options.set_memtable_whole_key_filtering(True)
    else:
        options.set_memtable_factory(MemtableFactory.vector())
        options.set_allow_concurrent_memtable_write(False)
    options.set_keep_log_file_num(2)
    options.set_max_open_files(256)
    # open state lives for one window: compressing it costs more than it saves
    options.set_compression_type(DBCompressionType.none())
    table = BlockBasedOptions()
    table.set_block_cache(shared.cache)
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options
