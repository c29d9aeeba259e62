"""A join that goes on with another number of partitions: the same samples as if it had not."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core import leaves
from samplejoin.core.keys import partition_of
from samplejoin.core.messages import Tick
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.rescale import NoCutError, merged_state
from samplejoin.core.spec import Spec, Stream
from tests.core import oracle
from tests.core.harness import World, last_revisions, packed, replay, stepped
from tests.core.strategies import Records, cases, randoms, rows_of, with_options
from tests.core.test_properties import merged, orphans_of

SPEC = Spec("job", (Stream("show", "anchor", ("shows",)), Stream("click", "label", ("clicks",))), ("k",), (), 5000)


def cut(spec: Spec, records: Records, partitions: int, random: Random, silent: set[int], seconds: int) -> World:
    """A world that has read half of the input and ended at a cut; some partitions hear more of a silence before."""
    half = {name: log[: random.randrange(len(log) + 1)] for name, log in records.items()}
    world = World(spec, half, partitions, random, random.random() < 0.5, 1 << 30, restarts=0.05, ends=False)
    world.run(close=lambda _: None)
    for _ in range(seconds):
        world.now += 1000
        world.at_end()
        for number in silent:
            tick(world, number)
    world.now += 1000
    for number in range(partitions):
        tick(world, number)
    world.committed = {name: (o.writer.acked, o.writer.row_time) for name, o in world.owners.items()}
    return world


def tick(world: World, number: int) -> None:
    writers = [owner.writer for owner in world.owners.values()]
    world.logs[number].append((Tick([w.tick(number) for w in writers], world.counts), world.now))
    for writer in writers:
        writer.tick_acked(number, len(world.logs[number]) - 1)


def go_on(world: World, records: Records) -> None:
    """The rest of the input is read without a tick, so that what is late is decided by the clock at the cut."""
    world.sources = records
    for name in records:
        world.assign(name)
        while world.owners[name].position < len(records[name]):
            world.read(name)
        for _ in range(len(world.owners[name].unacked)):
            world.acknowledge(name)
    world.end_of_input()


def reread(state: PartitionState) -> PartitionState:
    return PartitionState.read(packed(state))


def taken_over(spec: Spec, old: list[Partition], count: int) -> list[Partition]:
    """New partitions, from nothing but what the old ones have persisted."""
    state = reread(merged_state(spec, [reread(partition.dump()) for partition in old]))
    new = [Partition(spec) for _ in range(count)]
    for partition in new:
        partition.load(state)
    for key, key_state in (item for partition in old for item in packed(list(partition.keys.items()))):
        home = new[partition_of(leaves.home_of(key), count)]
        home.keys[key] = key_state
        home.watch(key, key_state)
    return new


def migrated(spec: Spec, world: World, records: Records, count: int) -> Outcomes:
    """What comes out if the world goes on with `count` partitions."""
    steps = [stepped(spec, log) for log in world.logs]
    outs = [out for _, out in steps]
    other = World(spec, records, count, world.random, world.combined, 1 << 30, now=world.now)
    other.committed = dict(world.committed)
    go_on(other, records)
    for partition, log in zip(taken_over(spec, [p for p, _ in steps], count), other.logs, strict=True):
        out = Outcomes()
        partition.sweep(out)
        for offset, (entry, append_ms) in enumerate(log):
            partition.apply(entry, offset, append_ms, out)
            partition.sweep(out)
        outs.append(out)
    return merged(outs)


@pytest.mark.rule(1, 2, 4, 6, 7, 15, 16)
@given(cases(), randoms, st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=100)
def test_another_number_of_partitions_changes_no_sample(case, random, before, after):
    spec, records = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "LEAF_ENTRIES", random.choice([64, 2]))
        out = migrated(spec, cut(spec, records, before, random, set(), 0), records, after)
    samples, _ = oracle.join(spec, rows_of(records))
    assert last_revisions(out) == samples
    assert len(out.samples) == len(samples)
    assert not any("refused" in name or "late" in name for name, _ in out.counts)


@pytest.mark.rule(5, 6, 8)
@given(cases(late=True), randoms, st.integers(1, 4), st.integers(1, 5), st.sampled_from(["count", "topic", "correct"]))
@settings(max_examples=80)
def test_clocks_that_differ_end_as_the_furthest(case, random, before, after, late):
    """As in a run that was never migrated, in which all partitions had heard what the furthest one had."""
    spec, records = case
    spec = with_options(spec, late=late, correction_ms=20 * spec.resolution_ms if late == "correct" else 0)
    seed, seconds = random.random(), random.randrange(20)
    some = {0, *(n for n in range(before) if random.random() < 0.5)}
    world = cut(spec, records, before, Random(seed), some, seconds)
    whole = cut(spec, records, before, Random(seed), set(range(before)), seconds)
    out = migrated(spec, world, records, after)
    go_on(whole, records)
    unmigrated = merged([replay(spec, log) for log in whole.logs])
    assert last_revisions(out) == last_revisions(unmigrated)
    assert len(out.samples) == len(unmigrated.samples)
    assert orphans_of(out) == orphans_of(unmigrated)


@pytest.mark.rule(8)
def test_proofs_of_an_end_are_not_carried_over():
    records: Records = {("shows", 0): [], ("clicks", 0): []}
    world = cut(SPEC, records, 1, Random(1), {0}, 9)
    (old,) = [stepped(SPEC, log)[0] for log in world.logs]
    assert all(each.last_offset > 0 and each.quiet_since is not None for each in old.clock.sources.values())
    (partition,) = taken_over(SPEC, [old], 1)
    assert all(each.last_offset == -1 and each.quiet_since is None for each in partition.clock.sources.values())


@pytest.mark.rule(7)
def test_there_is_no_cut_where_records_are_missing():
    one, two = Partition(SPEC), Partition(SPEC)
    one.covered["shows 000000"] = 5
    with pytest.raises(NoCutError, match="different records"):
        merged_state(SPEC, [one.dump(), two.dump()])
    two.covered["shows 000000"] = 5
    two.covered["gone 000000"] = 3  # of a topic that the job no longer has: which of them heard of it says nothing
    merged_state(SPEC, [one.dump(), two.dump()])
    two._pending[b"k"] = None
    with pytest.raises(NoCutError, match="wait to be corrected"):
        merged_state(SPEC, [one.dump(), two.dump()])
