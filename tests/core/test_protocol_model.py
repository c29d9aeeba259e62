"""Covering, ticks and clock under a storm of failures: no row lost, doubled or wrongly late, and no clock stuck.

`SAMPLEJOIN_MODEL_SEEDS` plays more seeds than the 300 of a normal run. The mutations show that the model can tell: with
any one of the rules relaxed it turns red.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from samplejoin.core import covering, leaves
from samplejoin.core.clock import NEVER, Clock
from samplejoin.core.covering import SourceWriter
from samplejoin.core.messages import Block, Tick
from samplejoin.core.partition import Partition
from samplejoin.worker.join_task import JoinTask
from tests.core.protocol import Sim, first_failure
from tests.core.protocol_actors import Options

pytestmark = pytest.mark.searches  # hundreds of random runs

SEEDS = int(os.environ.get("SAMPLEJOIN_MODEL_SEEDS", "300"))
CHUNK = max(25, SEEDS // 12)
CHUNKS = [range(low, min(low + CHUNK, SEEDS)) for low in range(0, SEEDS, CHUNK)]
FEW = range(max(40, SEEDS // 8))
#: a relaxed rule must show within this many seeds
BOUND = range(400)


def chunk_name(seeds: range) -> str:
    return f"{seeds.start}-{seeds.stop - 1}"


@pytest.mark.rule(7, 8, 16)
@pytest.mark.parametrize("seeds", CHUNKS, ids=chunk_name)
def test_no_row_is_lost_doubled_or_wrongly_late(seeds):
    modes = [("advance", range(seeds.start, seeds.stop, 2)), ("hold", range(seeds.start + 1, seeds.stop, 2))]
    for idle, mine in modes:
        assert first_failure(mine, Options(idle=idle)) is None


EXTENSIONS = {
    "growing topics": Options(growth=True),
    "growing topics, hold": Options(growth=True, idle="hold"),
    "gaps wider than max_in_flight": Options(gaps=True),
    "gaps, hold": Options(gaps=True, idle="hold"),
    "offsets moved forward": Options(moved_offsets=True),
    "a confirmed commit lost": Options(lost_commits=True, always_log_end=True),
    "a confirmed commit lost, hold": Options(lost_commits=True, always_log_end=True, idle="hold"),
    "max_wait": Options(max_wait=100, idle="hold"),
    "corrections": Options(correct=True),
    "a quiet source among busy ones": Options(doubles=True, idle="hold"),
    "paused doubles of one generation": Options(static_members=0.5),
}


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("name", EXTENSIONS)
def test_it_holds_in_rarer_weather_too(name):
    assert first_failure(FEW, EXTENSIONS[name]) is None


FAILING = Options(failing_commits=True, steps=200)


@pytest.mark.rule(5, 16)
@pytest.mark.parametrize("options", [FAILING, replace(FAILING, correct=True, idle="hold")], ids=["late", "correct"])
def test_a_failed_commit_is_followed_by_none(options):
    """Whatever raises at a step of a commit, a graceful stop after it included: what comes next is a recovery."""
    sims = [Sim(seed, options) for seed in range(max(6, SEEDS // 50))]
    for sim in sims:
        sim.run()
    assert sum(join.failing.failed for sim in sims for join in sim.joins if join.failing) > 20 * len(sims)


@pytest.mark.rule(7, 11, 16)
@pytest.mark.parametrize("options", [Options(correct=True), Options(idle="hold")], ids=["corrections", "held clocks"])
def test_it_holds_with_keys_in_leaves_too(options, monkeypatch):
    monkeypatch.setattr(leaves, "LEAF_ENTRIES", 2)
    assert first_failure(range(30), options) is None


@pytest.mark.rule(7)
def test_the_storm_is_one():
    """The model is worth its seeds only if owners double, sends get refused, and cells hold several rows."""
    sims = [Sim(seed) for seed in range(40)]
    for sim in sims:
        sim.run()
    assert sum(sim.refused for sim in sims) >= 3
    assert sum(sum(sim.generations.values()) > 10 for sim in sims) >= 20
    skipped = [sim for sim in sims if any("skipped_entries" in name for j in sim.joins for name, _ in j.out.counts)]
    assert len(skipped) >= 10


# ---- mutations: a rule relaxed ------------------------------------------------------------------------------------


def on_apply(monkeypatch, change):
    """Changes every entry just before the join steps it."""
    step = Partition.apply

    def apply(self, entry, log_offset, append_ms, out):
        step(self, change(self, entry), log_offset, append_ms, out)

    monkeypatch.setattr(Partition, "apply", apply)


def entries(tick: Tick, change) -> Tick:
    return Tick([new for entry in tick.entries if (new := change(entry)) is not None], tick.partitions)


def after_is_the_previous_upto(monkeypatch):
    def cover(self, partition, upto):
        target = self._targets.setdefault(partition, covering._Target())
        after, target.covered = target.covered, upto
        return after

    monkeypatch.setattr(SourceWriter, "_cover", cover)


def gaps_are_not_refused(monkeypatch):
    def change(_, entry):
        return (
            replace(entry, after=None) if isinstance(entry, Block) else entries(entry, lambda e: replace(e, after=None))
        )

    on_apply(monkeypatch, change)


def straddling_cells_are_merged(monkeypatch):
    def change(_, entry):
        if isinstance(entry, Block):
            entry.cells = [(k, s, t, high, high, n, p) for k, s, t, _, high, n, p in entry.cells]
        return entry

    on_apply(monkeypatch, change)


def straddling_cells_are_dropped(monkeypatch):
    def change(_, entry):
        if isinstance(entry, Block):
            entry.cells = [(k, s, t, low, low, n, p) for k, s, t, low, _, n, p in entry.cells]
        return entry

    on_apply(monkeypatch, change)


def covered_ticks_are_not_believed(monkeypatch):
    def change(partition, entry):
        if isinstance(entry, Block):
            return entry
        return entries(entry, lambda e: e if e.upto > partition.covered.get(e.source, -1) else None)

    on_apply(monkeypatch, change)


def a_source_at_its_end_is_nobodys_concern(monkeypatch):
    """Nothing is followed: the clock stands wherever one partition gets no rows."""

    def mutant(self, entry, state, topic, covered):
        return None

    monkeypatch.setattr(Clock, "_follow", mutant)


def at_end_needs_no_fetch_after_the_acknowledgement(monkeypatch):
    tick = SourceWriter.tick

    def mutant(self, partition):
        entry = tick(self, partition)
        return replace(entry, at_end=entry.prev is not None and self._end_at == self.acked + 1)

    monkeypatch.setattr(SourceWriter, "tick", mutant)


def ticks_speak_of_what_is_read(monkeypatch):
    settle = SourceWriter.settle

    def mutant(self):
        for batch in self._batches:
            batch.outstanding = 0
        settle(self)

    monkeypatch.setattr(SourceWriter, "settle", mutant)


def owners_combine_from_the_start(monkeypatch):
    monkeypatch.setattr(SourceWriter, "uncombined", property(lambda self: self.start))


def owners_run_ahead_of_their_commits(monkeypatch):
    monkeypatch.setattr(SourceWriter, "limit", property(lambda self: 1 << 60))


def ends_need_no_proof(monkeypatch):
    follow = Clock._follow

    def mutant(self, entry, state, topic, covered):
        follow(self, replace(entry, at_end=True, prev=state.last_offset), state, topic, covered)

    monkeypatch.setattr(Clock, "_follow", mutant)


def rows_do_not_end_a_silence(monkeypatch):
    monkeypatch.setattr(Clock, "rows_taken", lambda self, source: None)


def unknown_sources_do_not_hold(monkeypatch):
    def mutant(self):
        marks = [s.watermark for s in self.sources.values() if s.watermark is not None]
        lowest = min(marks, default=NEVER)
        moved, self.value = lowest > self.value, max(lowest, self.value)
        return moved

    monkeypatch.setattr(Clock, "advance", mutant)


def covering_is_forgotten_in_a_crash(monkeypatch):
    dump = Partition.dump

    def mutant(self):
        return [{}, *dump(self)[1:]]

    monkeypatch.setattr(Partition, "dump", mutant)


def commits_after_a_failure(monkeypatch):
    """The last commit of a graceful stop has not what was taken for the one that failed."""
    monkeypatch.setattr(JoinTask, "give_up", lambda self: None)


ADVANCE, HOLD = Options(), Options(idle="hold")
DOUBLES = Options(idle="hold", doubles=True)

MUTATIONS = {
    after_is_the_previous_upto: ADVANCE,
    gaps_are_not_refused: HOLD,
    straddling_cells_are_merged: HOLD,
    straddling_cells_are_dropped: HOLD,
    covered_ticks_are_not_believed: ADVANCE,
    a_source_at_its_end_is_nobodys_concern: ADVANCE,
    at_end_needs_no_fetch_after_the_acknowledgement: DOUBLES,
    ticks_speak_of_what_is_read: HOLD,
    owners_combine_from_the_start: HOLD,
    owners_run_ahead_of_their_commits: HOLD,
    ends_need_no_proof: ADVANCE,
    rows_do_not_end_a_silence: ADVANCE,
    unknown_sources_do_not_hold: HOLD,
    covering_is_forgotten_in_a_crash: HOLD,
    commits_after_a_failure: FAILING,
}


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_relaxed_rule_turns_the_model_red(mutate, monkeypatch):
    mutate(monkeypatch)
    assert first_failure(BOUND, MUTATIONS[mutate]) is not None


@pytest.mark.rule(7)
def test_a_lost_commit_needs_the_logs_end():
    """Why owners are told the log's end at every assignment: else a rewound one may combine what was sent before."""
    assert first_failure(BOUND, Options(lost_commits=True, always_log_end=False)) is not None
