"""Windows with thousands of impressions: closed, corrected and forgotten with a few leaves in memory at a time."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import pytest

from samplejoin.core import large_key_windows, leaves
from samplejoin.formats.payload import CODEC
from tests.core.large_keys import leaves_of
from tests.core.play import KEY, Play, spec_of

#: leaves of one sequence that are read at the same time, and those that are opened at the ends of a range
FEW = 8
WINDOW_MS = 10_000_000
CORRECT: dict[str, Any] = {"late": "correct", "correction_ms": 5_000_000}


class Leaf(list[Any]):
    """The cells of a leaf while something refers to them."""

    held = most = read = 0

    def __init__(self, entries: list[Any]) -> None:
        super().__init__(entries)
        Leaf.read += 1
        Leaf.held += 1
        Leaf.most = max(Leaf.most, Leaf.held)

    def __del__(self) -> None:
        Leaf.held -= 1


def loads(data: bytes) -> Any:
    value = CODEC.loads(data)
    first = value[0] if type(value) is list and value else None
    return Leaf(value) if type(first) is list and type(first[0]) is int and len(first) == 4 else value


class AtRest(Play):
    """All that a partition has is packed and elsewhere between two of its steps; each is a part of a sweep."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec_of(codec=CODEC._replace(loads=loads), window_ms=WINDOW_MS, **options))
        self.store: dict[bytes, bytes] = {}
        self.most_brought = self.brought = 0
        self.partition.need, self.partition.peek = self.need, self.peek

    def need(self, keys: Iterable[bytes]) -> None:
        cache = self.partition.keys
        for key in keys:
            if key not in cache and (packed := self.peek(key)) is not None:
                cache[key] = packed
                self.brought += leaves.is_leaf(key)

    def peek(self, key: bytes) -> bytes | None:
        return None if key in self.partition.changed else self.store.get(key)

    def rest(self) -> None:
        """A commit, after which nothing is in the cache."""
        partition = self.partition
        for name in partition.changed:
            state = partition.keys.get(name)
            if state is None:
                self.store.pop(name, None)
            else:
                self.store[name] = state if type(state) is bytes else CODEC.pack(list(state))
        partition.changed.clear()
        partition.keys.clear()
        self.most_brought, self.brought = max(self.most_brought, self.brought), 0

    def apply(self, entry: Any) -> AtRest:
        self.now += 1000
        self.partition.apply(entry, self.entries, self.now, self.out)
        self.entries += 1
        while self.partition.due():
            self.partition.sweep(self.out, 1)
            self.rest()
        self.rest()
        return self


def filled(count: int, seconds: int = 2000, ids: int = 700, clicks: int = 400, **options: Any) -> AtRest:
    """So many impressions of one key within so many seconds, all in windows that hold them to their end."""
    play = AtRest(**options)
    for number in range(count):
        play.show(number * seconds / count, id=f"id {number % ids}", pos=number)
    for number in range(clicks):
        play.click(number * seconds / clicks + 1, where=number)
    return play


@pytest.fixture(autouse=True)
def counted():
    """Leaves are small, so there are hundreds."""
    with leaves_of(4):
        yield
    assert Leaf.held == 0


def looked(play: AtRest, clock: float) -> tuple[int, int, int]:
    """Moves the clock: leaves that were held at the most, brought by a step at the most, read in all."""
    Leaf.most = Leaf.held
    play.most_brought, before = 0, Leaf.read
    play.clock(clock)
    return Leaf.most, play.most_brought, Leaf.read - before


@pytest.mark.rule(3, 7, 11)
@pytest.mark.parametrize("clock", ["event", "processing"])
@pytest.mark.parametrize("ids", [None, "id"])
def test_a_window_that_closes_holds_a_few_leaves(clock, ids):
    """Two passes, if there are ids; what is forgotten of it is not read again."""
    play = filled(2000, show_id=ids, clock=clock)
    count = len(play.store)
    assert count > 500
    play.now += WINDOW_MS
    most, brought, read = looked(play, 20_000)
    (sample,) = play.samples
    assert sample["shows"] == (700 if ids else 2000)
    assert sample["clicks"] == 400
    assert not play.store
    assert most <= FEW
    assert brought <= FEW
    assert read < (2.2 if ids else 1.2) * count + FEW


