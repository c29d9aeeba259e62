"""Stream, offline run and oracle agree, byte for byte, whatever the order, the cuts, the restarts and the crashes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core.messages import Tick
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from tests.core import oracle
from tests.core.harness import World, everything, last_revisions, offline, replay, restarted, stepped
from tests.core.strategies import cases, randoms, rows_of, with_options


def merged(outs: list[Outcomes]) -> Outcomes:
    whole = Outcomes()
    for out in outs:
        whole.samples += out.samples
        whole.side_rows += out.side_rows
        whole.dead += out.dead
        for (name, label), n in out.counts.items():
            whole.count(name, label, n)
    return whole


def orphans_of(out: Outcomes) -> Counter[Any]:
    return Counter((r.key, r.stream, r.slice_ms) for r in out.side_rows for _ in range(r.rows))


def expected_orphans(spec, rows) -> Counter[Any]:
    return Counter((r.key, r.stream, r.time // spec.resolution_ms * spec.resolution_ms) for r in rows)


@pytest.mark.rule(1, 2, 3, 4, 6, 7, 11, 15, 16)
@given(cases(), randoms, st.integers(1, 4), st.booleans(), st.sampled_from([0.0, 0.1]))
@settings(max_examples=160)
def test_stream_equals_offline_equals_oracle(case, random, partitions, combined, restarts):
    spec, records = case
    world = World(spec, records, partitions, random, combined, random.choice([1, 4, 20]), restarts=restarts)
    streamed = merged([replay(spec, log, random) for log in world.run()])
    batch = offline(spec, rows_of(records))
    samples, orphans = oracle.join(spec, rows_of(records))
    assert last_revisions(batch) == samples
    assert last_revisions(streamed) == samples
    assert len(streamed.samples) == len(samples)
    assert orphans_of(streamed) == orphans_of(batch) == expected_orphans(spec, orphans)
    assert all(row.kind == "orphan" for row in streamed.side_rows), "a row within lateness was late"
    assert not streamed.dead
    assert not any("refused" in name for name, _ in streamed.counts)


@pytest.mark.rule(1, 8, 15)
@given(cases(apart=False, resolution_ms=1000, window_ms=4000, before_ms=2000), randoms)
@settings(max_examples=60)
def test_the_tail_closes_by_proven_silence(case, random):
    spec, records = case
    world = World(spec, records, 2, random, restarts=0.05, ends=False)
    logs = world.run(close=lambda w: w.silence(160))
    streamed = merged([replay(spec, log, random) for log in logs])
    samples, _ = oracle.join(spec, rows_of(records))
    assert last_revisions(streamed) == samples
    assert not any(name == "late_rows" for name, _ in streamed.counts)


@pytest.mark.rule(5, 6, 16)
@given(cases(late=True), randoms, st.sampled_from(["count", "topic", "correct"]), st.sampled_from([0, 2, 50]))
@settings(max_examples=60)
def test_a_replayed_log_gives_the_same_outcomes(case, random, late, correction):
    spec, records = case
    spec = with_options(spec, late=late, correction_ms=correction * spec.resolution_ms, max_rows=random.choice([3, 99]))
    world = World(spec, records, 2, random, restarts=0.05)
    for log in world.run():
        once = everything(replay(spec, log))
        assert everything(replay(spec, log)) == once
        assert everything(replay(spec, log, Random(1))) == once
        assert everything(replay(spec, log, Random(2))) == once


@pytest.mark.rule(5, 6)
@given(cases(late=True), randoms)
@settings(max_examples=80)
def test_the_last_revision_equals_the_offline_sample(case, random):
    spec, records = case
    spec = with_options(spec, late="correct", correction_ms=1000 * spec.resolution_ms)
    world = World(spec, records, 1, random, restarts=0.05)
    (log,) = world.run()
    streamed = replay(spec, log, random)
    samples, _ = oracle.join(spec, rows_of(records))
    refused = {r.key for r in streamed.side_rows if r.kind == "late"}
    mine = {s.sample_id for s in streamed.samples if s.key not in refused}
    theirs = oracle.join(spec, [row for row in rows_of(records) if row.key not in refused])[0]
    newest = last_revisions(streamed)
    assert {id_: newest[id_] for id_ in mine} == theirs
    assert all(samples[id_] == theirs[id_] for id_ in mine)
    weights: dict[str, float] = {}
    for sample in streamed.samples:
        assert sample.previous_weight == weights.get(sample.sample_id, 0.0)
        weights[sample.sample_id] = sample.weight


@pytest.mark.rule(5)
@given(cases(late=True), randoms)
@settings(max_examples=100)
def test_at_most_one_revision_per_sample_and_tick(case, random):
    spec, records = case
    spec = with_options(spec, late="correct", correction_ms=1000 * spec.resolution_ms)
    (log,) = World(spec, records, 1, random).run()
    partition = Partition(spec)
    for offset, (entry, append_ms) in enumerate(log):
        out = Outcomes()
        partition.apply(entry, offset, append_ms, out)
        partition.sweep(out)
        if random.random() < 0.3:
            partition = restarted(partition)
            partition.sweep(out)
        ids = [sample.sample_id for sample in out.samples]
        assert len(ids) == len(set(ids))
        assert isinstance(entry, Tick) or not ids


@pytest.mark.rule(5, 7)
@given(cases(late=True), randoms, st.sampled_from(["count", "correct"]))
@settings(max_examples=150)
def test_no_row_is_dropped_silently(case, random, late):
    """Every label row is in a window, an orphan, late, or counted as truncated; none is in two places."""
    spec, records = case
    spec = with_options(spec, late=late, correction_ms=2 * spec.resolution_ms, keep_negatives=1.0)
    streams = tuple(replace(s, id_field=None) for s in spec.streams)
    spec = with_options(spec, streams=streams, max_rows=random.choice([1, 4, 99]))
    (log,) = World(spec, records, 1, random, restarts=0.05).run()
    partition, out = stepped(spec, log, random)
    assert not partition.keys
    labels = {s.name for s in spec.streams if s.role == "label"}
    rows = Counter(r.stream for r in rows_of(records))
    for stream in labels:
        aside = sum(r.rows for r in out.side_rows if r.stream == stream)
        joined = out.counts.get(("joined_rows", stream), 0)
        truncated = out.counts.get(("truncated_rows", stream), 0)
        if late == "count":
            assert aside + joined + truncated == rows[stream]
        else:
            assert aside + joined + truncated <= rows[stream]


@pytest.mark.rule(11)
@given(cases(max_rows=4), randoms)
@settings(max_examples=150)
def test_a_sample_without_truncated_is_whole(case, random):
    spec, records = case
    logs = World(spec, records, 2, random).run()
    streamed = merged([replay(spec, log, random) for log in logs])
    samples, _ = oracle.join(spec, rows_of(records))
    whole = {s.sample_id: (s.slice_ms, s.payload, s.weight) for s in streamed.samples if not s.truncated}
    assert all(samples[id_] == sample for id_, sample in whole.items())
    if not any(name == "truncated_rows" for name, _ in streamed.counts):
        assert whole == samples


@pytest.mark.rule(8, 6)
@given(cases(clock="processing", repeat="merge"), randoms)
@settings(max_examples=100)
def test_by_processing_time_a_replay_is_the_same(case, random):
    spec, records = case
    world = World(spec, records, 1, random)

    def close(world):
        world.now += 100 * spec.resolution_ms + spec.window_ms
        world.tick(list(world.sources))

    (log,) = world.run(close)
    partition, out = stepped(spec, log)
    assert not partition.keys
    assert everything(replay(spec, log, random)) == everything(out)
    assert not any(name == "late_rows" for name, _ in out.counts)
