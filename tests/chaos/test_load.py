"""The load: the same from the same seed, late only where it says so, and of every kind that a round may want."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.load import CHUNK_MS, DEAD, DISORDER_MS, HOTTEST, JUNK, Load, chunks, payload, row_of, truth

LOAD = Load("x", 200, 100, (4, 2, 3), 20_000, 2000, 5000, True, True, 0.05, 0.02, 2, True)


def test_the_same_seed_gives_the_same_load():
    assert list(truth(LOAD)) == list(truth(LOAD))
    assert list(truth(LOAD)) != list(truth(replace(LOAD, seed="y")))


def test_offsets_are_those_that_kafka_gives():
    """Per partition from 0 on without a gap, in the order of producing."""
    places: Counter[tuple[int, int]] = Counter()
    for event, offset in truth(LOAD):
        assert offset == places[event.stream, event.partition]
        places[event.stream, event.partition] += 1
    assert set(places) == {(stream, p) for stream, count in enumerate(LOAD.partitions) for p in range(count)}


@pytest.mark.rule(2)
def test_only_rows_marked_late_are_behind():
    highest, behind = 0, []
    for events in chunks(LOAD):
        for event in events:
            if event.kind in ("", "hang"):
                highest = max(highest, event.ts)
            if event.kind == "":
                assert highest - event.ts < CHUNK_MS + DISORDER_MS < LOAD.lateness_ms
            elif event.kind == "late":
                behind.append(highest - event.ts)
    assert len(behind) > 20
    assert min(behind) > LOAD.lateness_ms - CHUNK_MS


@pytest.mark.rule(2, 8)
def test_a_stream_that_is_held_back_comes_at_once_and_in_order():
    held = replace(LOAD, hold=(60, 120), hot_key=True, hot_late=3)
    rounds = list(chunks(held))
    assert not any(event.stream == 2 for events in rounds[60:120] for event in events)
    assert sum(event.stream == 2 for event in rounds[120]) > 300
    assert Counter(event for event, _ in truth(held)) == Counter(event for events in rounds for event in events)
    highest = [0, 0, 0]
    for event, _ in truth(held):
        if event.kind == "":
            highest[event.stream] = max(highest[event.stream], event.ts)
            assert highest[event.stream] - event.ts < CHUNK_MS + DISORDER_MS
    hot = Counter((event.stream, event.kind) for event, _ in truth(held) if event.uid == HOTTEST)
    assert 200 <= hot[0, ""] < 220
    assert hot[1, "late"] == 3


def test_everything_that_can_go_wrong_is_in_it():
    events = [event for event, _ in truth(LOAD)]
    kinds = Counter(event.kind for event in events)
    assert kinds.keys() == {"", "late", "hang", "drop", *DEAD, *JUNK}
    assert kinds["hang"] == 2
    keys = Counter((e.uid, e.mid) for e in events if e.stream == 0 and not e.kind)
    assert max(count for (uid, _), count in keys.items() if uid.startswith("hot")) > 20
    assert sum(count > 1 for count in keys.values()) > 100  # repeated impressions
    sends = Counter(event.eid for event in events if not event.kind)
    assert 0.02 < sum(count > 1 for count in sends.values()) / len(sends) < 0.04  # a producer that tries again
    shown = {(e.uid, e.mid): e.ts for e in reversed(events) if e.stream == 0 and not e.kind}
    early = sum(e.ts < shown.get((e.uid, e.mid), 0) for e in events if e.stream == 1 and not e.kind)
    assert early > 100  # clicks before their impression
    last = [n for n, e in enumerate(events) if e.kind != "drop" and (e.stream, e.partition) == (0, 3)]
    assert last[0] > len(events) / 2  # a partition that comes to life late


def test_payloads_read_back_as_the_rows_that_the_truth_has():
    for event, _ in truth(LOAD):
        if event.kind in ("", "late", "hang"):
            read = json.loads(payload(event))
            assert {name: read[name] for name in row_of(event)} == row_of(event)
