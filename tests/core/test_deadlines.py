"""Deadlines taken many at a time equal those taken one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core.deadlines import Deadlines

ENTRIES = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([b"a", b"b", b"c", b"d"])), max_size=30)


def filled(entries):
    deadlines = Deadlines()
    for slice_, key in entries:
        deadlines.add(slice_, key)
    return deadlines


def test_what_was_given_before_is_given_again_with_what_follows_it():
    deadlines = filled([(15, b"a")])
    deadlines.take_new()
    deadlines.extend(15, [b"a", b"b"])
    assert deadlines.take_new() == [(15, [b"a", b"b"])]


@given(ENTRIES, st.lists(st.tuples(st.integers(0, 6), st.lists(st.sampled_from([b"a", b"b", b"e"]), min_size=1))),
       st.integers(0, 7), st.integers(0, 4))  # fmt: skip
def test_many_at_once_are_as_one_by_one(entries, blocks, clock, looked_at):
    """Whatever was given to be kept before, and also while their slice is being looked at."""
    one, many = filled(entries), filled(entries)
    assert one.take_new() == many.take_new()
    for _ in range(looked_at):
        assert one.pop(clock) == many.pop(clock)
    for slice_, keys in blocks:
        for key in keys:
            one.add(slice_, key)
        many.extend(slice_, keys)
    given_one, given_many = dict(one.take_new()), dict(many.take_new())
    for slice_, keys in blocks:  # `add` leaves out what stands there last, and has been given
        assert set(keys) <= set(given_many[slice_])
    assert given_one.keys() <= given_many.keys()
    assert popped(one, 9) == popped(many, 9)


def popped(deadlines, clock):
    keys = []
    while (key := deadlines.pop(clock)) is not None:
        keys.append(key)
    return keys


@given(ENTRIES, ENTRIES, st.integers(0, 7), st.lists(st.integers(1, 5), min_size=1))
def test_taking_is_popping(entries, later, clock, limits):
    """Also when keys come in between, and what is kept of the deadlines is the same."""
    one, many = filled(entries), filled(entries)
    for limit in limits:
        keys = many.take(clock, limit)
        assert len(keys) <= limit
        assert keys == [one.pop(clock) for _ in keys]
        assert keys or one.pop(clock) is None
    for slice_, key in later:
        one.add(slice_, key)
        many.add(slice_, key)
    assert one.take_new() == many.take_new()
    rest = []
    while keys := many.take(clock, 3):
        rest += keys
    assert rest == popped(one, clock)
    assert one.furthest() == many.furthest()
