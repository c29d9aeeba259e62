"""Late rows and corrections (rule 5)."""

from __future__ import annotations

import json

import pytest

from samplejoin.core import keys
from samplejoin.core.messages import Tick
from tests.core.harness import restarted
from tests.core.play import CORRECT, SHOWS, Play, spec_of


@pytest.mark.rule(5)
def test_a_late_label_joins_while_its_window_is_open():
    play = Play(spec_of()).show(5).clock(14).click(6).clock(15)
    assert (play.labels, play.out.counts["late_rows", "click"]) == ([1], 1)


@pytest.mark.rule(5)
def test_a_late_anchor_is_folded_into_an_open_window():
    play = Play(spec_of()).show(5, pos=1).clock(14).show(6, pos=2).clock(15)
    assert [(s["pos"], s["last_pos"]) for s in play.samples] == [(1, 2)]


@pytest.mark.rule(5)
@pytest.mark.parametrize(("repeat", "second"), [("merge", 4), ("merge", 3), ("each", 6)])
def test_a_late_anchor_never_opens_a_window(repeat, second):
    play = Play(spec_of(repeat=repeat)).show(5, pos=1).clock(14).show(second, pos=2).clock(40)
    assert [s["pos"] for s in play.samples] == [1]
    assert play.sides("late") == [("show", second)]
    assert play.out.side_rows[0].fields["pos"] == 2
    assert play.out.side_rows[0].source == [SHOWS, 1]


@pytest.mark.rule(5)
def test_a_label_after_its_sample_is_late():
    play = Play(spec_of(late="topic")).show(5).clock(15).click(6, where="top")
    assert play.sides("late") == [("click", 6)]
    assert play.out.side_rows[0].fields == {"clicks": 1, "where": ["top"]}


@pytest.mark.rule(5)
def test_a_correction_is_a_full_sample_with_the_same_id():
    play = Play(spec_of(**CORRECT)).show(5, pos=1).click(6).clock(15).click(7)
    assert len(play.samples) == 1
    play.clock(16).clock(17)
    first, second = play.out.samples
    assert (second.sample_id, second.revision, second.previous_weight) == (first.sample_id, 1, 1.0)
    assert [s["clicks"] for s in play.samples] == [1, 2]


@pytest.mark.rule(5)
def test_two_late_labels_between_two_ticks_are_one_revision():
    play = Play(spec_of(**CORRECT)).show(5).clock(15).click(6).click(7).clock(16).click(8).clock(17)
    assert [(s.revision, json.loads(s.payload)["clicks"]) for s in play.out.samples] == [(0, 0), (1, 2), (2, 3)]


@pytest.mark.rule(5, 16)
def test_a_restart_does_not_hurry_a_revision():
    play = Play(spec_of(**CORRECT)).show(5).clock(15).click(6)
    play.partition = restarted(play.partition)
    play.partition.sweep(play.out)
    assert len(play.samples) == 1
    assert [s["clicks"] for s in play.click(7).clock(16).samples] == [0, 2]


@pytest.mark.rule(5, 16)
def test_a_crash_between_two_revisions_loses_none():
    spec, other = spec_of(**CORRECT), keys.encode_key(["v"])
    play = Play(spec).show(5).row("show", 5, key=other).clock(15).click(6).row("click", 6, key=other)
    play.partition.apply(Tick([play.entry(SHOWS, row_time=16_000)], play.counts), 99, 99_000, play.out)
    assert play.partition.sweep(play.out, limit=1)
    play.partition = restarted(play.partition)
    assert play.partition.due()
    play.partition.sweep(play.out)
    assert sorted(s.revision for s in play.out.samples) == [0, 0, 1, 1]


@pytest.mark.rule(5, 14)
def test_what_is_first_sent_for_an_id_may_be_a_revision():
    play = Play(spec_of(keep_negatives=1e-12, **CORRECT)).show(5).clock(15)
    assert play.samples == []
    (sample,) = play.click(6).clock(16).out.samples
    assert (sample.revision, sample.previous_weight, sample.weight) == (1, 0.0, 1.0)


@pytest.mark.rule(5, 13)
def test_the_previous_weight_is_that_of_the_sample_last_sent():
    """A revision in between was filtered: the trainer still has the one before it."""
    only_odd = lambda v: None if v["clicks"] == 2 else json.dumps(v).encode()  # noqa: E731
    play = Play(spec_of(format=only_odd, **CORRECT)).show(5).click(6).clock(15)
    play.click(7).clock(16).click(8).clock(17)
    assert [(s.revision, s.previous_weight) for s in play.out.samples] == [(0, 0.0), (2, 1.0)]


@pytest.mark.rule(5)
def test_corrections_end_and_their_state_goes():
    play = Play(spec_of(**CORRECT)).show(5).clock(34)
    assert play.partition.keys
    play.clock(35).click(6)
    assert not play.partition.keys
    assert play.sides("late") == [("click", 6)]
