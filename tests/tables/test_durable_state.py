"""The stored state: an exact prefix of its changelog, known by the last commit's id; deadlines are kept in pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from samplejoin.core.deadlines import Deadlines
from samplejoin.engine.changelog import Commit, join_parts, pages_of, parts_of
from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.wire import pack_commit, pack_state, unpack_commit, unpack_state
from samplejoin.stores import StoreError
from samplejoin.stores.memory import MemoryStore
from samplejoin.tables import durable_state as module
from samplejoin.tables.durable_state import META, PAGE, Replica

pytestmark = pytest.mark.rule(7, 16)


@dataclass
class Changelog:
    """A changelog in memory, read as `engine.changelog.ChangelogReader` reads Kafka's."""

    records: dict[int, bytes] = field(default_factory=dict)
    begin: int = 0
    end: int = 0
    read_from: int | None = None

    def append(self, commit: Commit) -> Commit:
        commit.first_offset = self.end
        for value in parts_of(commit):
            self.records[self.end] = value
            self.end += 1
        commit.next_offset = self.end
        self.end += 1  # a transaction's marker
        return commit

    def trim(self, offset: int) -> None:
        self.begin = offset
        self.records = {o: v for o, v in self.records.items() if o >= offset}

    async def __aenter__(self) -> Changelog:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def id_at(self, offset: int) -> bytes | None:
        value = self.records.get(offset)
        return None if value is None else unpack_commit(value)["id"]

    async def read(self, position: int, ending: bool = True) -> Any:
        self.read_from = position
        for commit in join_parts((o, v) for o, v in self.records.items() if o >= position):
            yield commit


@pytest.fixture
def changelog(monkeypatch):
    log = Changelog()
    monkeypatch.setattr(module, "ChangelogReader", lambda config, partition: log)
    return log


@pytest.fixture
def config(tmp_path):
    topics = Topics("job", "s", None, None, "d")
    return EngineConfig(None, "print", topics, 4, tmp_path, {})  # type: ignore[arg-type]  # no spec is needed here


class Owner:
    """A partition's owner: commits puts and deletes to changelog and store, as the table does."""

    def __init__(self, config: EngineConfig, changelog: Changelog, store: MemoryStore) -> None:
        self.config, self.changelog, self.store = config, changelog, store
        self.replica = Replica(config, 0, store)
        self.deadlines = Deadlines()

    def commit(self, puts=(), deletes=(), *, swept=None, due=(), lost=False) -> Commit:
        """`due`: (slice, key) entered since the last one; `lost`: the crash came before RocksDB had it."""
        for slice_, key in due:
            self.deadlines.add(slice_, key)
        at = self.replica.position
        commit = Commit(
            at, at + 10, [(k, b"v" + k) for k in puts], list(deletes), pack_state(["state", at + 10]), "print",
            self.deadlines.furthest() or 0, pages=pages_of(self.deadlines.take_new()), swept=swept,
            needed=self.replica.needed_after(swept),
        )  # fmt: skip
        self.changelog.append(commit)
        if lost:
            self.replica.replay(commit)
        else:
            self.replica.store_commit(commit)
        return commit


@pytest.fixture
def owner(config, changelog):
    return Owner(config, changelog, MemoryStore())


def keys(store: MemoryStore) -> dict[bytes, bytes]:
    return {key[1:]: value for key, value in store.scan(b"s")}


async def recovered(config: EngineConfig, store: MemoryStore, room: int = 100) -> tuple[Replica, Any]:
    fresh = Replica(config, 0, store)
    return fresh, await fresh.recover(room, 1 << 40)


async def test_a_restart_reads_only_what_the_store_lacks(owner, changelog):
    owner.commit([b"a", b"b"])
    owner.commit([b"c"], [b"a"])
    owner.commit([b"d"], lost=True)
    again, rows = await recovered(owner.config, owner.store)
    assert keys(owner.store) == {b"b": b"vb", b"c": b"vc", b"d": b"vd"}
    assert rows is None, "what was in the store was not read"
    assert (again.position, again.replayed, again.partition_state) == (30, 1, pack_state(["state", 30]))


async def test_an_empty_disk_is_filled_and_gives_all_open_keys(owner, changelog):
    owner.commit([b"a", b"b"])
    owner.commit([b"c", b"b"], [b"a"])
    store = MemoryStore()
    _, rows = await recovered(owner.config, store)
    assert rows == keys(store) == {b"b": b"vb", b"c": b"vc"}
    _, few = await recovered(owner.config, MemoryStore(), room=1)
    assert few is None, "more keys than there is room for stay in the store"


