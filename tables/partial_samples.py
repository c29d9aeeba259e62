"""The partial-sample table of one join partition: open keys in memory, at rest in RocksDB, changelogged in Kafka.

A key's newest state is in the cache if it changed since the last commit; a key deleted and not yet deleted in the store
is masked by `gone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

from samplejoin.core.partition import KeyState, Partition
from samplejoin.engine.changelog import Commit, pages_of
from samplejoin.engine.codec import pack_state, unpack_state
from samplejoin.engine.config import EngineConfig
from samplejoin.stores import Store
from samplejoin.tables.replica import STATE, Replica

WARM_ROWS = 500


class PartialSamples(MutableMapping[bytes, Any]):
    """Join key -> state, as `core.partition.Partition` uses it; `load` and `write` tie it to changelog and store."""

    def __init__(self, config: EngineConfig, partition: int, store: Store) -> None:
        self.config, self.store = config, store
        self.replica = Replica(config, partition, store)
        #: states as bytes at rest, which cost the garbage collector nothing, opened while they change
        self.cache: dict[bytes, KeyState | bytes] = {}
        self.gone: set[bytes] = set()
        #: every open key is in the cache, so a miss needs no read
        self.complete = True
        #: next offset in the repartition log: of what has been given to a commit, and of the last one Kafka has
        self.position = self.committed_position = 0
        #: keys deleted since a warming began, None while none is under way
        self._deleted: set[bytes] | None = None

    # ---- a mapping ----------------------------------------------------------------------------------------------

    def get(self, key: bytes, default: Any = None) -> Any:
        state = self.cache.get(key)
        if state is None:
            if self.complete or key in self.gone:
                return default
            state = self.store.get(STATE + key)
            if state is None:
                return default
        return state

    def __getitem__(self, key: bytes) -> Any:
        state = self.get(key)
        if state is None:
            raise KeyError(key)
        return state

    def __setitem__(self, key: bytes, state: Any) -> None:
        self.cache[key] = state
        if self.gone:
            self.gone.discard(key)

    def __delitem__(self, key: bytes) -> None:
        self.cache.pop(key, None)
        self.gone.add(key)
        if self._deleted is not None:
            self._deleted.add(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.cache)

    def __len__(self) -> int:
        """Open keys in the cache: all of them unless it had to drop some."""
        return len(self.cache)

    # ---- commits ------------------------------------------------------------------------------------------------

    def commit_of(self, partition: Partition, position: int) -> Commit:
        """What has changed in `partition` since the last commit, as bytes; `position` is where it stands in its log."""
        changed, partition.changed = partition.changed, set()
        swept = None if partition.due() else partition.clock.slice
        commit = Commit(
            self.position, position, partition_state=pack_state(partition.dump()), fingerprint=self.config.fingerprint,
            deadline=partition.deadlines.furthest() or partition.clock.slice,
            pages=pages_of(partition.deadlines.take_new()), swept=swept, needed=self.replica.needed_after(swept),
        )  # fmt: skip
        puts, deletes, cache = commit.puts, commit.deletes, self.cache
        for key in changed:
            state = cache.get(key)
            if state is None:
                deletes.append(key)
            else:
                packed = cache[key] = state if type(state) is bytes else pack_state(state)
                puts.append((key, packed))
        self.position = position
        return commit

    def write(self, commit: Commit, changed_since: set[bytes]) -> None:
        """Brings RocksDB to a commit that Kafka has; then old clean keys may leave a cache that is too large."""
        self.replica.store_commit(commit)
        self.committed_position = commit.position
        self.gone.difference_update(key for key in commit.deletes if key not in changed_since)
        if len(self.cache) > self.config.cache_keys:
            self._evict(changed_since)

    def _evict(self, changed: set[bytes]) -> None:
        """Drops the longest-cached clean keys, down to three quarters."""
        target = self.config.cache_keys * 3 // 4
        for key in [key for key in self.cache if key not in changed][: len(self.cache) - target]:
            del self.cache[key]
        self._deleted = None
        self._know_all(False)

    def _know_all(self, complete: bool) -> None:
        """Whether every open key is in the cache: only without that the store is read between its writes."""
        self.complete = complete
        self.store.expect_reads(not complete)

    # ---- recovery -----------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Brings the store to the changelog's end. Raises WorkerError as `Replica` does."""
        self.resume(await self.replica.recover(self.config.cache_keys))

    def resume(self, rows: dict[bytes, bytes] | None) -> None:
        """Goes on from the replica; `rows` are all open keys, None: they are in the store."""
        self.position = self.committed_position = self.replica.position
        self._know_all(rows is not None)
        self.cache = dict(rows or ())

    def fill(self, partition: Partition) -> Iterator[None]:
        """Gives `partition` its own state and its deadlines, in steps; all keys are read only if they are not kept."""
        partition.load(self.replica.partition_state)
        restored = 0
        for slice_, keys in self.replica.deadlines():
            partition.deadlines.restore(slice_, keys)
            restored += len(keys) + 1
            if restored >= WARM_ROWS:
                restored = 0
                yield
        if not self.replica.paged:
            for count, (key, state) in enumerate(self.replica.states(), 1):
                partition.watch(key, unpack_state(state))
                if count % WARM_ROWS == 0:
                    yield
            self.replica.paged = True  # the next commit gives them all to be kept

    async def warm(self) -> None:
        """Brings open keys into the cache after a recovery, a few at a time; then a miss needs no read."""
        if self.complete:
            return
        self._deleted = deleted = set(self.gone)
        for count, (key, state) in enumerate(self.replica.states(), 1):
            if key not in self.cache and key not in deleted:
                self.cache[key] = state
            if count % WARM_ROWS == 0:
                await asyncio.sleep(0)
            if self._deleted is None or len(self.cache) >= self.config.cache_keys:
                break
        else:
            self._know_all(True)
        self._deleted = None
