"""Leaves are a sorted list, wherever they rest and however they are cut."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core.leaves import Leaves
from samplejoin.core.spec import Spec
from samplejoin.formats.payload import CODEC
from tests.core.large_keys import leaves_of

SPEC = Spec("s", (), ("u",), (), window_ms=1000, codec=CODEC)


class Shelf:
    """Records that rest elsewhere after a commit, or stay."""

    def __init__(self) -> None:
        self.spec = SPEC
        self.keys: dict[bytes, Any] = {}
        self.changed: dict[bytes, None] = {}
        self.store: dict[bytes, bytes] = {}
        self.brought = self.peeked = 0

    def need(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            if key not in self.keys and (found := self.peek(key)) is not None:
                self.keys[key] = found
                self.brought += 1

    def peek(self, key: bytes) -> bytes | None:
        self.peeked += 1
        return None if key in self.changed else self.store.get(key)

    def commit(self, evict: bool) -> None:
        for key in self.changed:
            if key in self.keys:
                self.keys[key] = self.store[key] = CODEC.pack(self.keys[key])
            else:
                self.store.pop(key, None)
        self.changed = {}
        if evict:
            self.keys.clear()


class Played:
    """Leaves next to the equivalent list; opened again for each step."""

    def __init__(self) -> None:
        self.shelf, self.model = Shelf(), list[list[int]]()
        self.directory: list[list[int]] = [[], [], []]
        self.made = 0

    def leaves(self, passing: bool) -> Leaves:
        return Leaves(self.shelf, b"k", self.directory, lambda entry: int(entry[0]), self.number, passing)

    def number(self) -> int:
        self.made += 1
        return self.made

    def range(self, low: int, high: int) -> slice:
        return slice(bisect_left(self.model, low, key=_rank), bisect_left(self.model, high, key=_rank))


def _rank(entry: list[int]) -> int:
    return entry[0]


steps = st.tuples(
    st.sampled_from(["insert", "insert", "insert", "between", "drop", "take", "visit", "commit", "evict"]),
    st.integers(0, 12), st.integers(0, 6), st.booleans(),
)  # fmt: skip


@pytest.mark.rule(11)
@given(st.lists(steps, max_size=60), st.sampled_from([1, 2, 3]))
@settings(max_examples=200)
def test_leaves_are_a_sorted_list(steps, entries):
    play = Played()
    with leaves_of(entries):
        for count, (what, low, length, passing) in enumerate(steps):
            found, high = play.leaves(passing), low + length
            mine = play.range(low, high)
            if what == "insert":
                entry = [low, count, 0]
                found.insert(list(entry), 10)
                play.model.insert(bisect_right(play.model, low, key=_rank), entry)
            elif what == "drop":
                found.drop(low, high)
                del play.model[mine]
            elif what == "take":
                assert found.take(low, high) == play.model[mine]
                del play.model[mine]
            elif what == "visit":
                for (entry, keep), known in zip(found.visit(low, high), play.model[mine], strict=True):
                    if entry[1] % 2:
                        entry[2] = known[2] = count
                        keep()
            elif what != "between":
                play.shelf.commit(what == "evict")
            assert list(play.leaves(passing).between(low, high)) == play.model[play.range(low, high)]
        play.shelf.commit(True)
        assert list(play.leaves(True).between(0, 100)) == play.model
        assert len(play.shelf.store) == len(play.directory[0])


@pytest.mark.rule(11)
def test_what_is_only_read_stays_where_it_is():
    """A few leaves are brought for rows that come again; many, or what is read in passing, are not."""
    play = Played()
    with leaves_of(1):
        for rank in range(10):
            play.leaves(False).insert([rank, 0, 0], 10)
    play.shelf.commit(True)
    for low, high, passing, brought in [(0, 9, False, 0), (0, 9, True, 0), (2, 3, True, 0), (3, 4, False, 2)]:
        assert len(list(play.leaves(passing).between(low, high))) == high - low
        assert len(play.shelf.keys) == brought
    peeked = play.shelf.peeked
    play.leaves(True).drop(1, 9)
    assert play.shelf.peeked <= peeked + 2
    assert list(play.leaves(True).between(0, 10)) == [[0, 0, 0], [9, 0, 0]]
