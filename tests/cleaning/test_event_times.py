"""Records that cannot be read, and event times: unreadable, in the future, nested, of a row (rule 9)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from samplejoin.cleaning.cleaner import LOG_APPEND_TIME
from samplejoin.cleaning.time_hints import too_far
from tests.cleaning.cleaners import GOOD, NOW, Record, cells_of, cleaned, cleaner, click, lands_as

SKEW = 60_000


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[1]", b"5", b"null", b"\xff\xfe", b'{"ts": NaN}', b'{"uid":"\\ud800"}', b"[" * 100_000],
    ids=lambda v: repr(v)[:20],
)
def test_what_is_no_json_object_is_a_dead_letter(folder, value):
    letter = lands_as(cleaned(cleaner(folder), value, GOOD), "dead_decode")
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == ("decode", "clk", 0, 0)
    assert letter.record.value == value


@pytest.mark.rule(12)
@pytest.mark.parametrize("value", [b"1/0", b"[1]", b"__import__('sys').exit(1)"])
def test_a_decoder_that_fails(folder, value):
    good = repr(orjson.loads(GOOD)).encode()
    lands_as(cleaned(cleaner(folder, streams__click__decode="functions:decode"), value, good), "dead_decode")


@pytest.mark.rule(9)
@pytest.mark.parametrize("ts", [None, "soon", True, -1, 10**18, [], {}, "", "nan", "1e400"])
def test_an_unreadable_time_is_a_dead_letter(folder, ts):
    letter = lands_as(cleaned(cleaner(folder), click(ts=ts), GOOD), "dead_time")
    assert letter.function == "ts"


@pytest.mark.rule(9)
def test_no_time_at_all(folder):
    lands_as(cleaned(cleaner(folder), b'{"uid":"u","mid":1}', GOOD), "dead_time")
    without = cleaner(folder, streams__click__time="@timestamp")
    lands_as(cleaned(without, Record(click(), timestamp=-1), GOOD), "dead_time")


@pytest.mark.rule(8, 9)
def test_1970_is_a_time(folder):
    out = cleaned(cleaner(folder), click(ts=0))
    assert (out.row_time, cells_of(out)[0][2]) == (0, 0)


@pytest.mark.rule(9)
@pytest.mark.parametrize(
    ("ts", "timestamp", "type_", "future"),
    [
        (NOW + SKEW, NOW, 0, False),
        (NOW + SKEW + 1, NOW, 0, True),
        (4_070_908_800_000, NOW, 0, True),  # 2099
        (NOW + SKEW + 1, NOW + 10 * SKEW, 0, True),  # a producer's clock that is ahead proves nothing
        (NOW - SKEW, NOW - 3 * SKEW, 0, True),  # nor is one that is behind believed: the smaller of both
        (NOW + 2 * SKEW, NOW + SKEW, LOG_APPEND_TIME, False),  # the broker's clock is the reference
        (NOW - SKEW, NOW - 3 * SKEW, LOG_APPEND_TIME, True),
    ],
)
def test_the_future(folder, ts, timestamp, type_, future):
    record = Record(click(ts=ts), timestamp=timestamp, timestamp_type=type_)
    out = cleaned(cleaner(folder), record, GOOD)
    if future:
        assert lands_as(out, "dead_future").reason == "future"
        assert out.row_time == NOW
    else:
        assert out.counts == {("click", "ok"): 2}
        assert out.row_time == max(ts, NOW)


@pytest.mark.rule(9)
def test_a_row_must_not_be_sent_into_the_future_by_its_function(folder):
    lands_as(cleaned(cleaner(folder), click(do="{**record, 'ts': 4_070_908_800_000}"), GOOD), "dead_future")


@pytest.mark.rule(8, 13)
def test_filtered_and_failed_records_move_the_time_all_the_same(folder):
    out = cleaned(cleaner(folder), click(ts=NOW + 1, do="None"), click(ts=NOW + 2, do="1/0"), click(ts=NOW + 3, uid=""))
    assert out.row_time == NOW + 3
    assert out.counts == {("click", "filtered"): 1, ("click", "dead_clean"): 1, ("click", "junk_key"): 1}
    assert not out.cells


@pytest.mark.rule(8)
def test_nothing_that_can_be_read_gives_no_time(folder):
    assert cleaned(cleaner(folder), b"", click(ts="x")).row_time is None


@pytest.mark.rule(9)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("ts", "now_ms", "future"), [(NOW, NOW, False), (NOW, NOW - SKEW - 1, True), (1, NOW, False)])
def test_a_record_without_a_timestamp_is_held_against_the_readers_clock(folder, fast, ts, now_ms, future):
    each = cleaner(folder)
    if not fast:
        each.fast.clear()
    row = f"{{**record, 'ts': {ts + 1}}}"  # a row's own time is held against the same clock
    out = cleaned(each, Record(click(ts=ts), timestamp=-1), Record(click(ts=ts, do=row), timestamp=-1), now_ms=now_ms)
    assert out.counts == {("click", "dead_future" if future else "ok"): 2}


@pytest.mark.rule(9)
@pytest.mark.parametrize(
    ("changes", "ts", "timestamp", "says"),
    [
        ({}, NOW, 0, "ahead of the record's timestamp 1970-01-01T00:00:00.000Z: Kafka's timestamps are ms since 1970"),
        ({}, NOW, NOW // 1000, "the record's timestamp 1970-01-21T02:08:09.600Z: Kafka's timestamps are ms"),
        (
            {},
            NOW + 8 * 3_600_000,
            NOW,
            "event time 2025-01-01T08:00:00.000Z is more than max_skew ahead of the record's",
        ),
        ({}, NOW + 8 * 3_600_000 - 5000, NOW, "8 hours are the offset of a time zone: a local time without its offset"),
        ({}, NOW + 8 * 3_600_000, NOW + 10**9, "ahead of the reader's clock 2025-01-01T00:00:00.000Z: 8 hours are"),
        ({}, NOW + 10**11, NOW, "is time_unit right?"),
    ],
)
def test_a_time_in_the_future_is_shown_with_its_reference_and_cause(folder, changes, ts, timestamp, says):
    (letter,) = cleaned(cleaner(folder, **changes), Record(click(ts=ts), timestamp=timestamp)).dead
    assert letter.reason == "future"
    assert says in letter.error


@pytest.mark.rule(9)
@pytest.mark.parametrize("value", [click(ts=NOW // 1000), click(do="{**record, 'ts': record['ts'] // 1000}")])
def test_times_decades_from_their_records_are_told(folder, value):
    each = cleaner(folder)
    plain = cleaner(folder)
    plain.fast.clear()
    for one in (each, plain):
        out = cleaned(one, value)
        assert out.counts == {("click", "ok"): 1}
        assert out.far == {"click": (NOW // 1000, NOW)}
        assert cleaned(one, click(ts=NOW - 10**11)).far == {}
    assert too_far("click", NOW // 1000, NOW, "ms") == (
        "event times of click are 54 years before their records: 1970-01-21T02:08:09.600Z, record "
        "2025-01-01T00:00:00.000Z; did you mean time_unit: s, not ms?"
    )


NESTED: dict[str, Any] = {
    "key": ["who.uid", r"item\.id"], "streams__click__id": "meta.id", "streams__click__time": "meta.ts",
    "streams__impression__clean": "functions:clean", "sample__x": {"from": "click.ctx.x", "agg": "sum"},
    "sample__n": {"from": "click.ctx.x", "agg": "count"}, "sample__most": {"from": r"click.ctx.a\.b", "agg": "max"},
}  # fmt: skip


def nested(**changes: Any) -> bytes:
    meta = {"ts": NOW, "id": "e1"}
    row = {"who": {"uid": "u"}, "item.id": 1, "meta": meta, "ctx": {"x": 2, "a.b": 3}, "ts": NOW}
    return orjson.dumps({**row, **changes})


@pytest.mark.rule(7, 10)
@pytest.mark.parametrize("fast", [True, False])
def test_dotted_names_are_paths_everywhere(folder, fast):
    each = cleaner(folder, **NESTED)
    if not fast:
        each.fast.clear()
    out = cleaned(
        each, nested(), nested(ctx=None), nested(ctx={"x": None}), nested(who="u"), nested(**{"who.uid": "v"})
    )
    cells = cells_of(out)
    assert out.counts == {("click", "ok"): 4, ("click", "junk_key"): 1}
    assert {cell[0] for cell in cells} == {b'["u",1]'}
    assert [cell[6][0][2] for cell in cells] == ["e1"] * 4
    assert [cell[6][2:] for cell in cells] == [[1, 2, 1, 3], [1, 0, 0, None], [1, 0, 0, None], [1, 2, 1, 3]]


@pytest.mark.rule(9)
@pytest.mark.parametrize("fast", [True, False])
def test_a_rows_own_time_is_at_the_same_path(folder, fast):
    each = cleaner(folder, streams__click__time="meta.ts")
    if not fast:
        each.fast.clear()
    later = click(meta={"ts": NOW}, do="{**record, 'meta': {'ts': record['meta']['ts'] - 5000}}")
    out = cleaned(each, later, click(meta={"ts": NOW}, do="{**record, 'meta': 5}"), click(meta=5))
    assert [cell[2] for cell in cells_of(out)] == [NOW // 1000 - 5, NOW // 1000]
    assert [letter.error for letter in out.dead] == [
        "ValueError: the record has no field meta.ts; it has uid, mid, ts, meta"
    ]


@pytest.mark.rule(8)
def test_the_records_own_time_and_a_field_of_that_name(folder):
    stamped = click(**{"@timestamp": "2024-12-31T23:59:50.000Z"})
    own = cleaned(cleaner(folder, streams__click__time="@timestamp"), stamped)
    assert (own.row_time, own.counts) == (NOW, {("click", "ok"): 1})
    changes: dict[str, Any] = {"streams__click__time": r"\@timestamp", "streams__click__time_unit": "iso"}
    field = cleaned(cleaner(folder, **changes), stamped)
    assert (field.row_time, field.counts) == (NOW - 10_000, {("click", "ok"): 1})


@pytest.mark.rule(8, 13)
@pytest.mark.parametrize("fast", [True, False])
def test_a_decoder_filters_before_the_time_is_read(folder, fast):
    """Tombstones, deletes, other kinds of events: counted, no dead letter, and they do not move the clock."""
    each = cleaner(folder, streams__click__decode="functions:decode")
    if not fast:
        each.fast.clear()
    good = repr(orjson.loads(click())).encode()
    out = cleaned(each, b"None", good, b"None")
    assert (out.counts, out.dead) == ({("click", "filtered"): 2, ("click", "ok"): 1}, [])
    assert cleaned(each, b"None").row_time is None
    tombstone = cleaned(cleaner(folder), None)
    assert (tombstone.counts, tombstone.row_time) == ({("click", "filtered"): 1}, None)
