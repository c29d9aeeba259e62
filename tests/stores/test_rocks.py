"""RocksDB as a store: damage is reported, and never taken for the end of the data."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from samplejoin.stores import StoreError
from samplejoin.stores.rocks import NICE, RocksStore

pytestmark = pytest.mark.rule(16)
ROWS = 20_000


def key(n: int) -> bytes:
    return b"s%08d" % n


@pytest.fixture
def path(tmp_path):
    """A database with some tables on the disk, closed."""
    store = RocksStore(tmp_path / "db", memtable_bytes=1 << 20)
    r = random.Random(1)
    for n in range(0, ROWS, 1000):
        store.write([(key(n + i), r.randbytes(200)) for i in range(1000)] + [(b"m", b"%d" % n)], [])
    store.close()
    return tmp_path / "db"


def scribbled(path, r):
    """One of its tables gets a few wrong bytes in the middle, as a failing disk gives them."""
    table = r.choice(sorted(path.glob("*.sst")))
    with table.open("r+b") as file:
        file.seek(table.stat().st_size // 2)
        file.write(r.randbytes(64))


def test_a_scan_ends_where_its_prefix_does(path):
    store = RocksStore(path)
    assert [k for k, _ in store.scan(b"s")] == [key(n) for n in range(ROWS)]
    assert list(store.scan(b"m")) == [(b"m", b"%d" % (ROWS - 1000))]
    assert list(store.scan(b"z")) == []
    store.close()


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_table_is_an_error_and_not_the_end(path, seed):
    """A scan that ended there without a word would lose every key behind it."""
    scribbled(path, random.Random(seed))
    store = RocksStore(path)
    says = r"cannot read \(Corruption.*\); if it is damaged, delete it: it will be rebuilt from the changelog"
    with pytest.raises(StoreError, match=says):
        list(store.scan(b"s"))
    with pytest.raises(StoreError, match=says):
        [store.get(key(n)) for n in range(ROWS)]


def test_a_locked_database_names_its_other_user(path):
    store = RocksStore(path)
    with pytest.raises(StoreError, match=r"cannot open .*another worker uses it"):
        RocksStore(path)
    store.close()


def test_a_table_that_is_gone_is_named(path):
    sorted(path.glob("*.sst"))[0].unlink()
    with pytest.raises(StoreError, match=r"cannot open .*if it is damaged, delete it"):
        RocksStore(path)


def test_a_store_can_change_between_writing_alone_and_reading(tmp_path):
    """RocksDB keeps a database's options: those of the way it was opened last must not stay."""
    store = RocksStore(tmp_path / "state")
    for round_, reads in enumerate((False, True, False, True)):
        store.expect_reads(reads)
        store.write([(b"k%d" % round_, b"v")], [])
        newest = max((tmp_path / "state").glob("OPTIONS-*")).read_text()
        assert ("VectorRepFactory" in newest) == (not reads)
        if reads:
            assert store.get(b"k%d" % round_) == b"v"
    assert [key for key, _ in store.scan(b"k")] == [b"k0", b"k1", b"k2", b"k3"]
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_the_background_gives_way(path):
    store = RocksStore(path)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    names = {int(each.name): (each / "comm").read_text() for each in Path("/proc/self/task").iterdir()}
    background = {thread for thread, name in names.items() if name.startswith("rocksdb:")}
    assert background
    assert {os.getpriority(os.PRIO_PROCESS, each) for each in background} == {min(19, own + NICE)}
    store.close()
