"""A table with few keys in memory gives the results of one that keeps all, whatever is committed, dropped and read."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core import leaves
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Spec
from samplejoin.engine.changelog import Commit
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.memory_budget import KEY_BYTES, Memory
from samplejoin.engine.wire import pack_entry, unpack_entry, unpack_state
from samplejoin.formats.payload import CODEC
from samplejoin.stores.memory import MemoryStore
from samplejoin.stores.rocks import RocksStore
from samplejoin.tables import partial_samples
from samplejoin.tables.partial_samples import PartialSamples
from tests.core.harness import World, everything, packed, stepped
from tests.core.strategies import cases, randoms, with_options


class CountedStore(MemoryStore):
    """Counts the keys that are read."""

    reads = 0

    def get_many(self, keys):
        self.reads += len(keys)
        return super().get_many(keys)


def config_of(spec: Spec, cache_keys: int, cached_bytes: int | None = None) -> EngineConfig:
    memory = Memory(1 << 30)
    if cached_bytes is not None:
        memory.partitions = memory.free // 4 // cached_bytes
    topics = Topics("job", "s", None, None, "d")
    return EngineConfig(spec, "print", topics, 1, Path(), {}, cache_keys=cache_keys, memory=memory)


class Play:
    """A join partition on a small table: commits stay under way for a while, and a warming goes on beside."""

    def __init__(self, spec: Spec, room: tuple[int, int | None], random: Any) -> None:
        self.random, self.store = random, CountedStore()
        self.table = PartialSamples(config_of(spec, *room), 0, self.store)
        self.partition = Partition(spec, self.table)
        for _ in self.table.fill(self.partition):
            pass
        self.under_way: Commit | None = None
        self.warming: Coroutine[Any, Any, None] | None = None
        self.offset = 0

    def step(self, entry: Any, position: int, append_ms: int, out: Outcomes) -> None:
        self.partition.apply(entry, position, append_ms, out)
        self.between(position + 1)
        while self.partition.due():
            self.partition.sweep(out, 1)
            self.between(position + 1)

    def between(self, position: int) -> None:
        """What other tasks may do between two steps."""
        what = self.random.random()
        if what < 0.2 and self.under_way is None:
            self.under_way = self.table.commit_of(self.partition, position)
        elif what < 0.5 and self.under_way is not None:
            self.under_way.first_offset, self.offset = self.offset, self.offset + 1
            self.under_way.next_offset = self.offset
            self.table.write(self.under_way)
            self.under_way = None
        elif what < 0.8:
            self.warm()

    def warm(self) -> None:
        if self.warming is None:
            self.warming = self.table.warm()
        try:
            self.warming.send(None)
        except StopIteration:
            self.warming = None


@pytest.mark.rule(6, 16)
@given(
    cases(late=True), randoms, st.sampled_from([(0, None), (1, None), (3, None), (1000, 1), (1000, 400), (1000, 900)]),
    st.sampled_from(["count", "correct"]), st.sampled_from([64, 3, 1]),
)  # fmt: skip
@settings(max_examples=150)
def test_a_small_cache_changes_nothing(case, random, room, late, entries):
    spec, records = case
    spec = with_options(spec, codec=CODEC, late=late, correction_ms=4 * spec.resolution_ms)
    for log in World(spec, records, 1, random, restarts=0.05).run():
        as_sent = [(unpack_entry(pack_entry(entry)), append_ms) for entry, append_ms in log]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(partial_samples, "WARM_ROWS", 1)
            patch.setattr(leaves, "LEAF_ENTRIES", entries)  # large keys are dropped and brought leaf by leaf
            patch.setattr(leaves, "BROUGHT_LEAVES", 1)
            roomy, expected = stepped(spec, as_sent)
            play, out = Play(spec, room, random), Outcomes()
            for position, (entry, append_ms) in enumerate(as_sent):
                play.step(entry, position, append_ms, out)
            if play.warming is not None:
                play.warming.close()
        assert everything(out) == everything(expected)
        play.table.need(roomy.keys)
        assert opened(play.partition) == opened(roomy)


@pytest.mark.parametrize(("key_bytes", "state_bytes"), [(0, 5000), (1000, 1000)])
def test_the_cache_keeps_to_its_bytes(key_bytes, state_bytes):
    """Whatever is put or read back, long keys among it; the oldest clean keys go first, down to three quarters."""
    table = PartialSamples(config_of(Spec("s", (), ("u",), (), window_ms=1000), 1000, 100_000), 0, MemoryStore())
    partition = Partition(table.config.spec, table)
    for _ in table.fill(partition):
        pass
    for position in range(1, 60):
        key = b"%d" % position + bytes(key_bytes)
        table.cache[key] = bytes(state_bytes)
        partition.changed[key] = None
        commit = table.commit_of(partition, position)
        commit.first_offset, commit.next_offset = position - 1, position
        table.write(commit)
        held = sum(len(key) + len(state) + KEY_BYTES for key, state in table.cache.items())
        assert held <= 100_000
        assert key in table.cache
    assert len(table.cache) > 10
    assert not table.complete
    table.need([b"1" + bytes(key_bytes), b"2" + bytes(key_bytes)])
    assert table.cache[b"1" + bytes(key_bytes)] == bytes(state_bytes)


def opened(partition: Partition) -> dict[bytes, Any]:
    return {k: packed(unpack_state(v) if isinstance(v, bytes) else v) for k, v in partition.keys.items()}


def test_a_key_is_read_only_where_it_can_be_found():
    """Not one that is in the cache, that has just been deleted, or while all open keys are in the cache."""
    spec = Spec("s", (), ("u",), (), window_ms=1000)
    store = CountedStore()
    table = PartialSamples(config_of(spec, 100), 0, store)
    partition = Partition(spec, table)
    store.write([(b"s" + key, b"old") for key in (b"a", b"b", b"c", b"d")], [])
    table.need([b"a"])
    assert (table.cache, store.reads) == ({}, 0)
    for _ in table.fill(partition):
        pass
    table.complete = False
    partition.changed[b"a"] = None
    commit = table.commit_of(partition, 1)
    assert commit.deletes == [b"a"]
    partition.changed[b"b"] = None
    table.cache[b"c"] = b"new"
    table.need([b"a", b"b", b"c", b"d", b"e"])
    assert (table.cache, store.reads) == ({b"c": b"new", b"d": b"old"}, 2)
    store.write([(b"sf", b"old")], [])
    assert [table.peek(key) for key in (b"a", b"b", b"f", b"e")] == [None, None, b"old", None]
    assert b"f" not in table.cache
    assert table.peeked == 3
    table.complete = True
    assert table.peek(b"f") is None


def test_rocksdb_reads_many(tmp_path):
    store = RocksStore(tmp_path)
    store.expect_reads(True)
    store.write([(b"a", b"1"), (b"b", b"2")], [])
    assert store.get_many([b"b", b"x", b"a"]) == [b"2", None, b"1"]
    assert store.get_many([]) == []
    store.close()