async def test_a_store_ahead_of_its_changelog_is_rebuilt(owner, changelog, caplog):
    """The topic was recreated, or lost its end: offsets alone would fit again once it has grown."""
    for key in (b"a", b"b", b"c"):
        owner.commit([key])
    changelog.records, changelog.end = {}, 0
    other = Owner(owner.config, changelog, MemoryStore())
    for key in (b"x", b"y", b"z", b"q"):
        other.commit([key])
    await recovered(owner.config, owner.store)
    assert keys(owner.store) == keys(other.store)
    assert "rebuilding it" in caplog.text


async def test_a_store_of_before_the_trim_is_rebuilt(owner, changelog):
    owner.commit([b"a"], due=[(5, b"a")])
    old = MemoryStore()
    old._data = dict(owner.store._data)
    owner.commit([b"b"], due=[(9, b"b")])
    last = owner.commit([], [b"a"], swept=5)
    assert last.needed is not None
    changelog.trim(last.needed)
    await recovered(owner.config, old)
    assert keys(old) == {b"b": b"vb"}


async def test_what_is_needed_is_never_trimmed(owner, changelog):
    """After every commit, what the changelog holds from `needed` on gives every open key and every deadline."""
    slices: dict[bytes, int] = {}
    for step in range(1, 40):
        new = [b"%d" % (step * 10 + i) for i in range(3)]
        due = [(step + 1 + (step * 7 + i * 5) % 9, key) for i, key in enumerate(new)]
        slices |= {key: slice_ for slice_, key in due}
        for slice_, key in due:
            owner.deadlines.add(slice_, key)
        gone = []
        while (key := owner.deadlines.pop(step)) is not None:
            if slices.pop(key, None) is not None:
                gone.append(key)
        commit = owner.commit([k for k in new if k in slices], gone, swept=step)
        if commit.needed is not None:
            changelog.trim(commit.needed)
        store = MemoryStore()
        again, _ = await recovered(owner.config, store)
        assert keys(store).keys() == keys(owner.store).keys() == slices.keys()
        kept = {(slice_, key) for slice_, page in again.deadlines() for key in page}
        assert {(slice_, key) for key, slice_ in slices.items()} <= kept
        assert len(list(store.scan(PAGE))) <= 12, "pages of the past stay for ever"
    assert changelog.begin > 20


async def test_a_deadline_that_was_looked_at_does_not_come_back(owner, changelog):
    """Though its page stays, for a later one that stands in it: else a restart would close most keys once more."""
    owner.commit([b"a", b"b"], due=[(5, b"a"), (50, b"b")])
    owner.commit([b"c"], due=[(60, b"c")], swept=20)
    owner.commit([b"d"], due=[(70, b"d")])
    wanted = [(50, [b"b"]), (60, [b"c"]), (70, [b"d"])]
    for store in (owner.store, MemoryStore()):
        again, _ = await recovered(owner.config, store)
        assert [(slice_, list(ks)) for slice_, ks in again.deadlines()] == wanted


async def test_a_changelog_cut_by_retention_is_refused(owner, changelog):
    owner.commit([b"a"], due=[(50, b"a")])
    owner.commit([b"b"], due=[(50, b"b")])
    third = owner.commit([b"c"], due=[(50, b"c")])
    changelog.trim(third.first_offset)
    with pytest.raises(WorkerError, match="records were deleted by retention"):
        await recovered(owner.config, MemoryStore())
    again, _ = await recovered(owner.config, owner.store)
    assert again.position == 30, "who has the state needs no records"


async def test_a_paused_owners_commit_is_left_out(owner, changelog, caplog):
    """Without transactions it can still write: its commit does not start where the last one ended."""
    owner.commit([b"a"])
    stale = Commit(0, 7, [(b"a", b"old")], [], pack_state(["state", 7]), "print")
    changelog.append(stale)
    owner.commit([b"b"])
    store = MemoryStore()
    await recovered(owner.config, store)
    assert keys(store) == {b"a": b"va", b"b": b"vb"}
    assert "skipped a commit" in caplog.text


async def test_a_store_of_the_first_format_is_rebuilt(owner, changelog):
    """It knows neither its last commit's id nor what it needs of the changelog."""
    owner.commit([b"a"], due=[(9, b"a")])
    meta = unpack_state(owner.store.get(META))
    owner.store.write([(META, pack_state([1, *meta[1:6]]))], [])
    again, rows = await recovered(owner.config, owner.store)
    assert rows == {b"a": b"va"}
    assert [(slice_, list(ks)) for slice_, ks in again.deadlines()] == [(9, [b"a"])]


