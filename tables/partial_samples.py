"""The partial-sample table of one join partition: open keys in memory, at rest in RocksDB, changelogged in Kafka.

RocksDB is an exact prefix of the changelog: it is written after a commit, with the changelog offset it has reached,
in one batch. A key's newest state is in the cache if it changed since; a key deleted and not yet deleted there is
masked by `gone`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from samplejoin.core.partition import KeyState
from samplejoin.engine.changelog import ChangelogReader, Commit
from samplejoin.engine.codec import pack_state, unpack_state
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.stores import Store

log = logging.getLogger(__name__)

STATE, META = b"s", b"m"
STORE_FORMAT = 1


class PartialSamples(MutableMapping[bytes, KeyState]):
    """Join key -> state, as `core.partition.Partition` uses it; `load` and `write` tie it to changelog and store."""

    def __init__(self, config: EngineConfig, partition: int, store: Store) -> None:
        self.config, self.partition, self.store = config, partition, store
        #: states as bytes at rest, which cost the garbage collector nothing, decoded while they change
        self.cache: dict[bytes, KeyState | bytes] = {}
        self.gone: set[bytes] = set()
        #: every open key is in the cache, so a miss needs no read
        self.complete = True
        #: next offset in the repartition log: of what has been given to a commit, and of the last one Kafka has
        self.position = self.committed_position = 0
        self.partition_state: Any = None
        self.next_offset = 0
        #: (first changelog offset, deadline slice) of commits whose keys may still be open, oldest first
        self.live: deque[tuple[int, int]] = deque()

    # ---- a mapping ----------------------------------------------------------------------------------------------

    def get(self, key: bytes, default: Any = None) -> Any:
        state = self.cache.get(key)
        if state is None:
            if self.complete or key in self.gone:
                return default
            state = self.store.get(STATE + key)
            if state is None:
                return default
        if type(state) is bytes:
            state = self.cache[key] = unpack_state(state)
        return state

    def __getitem__(self, key: bytes) -> KeyState:
        state: KeyState | None = self.get(key)
        if state is None:
            raise KeyError(key)
        return state

    def __setitem__(self, key: bytes, state: KeyState) -> None:
        self.cache[key] = state
        if self.gone:
            self.gone.discard(key)

    def __delitem__(self, key: bytes) -> None:
        self.cache.pop(key, None)
        self.gone.add(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.cache)

    def __len__(self) -> int:
        """Open keys in the cache: all of them unless it had to drop some."""
        return len(self.cache)

    # ---- commits ------------------------------------------------------------------------------------------------

    def commit_of(self, changed: Iterable[bytes], position: int, partition_state: Any, deadline: int) -> Commit:
        """What has changed since the last commit, as bytes."""
        commit = Commit(self.position, position, fingerprint=self.config.fingerprint, deadline=deadline)
        commit.partition_state = pack_state(partition_state)
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
        self._store(commit)
        self.gone.difference_update(key for key in commit.deletes if key not in changed_since)
        self.live.append((commit.first_offset, commit.deadline))
        if len(self.cache) > self.config.cache_keys:
            self._evict(changed_since)

    def _store(self, commit: Commit) -> None:
        meta = [
            STORE_FORMAT, self.config.topics.prefix, commit.fingerprint, commit.next_offset, commit.position,
            commit.partition_state,
        ]  # fmt: skip
        puts = [(STATE + key, state) for key, state in commit.puts]
        puts.append((META, pack_state(meta)))
        self.store.write(puts, [STATE + key for key in commit.deletes])
        self.next_offset, self.committed_position = commit.next_offset, commit.position

    def _evict(self, changed: set[bytes]) -> None:
        """Drops the longest-cached clean keys, down to three quarters."""
        target = self.config.cache_keys * 3 // 4
        for key in [key for key in self.cache if key not in changed][: len(self.cache) - target]:
            del self.cache[key]
        self.complete = False

    def trim_offset(self, clock: int) -> int | None:
        """The changelog offset below which no record holds an open key, None if nothing can go."""
        first = None
        while len(self.live) > 1 and self.live[0][1] <= clock:
            self.live.popleft()
            first = self.live[0][0]
        return first

    # ---- recovery -----------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Brings the store to the changelog's end; afterwards `states` gives every open key.

        Raises WorkerError for state of another job, version or an edited job.
        """
        stored = self._read_meta()
        async with ChangelogReader(self.config, self.partition) as changelog:
            if stored is None or not changelog.begin <= stored <= changelog.end:
                if stored is not None:
                    log.warning(
                        "state of join partition %d stands at changelog offset %d, outside [%d, %d]: rebuilding it",
                        self.partition, stored, changelog.begin, changelog.end,
                    )  # fmt: skip
                self._forget()
                stored = changelog.begin
            async for commits in changelog.read(stored):
                for commit in commits:
                    self._replay(commit)
            self.next_offset = changelog.end

    def _read_meta(self) -> int | None:
        """The changelog offset that the store has reached, None if it is empty."""
        raw = self.store.get(META)
        if raw is None:
            return None
        version, job, fingerprint, next_offset, position, state = unpack_state(raw)
        where = f"state directory {self.config.state_dir}, join partition {self.partition}"
        if version != STORE_FORMAT:
            raise WorkerError(
                f"{where}: state format {version}, this version reads {STORE_FORMAT}; delete the directory"
            )
        if job != self.config.topics.prefix:
            raise WorkerError(f"{where}: holds the state of job {job!r}; give every job a state_dir of its own")
        self._check_fingerprint(fingerprint)
        self.position, self.partition_state = position, unpack_state(state)
        return int(next_offset)

    def _check_fingerprint(self, fingerprint: str) -> None:
        if fingerprint != self.config.fingerprint:
            raise WorkerError(
                f"join partition {self.partition}: open keys were made by another version of job "
                f"{self.config.topics.prefix!r} (fingerprint {fingerprint}, now {self.config.fingerprint}): its "
                "streams, key, window, fields, label or partitions were edited. Set them back, or give the job a new "
                "name"
            )

    def _forget(self) -> None:
        self.store.clear()
        self.cache.clear()
        self.position, self.partition_state = 0, None

    def _replay(self, commit: Commit) -> None:
        """Applies a commit of the changelog; one that does not start where the last one ended was a paused owner's."""
        if commit.start != self.position:
            if self.partition_state is not None:
                log.warning("join partition %d: skipped a commit from position %d, state is at %d",
                            self.partition, commit.start, self.position)  # fmt: skip
                return
            self.position = commit.start
        self._check_fingerprint(commit.fingerprint)
        self._store(commit)
        self.live.append((commit.first_offset, commit.deadline))
        self.position, self.partition_state = commit.position, unpack_state(commit.partition_state)

    def states(self) -> Iterator[tuple[bytes, KeyState]]:
        """Every open key with its state, from the store; as many as may stay in the cache do."""
        room = self.config.cache_keys
        for raw_key, raw in self.store.scan(STATE):
            key, state = raw_key[len(STATE) :], unpack_state(raw)
            if room > 0:
                self.cache[key] = raw
                room -= 1
            else:
                self.complete = False
            yield key, state
