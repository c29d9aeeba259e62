"""What is to be passed over, as workers look it up."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from samplejoin.core.skipped_offsets import Skip, ranges, unpack


def skip(first, last, topic="t", partition=0):
    return Skip(topic, partition, first, last, "why", "who", 5)


def test_ranges_are_in_order_and_apart():
    skips = [skip(9, 9), skip(1, 3), skip(4, 4), skip(2, 2), skip(7, 7, partition=1), skip(8, 12)]
    assert ranges(skips) == {("t", 0): [(1, 4), (8, 12)], ("t", 1): [(7, 7)]}
    assert ranges([]) == {}


def test_what_is_written_is_read():
    assert unpack(skip(1, 3).pack()[1]) == skip(1, 3)
    assert (skip(1, 3).place, skip(2, 2).place) == ("t/0/1-3", "t/0/2")


def like(**fields):
    return json.dumps(asdict(skip(1, 3)) | fields).encode()


NOT_OURS = [None, b"", b"{}", b"[]", b'{"topic": 1}', b"\xff", b"[" * 200_000]
WRONG_FIELDS = [
    like(topic=5), like(topic=""), like(first="a"), like(last=None), like(partition=True), like(partition=-1),
    like(first=5), like(first=-1), like(reason=1), like(by=2), like(at_ms="z"), like(more=1),
]  # fmt: skip


@pytest.mark.parametrize("value", [*NOT_OURS, *WRONG_FIELDS])
def test_other_records_are_refused(value):
    with pytest.raises(ValueError, match="not written by `samplejoin skip`"):
        unpack(value)