async def test_commits_of_the_first_format_are_read_and_kept(owner, changelog):
    """They hold no deadlines: those come from a scan of all keys. Nothing of them is trimmed too early."""
    old = Commit(0, 10, [(b"a", b"va")], [], pack_state(["state", 10]), "print", 9, pages=None)
    changelog.append(old)
    for offset, value in list(changelog.records.items()):
        body = unpack_commit(value)
        changelog.records[offset] = pack_commit({k: v for k, v in body.items() if k not in ("swept", "needed")})
    again, _ = await recovered(owner.config, owner.store)
    assert (again.position, again.paged, again.needed) == (10, False, 0)
    owner.replica = again
    second = owner.commit([b"b"], due=[(20, b"b")], swept=8)
    assert second.needed == 0
    assert owner.commit([b"c"], swept=9).needed == second.first_offset


def copied(store: MemoryStore) -> MemoryStore:
    other = MemoryStore()
    other._data = dict(store._data)
    return other


@pytest.mark.parametrize("lost", [False, True])
async def test_after_a_restart_the_oldest_open_key_is_still_needed(owner, changelog, lost):
    """The commit that needed nothing older is itself what later ones need."""
    first = owner.commit([b"K"], due=[(1000, b"K")])
    owner.commit([b"x"], due=[(1000, b"x")], swept=10, lost=lost)
    again, _ = await recovered(owner.config, owner.store)
    owner.replica = again
    last = owner.commit([b"y"], due=[(1000, b"y")], swept=11)
    assert last.needed == first.first_offset


async def test_an_old_disk_learns_what_others_have_trimmed(owner, changelog):
    """It must not claim to need records that were rightly deleted: workers without state would be refused."""
    owner.commit([b"a"], due=[(10, b"a")])
    owner.commit([b"b"], due=[(1000, b"b")])
    old = copied(owner.store)
    for step in range(5):
        owner.commit([b"k%d" % step], [b"a"] if step == 0 else [], due=[(1000 + step, b"k%d" % step)], swept=20)
    assert owner.replica.needed
    changelog.trim(owner.replica.needed)
    again, _ = await recovered(owner.config, old)
    assert again.replayed == 6, "it was taken as a prefix"
    owner.replica = again
    assert owner.commit([b"z"], due=[(1010, b"z")], swept=21).needed >= changelog.begin
    await recovered(owner.config, MemoryStore())


async def test_a_cut_changelog_is_refused_at_every_start(owner, changelog):
    """A supervisor starts the worker again: that must not make the loss good."""
    owner.commit([b"a"], due=[(50, b"a")])
    owner.commit([b"b"], due=[(50, b"b")])
    changelog.trim(owner.commit([b"c"], due=[(50, b"c")]).first_offset)
    store = MemoryStore()
    for _ in range(2):
        with pytest.raises(WorkerError, match="begins at offset"):
            await recovered(owner.config, store)


async def test_a_standby_of_a_cut_changelog_is_refused_when_it_takes_over(owner, changelog):
    owner.commit([b"a"], due=[(50, b"a")])
    owner.commit([b"b"], due=[(50, b"b")])
    changelog.trim(owner.commit([b"c"], due=[(50, b"c")]).first_offset)
    store = MemoryStore()
    await Replica(owner.config, 0, store).follow()
    assert keys(store) == {b"c": b"vc"}
    with pytest.raises(WorkerError, match="begins at offset"):
        await recovered(owner.config, store)


class FullOnce(MemoryStore):
    """A disk that is full for one write."""

    full = False

    def write(self, puts, deletes):
        if self.full:
            self.full = False
            raise StoreError("no space left")
        super().write(puts, deletes)


async def test_nothing_follows_a_write_that_failed(config, changelog):
    store = FullOnce()
    owner = Owner(config, changelog, store)
    owner.commit([b"a"])
    store.full = True
    for key in (b"b", b"c"):
        with pytest.raises(StoreError):
            owner.commit([key])
    await recovered(config, store)
    assert keys(store) == {b"a": b"va", b"b": b"vb", b"c": b"vc"}


async def test_a_newer_format_is_refused_with_a_word(owner, changelog):
    owner.commit([b"a"])
    meta = unpack_state(owner.store.get(META))
    owner.store.write([(META, pack_state([9, *meta[1:]]))], [])
    with pytest.raises(WorkerError, match=r"state format 9, this version reads up to 3.*delete the directory"):
        await recovered(owner.config, owner.store)


def test_pages_are_cut_to_fit_into_records(monkeypatch):
    monkeypatch.setattr("samplejoin.engine.changelog.PART_BYTES", 10)
    deadlines = [(1, [b"aaaa", b"bbbb", b"cccc", b"dddd"]), (2, [b"eeee"])]
    pages = pages_of(deadlines)
    assert [until for until, _ in pages] == [1, 2]
    found = [(slice_, key) for _, page in pages for slice_, ks in unpack_state(page) for key in ks]
    assert found == [(slice_, key) for slice_, ks in deadlines for key in ks]
