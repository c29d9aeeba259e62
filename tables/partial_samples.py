"""The partial-sample table of one join partition: open keys in memory, stored in RocksDB, logged in the changelog.

The cache holds every key that has changed since the last stored commit. Keys deleted since then are not looked up in
the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain

from samplejoin.core.cells import KeyState
from samplejoin.core.partition import Partition
from samplejoin.engine.changelog import Commit, pages_of
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.failpoints import reached
from samplejoin.engine.memory_budget import KEY_BYTES
from samplejoin.engine.wire import pack_state, unpack_partition_state, unpack_state
from samplejoin.stores import Store
from samplejoin.tables.durable_state import STATE, Replica

WARM_ROWS = 500


class PartialSamples:
    """Join key -> state, backed by changelog and store: the `KeyStates` that a `core.partition.Partition` works on."""

    def __init__(self, config: EngineConfig, partition: int, store: Store) -> None:
        self.config, self.store = config, store
        self.replica = Replica(config, partition, store)
        #: key -> state: unpacked while it changes, else as bytes, which cost the garbage collector nothing
        self.cache: dict[bytes, KeyState | bytes] = {}
        #: whether every open key is in the cache, so that the store is never read
        self.complete = True
        #: next offsets in the repartition log: of the last commit begun, and of the last one that Kafka has
        self.position = self.committed_position = 0
        #: keys changed since the last commit; one that is not in the cache was deleted
        self.changed: dict[bytes, None] = {}
        #: keys deleted by a commit that the store does not have yet
        self._deleting: set[bytes] = set()
        #: bytes of the cached keys and states at rest; an upper bound, since replaced ones are not subtracted
        self._bytes = 0
        #: bytes that `need` and `peek` have read from the store since the start
        self.loaded = self.peeked = 0
        #: keys deleted since a preload began; None while none runs
        self._deleted: set[bytes] | None = None

    def need(self, keys: Iterable[bytes]) -> None:
        """Loads the given keys into the cache where they are open and were dropped from it."""
        if self.complete:
            return
        cache, changed, deleting = self.cache, self.changed, self._deleting
        # sorted, since RocksDB finds neighbours in one block: half the time
        missing = sorted(key for key in keys if key not in cache and key not in changed and key not in deleting)
        for key, state in zip(missing, self.store.get_many([STATE + key for key in missing]), strict=True):
            if state is not None:
                cache[key] = state
                self._bytes += len(key) + len(state)
                self.loaded += len(state)

    def peek(self, key: bytes) -> bytes | None:
        """Returns the stored state of an open key that is not in the cache, without loading it."""
        if self.complete or key in self.changed or key in self._deleting:
            return None
        state = self.store.get(STATE + key)
        self.peeked += len(state or b"")
        return state

    def __len__(self) -> int:
        """Returns the number of open keys in the cache: all of them, unless some were dropped."""
        return len(self.cache)

    # ---- commits ------------------------------------------------------------------------------------------------

    def commit_of(self, partition: Partition, position: int) -> Commit:
        """Packs the changes of `partition` since the last commit; `position` is its next offset in the repartition log.

        The changes are taken before they are packed: if this raises, or the commit fails, the table must be recovered.
        """
        changed = self._take_changed()
        reached("commit-taken")
        swept = None if partition.due() else partition.clock.slice
        commit = Commit(
            self.position,
            position,
            partition_state=pack_state(partition.dump()),
            fingerprint=self.config.fingerprint,
            deadline=partition.deadlines.furthest() or partition.clock.slice,
            pages=pages_of(partition.deadlines.take_new()),
            swept=swept,
            needed=self.replica.needed_after(swept),
        )
        puts, deletes, cache = commit.puts, commit.deletes, self.cache
        for key in changed:
            state = cache.get(key)
            if type(state) is bytes:
                puts.append((key, state))
            elif state is None:
                deletes.append(key)
            else:
                packed = cache[key] = pack_state(state)
                puts.append((key, packed))
        commit.put_bytes = sum(map(len, chain.from_iterable(puts)))
        self._bytes += commit.put_bytes
        self._deleting = set(deletes)
        if self._deleted is not None:
            self._deleted.update(deletes)
        self.position = position
        return commit

    def _take_changed(self) -> list[bytes]:
        taken = list(self.changed)
        self.changed.clear()
        return taken

    def write(self, commit: Commit) -> None:
        """Writes a commit that Kafka has to RocksDB, then drops old clean keys if the cache is too large."""
        self.replica.store_commit(commit)
        self.committed_position = commit.position
        self._deleting = set()
        if self.is_full():
            states = sum(len(state) for state in self.cache.values() if type(state) is bytes)
            self._bytes = sum(map(len, self.cache)) + states
            if self.is_full(7 / 8):
                self._evict()

    def is_full(self, part: float = 1.0) -> bool:
        """Whether the cache has reached this part of its limit, in bytes or in keys."""
        keys = len(self.cache)
        room = self.config.memory.cached * part - KEY_BYTES * keys
        return keys > self.config.cache_keys * part or self._bytes > room

    def _evict(self) -> None:
        """Drops the oldest clean keys down to three quarters of the limit; changed keys stay until their commit."""
        for key in [key for key in self.cache if key not in self.changed]:
            if not self.is_full(3 / 4):
                break
            state = self.cache.pop(key)
            self._bytes -= len(key) + (len(state) if type(state) is bytes else 0)
        self._deleted = None
        self._set_complete(False)

    def _set_complete(self, complete: bool) -> None:
        """Sets whether every open key is in the cache; only if not, the store is read between its writes."""
        self.complete = complete
        self.store.expect_reads(not complete)

    # ---- recovery -----------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Brings the store to the changelog's end. Raises WorkerError as `Replica` does."""
        self.resume(await self.replica.recover(self.config.cache_keys, self.config.memory.cached))

    def resume(self, rows: dict[bytes, bytes] | None) -> None:
        """Continues from the replica; `rows` are all open keys, None: they are in the store."""
        self.position = self.committed_position = self.replica.position
        self._set_complete(rows is not None)
        self.cache.clear()
        self.cache.update(rows or ())
        self._bytes = sum(map(len, chain.from_iterable((rows or {}).items())))

    def fill(self, partition: Partition) -> Iterator[None]:
        """Loads `partition` with its own state and deadlines, in steps; scans the keys only if not all are in pages."""
        if self.replica.partition_state is not None:
            partition.load(unpack_partition_state(self.replica.partition_state))
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
            self.replica.paged = True  # the next commit writes them all in pages

    async def warm(self) -> None:
        """Loads open keys into the cache after a recovery, a few at a time, so that a miss needs no read."""
        if self.complete:
            return
        self._deleted = deleted = set(self._deleting)
        for count, (key, state) in enumerate(self.replica.states(), 1):
            if key not in self.cache and key not in deleted and key not in self.changed:
                self.cache[key] = state
                self._bytes += len(key) + len(state)
            if count % WARM_ROWS == 0:
                await asyncio.sleep(0)
            if self._deleted is None or self.is_full(3 / 4):
                break
        else:
            self._set_complete(True)
        self._deleted = None
