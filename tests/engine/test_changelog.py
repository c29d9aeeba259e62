"""Commit records: large ones in parts, cut-off ones left out, whatever follows them."""

from __future__ import annotations

import random

import pytest

from samplejoin.engine.changelog import PART_BYTES, Commit, join_parts, parts_of
from samplejoin.engine.clients import MAX_REQUEST_BYTES
from samplejoin.engine.wire import FormatError

pytestmark = pytest.mark.rule(7, 16)


def commit(start: int, puts=(), deletes=()) -> Commit:
    return Commit(start, start + 1, list(puts), list(deletes), b"state", "print", 7)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def replayed(*logs: list[bytes]) -> list[Commit]:
    return list(join_parts(enumerate(value for log in logs for value in log)))


def same(a: Commit, b: Commit) -> bool:
    return (a.start, a.position, a.puts, a.deletes, a.deadline) == (b.start, b.position, b.puts, b.deletes, b.deadline)


LARGE = [
    commit(0, [(b"%d" % i, noise(50_000, i)) for i in range(200)]),
    commit(0, [(b"small", b"1"), (b"huge", noise(3 * PART_BYTES + 5)), (b"next", b"2")]),
    commit(0, deletes=[noise(36, i) for i in range(200_000)]),
    commit(0, [(b"huge", noise(2 * PART_BYTES))], [b"gone"]),
    commit(0),
]


@pytest.mark.parametrize("number", range(len(LARGE)))
def test_a_commit_of_any_size_comes_back_from_records_that_kafka_takes(number):
    """Many keys, one key larger than a record, more deletes than a record holds."""
    values = list(parts_of(LARGE[number]))
    assert all(len(value) < MAX_REQUEST_BYTES for value in values)
    (again,) = replayed(values)
    assert same(again, LARGE[number])
    assert (again.first_offset, again.next_offset) == (0, len(values))
    assert again.id == LARGE[number].id != b""
    assert (again.pages, again.swept, again.needed) == (LARGE[number].pages, LARGE[number].swept, LARGE[number].needed)


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("kept", [1, 2])
def test_a_commit_that_was_cut_off_is_not_glued_to_the_next(number, kept):
    """Without transactions a killed owner leaves some of its parts; the next owner commits from the same start."""
    left_over = list(parts_of(LARGE[number]))[:kept]
    following = commit(0, [(b"key", b"value")])
    (only,) = replayed(left_over, list(parts_of(following)))
    assert same(only, following)
    assert only.first_offset == len(left_over)


def test_a_commit_whose_beginning_was_trimmed_is_left_out():
    values = list(parts_of(LARGE[0]))[1:]
    following = commit(5, [(b"key", b"value")])
    (only,) = replayed(values, list(parts_of(following)))
    assert same(only, following)


def test_parts_of_two_commits_may_alternate():
    """Without transactions a paused owner wakes up in the middle of its successor's commit."""
    one, other = list(parts_of(commit(0, [(b"a", b"1")]))), list(parts_of(commit(9, [(b"b", b"2")])))
    found = replayed([one[0], other[0], one[1], other[1]])
    assert [(c.start, c.puts) for c in found] == [(0, [(b"a", b"1")]), (9, [(b"b", b"2")])]
    assert [(c.first_offset, c.next_offset) for c in found] == [(0, 3), (1, 4)]


def test_state_of_another_format_is_refused_with_a_word(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("samplejoin.engine.changelog.STATE_FORMAT", 1)
        values = list(parts_of(Commit(0, 1, [(b"a", b"state")])))
    with pytest.raises(
        FormatError, match=r"state of format 1, this version reads 2: run .* that wrote it, or start over"
    ):
        list(join_parts(enumerate(values)))
