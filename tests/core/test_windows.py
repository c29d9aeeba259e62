"""Which labels a window holds, repeated impressions, orphans (rules 1 to 4)."""

from __future__ import annotations

import pytest

from tests.core.play import Play, spec_of


@pytest.mark.rule(1, 15)
def test_a_sample_goes_out_when_the_clock_passes_its_windows_end():
    play = Play(spec_of()).show(5, pos=1).clock(14.999)
    assert play.samples == []
    assert play.clock(15).labels == [0]
    assert play.clock(99).labels == [0]
    assert not play.partition.keys


@pytest.mark.rule(15)
@pytest.mark.parametrize(("second", "label"), [(14.999, 1), (15, 0), (5, 1), (4.999, 0)])
def test_a_window_holds_its_start_but_not_its_end(second, label):
    assert Play(spec_of()).show(5).click(second).clock(30).labels == [label]


@pytest.mark.rule(3, 15)
@pytest.mark.parametrize(("second", "label"), [(2, 1), (1.999, 0)])
def test_before_reaches_back_inclusively(second, label):
    assert Play(spec_of(before_ms=3000)).show(5).click(second).clock(30).labels == [label]


@pytest.mark.rule(1, 2)
def test_a_label_read_before_its_impression_joins():
    play = Play(spec_of()).click(7, where="top").clock(5, "clicks").show(5, pos=3).clock(15)
    assert play.samples == [
        {"user": "u", "pos": 3, "last_pos": 3, "shows": 1, "clicks": 1, "where": ["top"], "label": 1}
    ]


@pytest.mark.rule(2, 15)
def test_time_is_compared_by_slices():
    """The click is 0.4 s before the impression, but in its slice."""
    assert Play(spec_of()).show(5.5).click(5.1).clock(30).labels == [1]
    assert Play(spec_of(resolution_ms=100)).show(5.5).click(5.1).clock(30).labels == [0]


@pytest.mark.rule(3)
def test_repeated_anchors_are_one_sample_with_merge():
    play = Play(spec_of()).show(9, pos=2).show(5, pos=1).click(14).show(15, pos=3).clock(40)
    assert [(s["pos"], s["last_pos"], s["shows"], s["label"]) for s in play.samples] == [(1, 2, 2, 1), (3, 3, 1, 0)]


@pytest.mark.rule(3)
@pytest.mark.parametrize(
    ("attribution", "second", "labels"),
    [("last", 9, [0, 1]), ("first", 9, [1, 0]), ("last", 7, [1, 0]), ("first", 16, [0, 1]), ("last", 4, [1, 0])],
)
def test_each_anchor_is_a_sample_and_a_label_belongs_to_one(attribution, second, labels):
    spec = spec_of(repeat="each", attribution=attribution, before_ms=5000)
    play = Play(spec).show(5, pos=1).show(8, pos=2).click(second).clock(40)
    assert [s["label"] for s in sorted(play.samples, key=lambda s: s["pos"])] == labels


@pytest.mark.rule(3)
@pytest.mark.parametrize(
    ("attribution", "second", "winner"), [("last", 6, 2), ("first", 6, 1), ("last", 4, 2), ("first", 4, 1)]
)
def test_ties_within_a_slice_go_by_event_time_and_source(attribution, second, winner):
    spec = spec_of(repeat="each", attribution=attribution, before_ms=5000)
    for times in ((5.1, 5.2), (5.0, 5.0)):
        play = Play(spec).show(times[0], pos=1).show(times[1], pos=2).click(second).clock(40)
        assert [s["pos"] for s in play.samples if s["label"]] == [winner]


@pytest.mark.rule(3)
def test_a_label_between_two_merge_windows_prefers_the_one_behind_it():
    spec = spec_of(before_ms=5000)
    play = Play(spec).show(0, pos=1).show(12, pos=2).click(9).click(10).clock(40)
    assert [(s["pos"], s["clicks"]) for s in play.samples] == [(1, 1), (2, 1)]


@pytest.mark.rule(4)
@pytest.mark.parametrize("before", [0, 3])
def test_a_label_is_an_orphan_once_no_anchor_can_come(before):
    play = Play(spec_of(before_ms=before * 1000)).click(5).clock(5 + before)
    assert play.sides("orphan") == []
    assert play.clock(6 + before).sides("orphan") == [("click", 5)]
    assert play.samples == []
    assert not play.partition.keys


@pytest.mark.rule(4)
def test_a_label_after_its_window_is_an_orphan_though_its_key_lives():
    play = Play(spec_of()).show(5).click(15).show(17).clock(16)
    assert (play.labels, play.sides("orphan")) == ([0], [("click", 15)])
    assert play.clock(27).labels == [0, 0]