@pytest.mark.rule(5, 7, 11)
@pytest.mark.parametrize("ids", [None, "id"])
def test_a_window_that_is_corrected_and_forgotten_holds_a_few_leaves(ids):
    play = filled(2000, show_id=ids, **CORRECT)
    known = {name: state for name, state in play.store.items() if leaves.is_leaf(name)}
    costs = [looked(play, 10_001)]
    assert len(play.store) == len(known) + 2
    assert known.items() <= play.store.items(), "what is remembered of a window is written beside its impressions"
    Leaf.most = 0
    play.click(5, where="late")
    assert Leaf.most <= FEW
    costs += [looked(play, 10_002), looked(play, 20_000)]
    assert [sample.revision for sample in play.out.samples] == [0, 1]
    assert [sample["clicks"] for sample in play.samples] == [400, 401]
    assert not play.store
    for most, brought, _ in costs:
        assert most <= FEW
        assert brought <= FEW
    assert costs[2][2] <= FEW, "forgetting reads what it deletes"


@pytest.mark.rule(3, 7, 11)
@pytest.mark.parametrize("options", [{}, CORRECT], ids=["count", "correct"])
@pytest.mark.parametrize("seconds", [2000, 20])
@pytest.mark.parametrize("ids", [1, 700])
def test_of_repeats_with_an_id_each_window_reads_its_first_impression(ids, seconds, options):
    """The others are only counted: their slices are known, and they go with the first window behind them."""
    play = filled(2000, seconds, ids, 100, show_id="id", repeat="each", **options)
    count = len(play.store)
    anchors = [state for name, state in play.store.items() if leaves.is_leaf(name) and type(loads(state)) is Leaf]
    costs = [looked(play, 10_000 + seconds + 1)]
    assert not options or set(anchors) <= set(play.store.values())
    if options:
        play.click(5, where="late")
        costs += [looked(play, 10_000 + seconds + 2), looked(play, 30_000)]
    assert len({sample.sample_id for sample in play.out.samples}) == ids
    assert len(play.out.samples) == ids + bool(options)
    assert play.out.counts["folded_rows", "show"] == 2000 - ids
    assert not play.store
    opening = 2000 // seconds  # in one slice: of each a leaf of its chain changes
    for most, brought, read in costs:
        assert most <= FEW
        assert brought <= 2 * FEW + opening
        assert read < 8 * count


@pytest.mark.rule(11)
@pytest.mark.parametrize("options", [{}, CORRECT], ids=["count", "correct"])
@pytest.mark.parametrize("repeat", ["merge", "each"])
@pytest.mark.parametrize("ids", [None, "id"])
def test_the_leaves_that_are_read_are_in_proportion_to_rows(ids, repeat, options):
    """Hundreds of impressions lie in each slice: none is looked at again for each of the others."""
    reads = []
    for count in (500, 1000):
        play = filled(count, 4, count // 3, 20, show_id=ids, repeat=repeat, **options)
        before = Leaf.read
        play.clock(10_010)
        play.clock(100_000)
        assert not play.store
        reads.append(Leaf.read - before)
    assert reads[1] < 2.6 * reads[0]


@pytest.mark.rule(12)
def test_what_reading_raises_is_no_fault_of_the_sample():
    """A store that cannot be read costs no sample: the worker ends, and the next one closes the window."""
    play = filled(100)
    play.store.pop(max(name for name in play.store if leaves.is_leaf(name)))
    with pytest.raises(KeyError):
        play.clock(20_000)
    gc.collect()  # the error refers to what was being read
    assert not play.out.samples
    assert not play.out.dead


def test_a_merge_that_raises_is_told_once(monkeypatch):
    play = filled(100)

    def fail(*_: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setattr(large_key_windows, "merge_partials", fail)
    play.clock(20_000)
    (dead,) = play.out.dead
    assert (dead.key, dead.function, dead.error) == (KEY, "aggregate", "ValueError: no")
