"""The cleaner: whatever a record is, it lands where the rules say, counted, and the next one goes on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from samplejoin.cleaning.cleaned import Cleaned
from samplejoin.cleaning.cleaner import LOG_APPEND_TIME, Cleaner, Watch
from samplejoin.cleaning.time_hints import too_far
from samplejoin.core.keys import partition_of
from samplejoin.job.compile import compile_job
from samplejoin.job.event_times import MAX_MS
from samplejoin.job.load import model_of
from tests.job.helpers import job_data

NOW = 1_735_689_600_000
SKEW = 60_000

FUNCTIONS = """
import asyncio
import sys

watch = None

def clean(record):
    return eval(record.get("do", "record"), {**globals(), "record": record})

def decode(record):
    return eval(record.value)

def decode_or_none(record):
    import json
    data = json.loads(record.value)
    return None if data.get("most") is None else data

def throw(error):
    raise error

class Mute(Exception):
    def __str__(self): raise SystemExit(3)
    __repr__ = __str__

class Abort(BaseException):
    "As libraries have for timeouts, cancellation and panics."
    def __str__(self): raise Abort
    __notes__ = property(__str__)

class NoLength(list):
    def __len__(self): throw(Abort())

class NoItems(list):
    def __iter__(self): throw(RuntimeError("no items"))

class Rows(list):
    "One that works."

class NoClass:
    __class__ = property(lambda self: throw(RuntimeError("no class")))

class NoFields(dict):
    def get(self, *_): throw(RuntimeError("no fields"))
    __getitem__ = __iter__ = get

class Odd(float):
    "As the numbers of numpy are."

class Pairs:
    def zero(self): return []
    def add(self, partial, value): return [*partial, eval(value)]
    def merge(self, a, b): return a + b
    def result(self, partial): return len(partial)
"""


@dataclass
class Record:
    value: bytes | None
    offset: int = 0
    timestamp: int = NOW
    timestamp_type: int = 0
    key: bytes | None = None
    headers: Any = ()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def cleaner(folder: Path, start_ms: int | None = None, **changes: Any) -> Cleaner:
    changes = {"streams__click__clean": "functions:clean", **changes}
    return Cleaner(compile_job(model_of(job_data(**changes), environ={}), folder), start_ms=start_ms)


def click(**values: Any) -> bytes:
    return orjson.dumps({"uid": "u", "mid": 1, "ts": NOW, **values})


def cleaned(cleaner: Cleaner, *values: Any, topic: str = "clk", now_ms: int = NOW, **kwargs: Any) -> Cleaned:
    records = [v if isinstance(v, Record) else Record(v) for v in values]
    for offset, record in enumerate(records):
        record.offset = offset
    return cleaner.clean(topic, 0, records, now_ms, **kwargs)


def cells_of(out: Cleaned) -> list[Any]:
    return list(itertools.chain(*out.cells.values()))


GOOD = click(uid="good")


def lands_as(out: Cleaned, outcome: str) -> Any:
    """The first record came to `outcome`; the second, a good one, became a row all the same."""
    assert out.counts == {("click", outcome): 1, ("click", "ok"): 1}
    assert [cell[0] for cell in cells_of(out)] == [b'["good",1]']
    return out.dead[0] if out.dead else None


# ---- records that cannot be read ------------------------------------------------------------------------------------


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


# ---- times ----------------------------------------------------------------------------------------------------------


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
        "the times of click lie 54 years before their records': 1970-01-21T02:08:09.600Z, record "
        "2025-01-01T00:00:00.000Z; is time_unit: s meant, not ms?"
    )


# ---- paths ----------------------------------------------------------------------------------------------------------

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


def test_rows_from_before_the_start_are_counted_and_dropped(folder):
    late = cleaner(folder, start_ms=NOW, before="1m", streams__impression__clean="functions:clean")
    assert cleaned(late, click(ts=NOW - 60_000), click(ts=NOW - 60_001)).counts == {
        ("click", "ok"): 1,
        ("click", "before_start"): 1,
    }
    assert cleaned(late, click(ts=NOW), click(ts=NOW - 1), topic="imp").counts == {
        ("impression", "ok"): 1,
        ("impression", "before_start"): 1,
    }


def bounds(folder: Path, start: int | None, until: int, **changes: Any) -> Cleaner:
    moment = datetime.fromtimestamp(until / 1000, UTC).isoformat(timespec="milliseconds")
    changes = {"streams__impression__clean": "functions:clean", "window": "1m", "until": moment, **changes}
    return cleaner(folder, start_ms=start, **changes)


def outcomes(each: Cleaner, stream: str, *times: int) -> list[str]:
    topic = {"click": "clk", "impression": "imp"}[stream]
    return [next(iter(cleaned(each, click(ts=ts), topic=topic).counts))[1] for ts in times]


@pytest.mark.rule(15)
def test_rows_after_the_end_are_counted_and_dropped(folder):
    """Anchors at `until` and later; labels that only those could hold."""
    each = bounds(folder, None, NOW)
    assert outcomes(each, "impression", 0, NOW - 1, NOW, NOW + 1) == ["ok", "ok", "after_until", "after_until"]
    window = NOW + 60_000
    assert outcomes(each, "click", 0, NOW, window - 1, window) == ["ok", "ok", "ok", "after_until"]


@pytest.mark.rule(15)
@pytest.mark.parametrize("off", [0, 1, 500, 999])
@pytest.mark.parametrize("before_ms", [0, 3000])
def test_two_generations_share_the_anchors_and_lack_no_label(folder, off, before_ms):
    """Every anchor is in exactly one; the labels that the fold gives it are in the same one, at every edge."""
    cut = NOW - 120_000 + off
    changes = {"before": f"{before_ms}ms"}
    old, new = bounds(folder, None, cut, **changes), bounds(folder, cut, MAX_MS, **changes)
    near = [cut + d for d in (-1001, -1000, -999, -501, -500, -1, 0, 1, 500, 999, 1000)]
    labels = sorted({anchor + d for anchor in near for d in (-before_ms - 999, -before_ms, 0, 59_000, 59_999, 60_000)})
    held = {stream: dict(zip(labels, outcomes(each, "click", *labels), strict=True))
            for stream, each in (("old", old), ("new", new))}  # fmt: skip
    for anchor in near:
        taken = [name for name, each in (("old", old), ("new", new)) if outcomes(each, "impression", anchor) == ["ok"]]
        assert taken == ["old" if anchor < cut else "new"]
        first = anchor // 1000 * 1000
        joins = [label for label in labels if first - before_ms <= label // 1000 * 1000 < first + 60_000]
        assert all(held[taken[0]][label] == "ok" for label in joins)


def test_the_end_costs_nothing_where_there_is_none(folder):
    assert cleaner(folder)._bounds == [None, None]


# ---- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule(10)
@pytest.mark.parametrize("values", [{"uid": None}, {"uid": ""}, {"uid": "0"}, {"mid": None}, {"do": "{'uid': 'u'}"}])
def test_missing_null_and_junk_keys_are_counted(folder, values):
    lands_as(cleaned(cleaner(folder), click(**values), GOOD), "junk_key")


@pytest.mark.rule(10)
def test_numbers_can_be_junk_too(folder):
    junk = cleaner(folder, junk_keys=[0, -1])
    out = cleaned(junk, *(click(uid=uid) for uid in (0, -1, "0", "", False, 1)))
    assert out.counts == {("click", "junk_key"): 2, ("click", "ok"): 4}


@pytest.mark.rule(10)
@pytest.mark.parametrize("uid", [1.5, [], {}])
def test_a_key_that_is_no_scalar_is_a_dead_letter(folder, uid):
    lands_as(cleaned(cleaner(folder), click(uid=uid), GOOD), "dead_row")


@pytest.mark.rule(10)
def test_rows_go_to_their_keys_partition(folder):
    out = cleaned(cleaner(folder, partitions=7), *(click(uid=f"u{i}") for i in range(50)))
    assert len(out.cells) == 7
    assert all(partition_of(cell[0], 7) == target for target, cells in out.cells.items() for cell in cells)


# ---- functions ------------------------------------------------------------------------------------------------------


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("do", "raises"),
    [("1/0", True), ("record['nope']", True), ("sys.exit(0)", True), ("(lambda f: f(f))(lambda f: f(f))", True),
     ("5", False), ("'x'", False), ("(record,)", False), ("{1, 2}", False)],
)  # fmt: skip
def test_a_function_that_raises_or_returns_nonsense(folder, do, raises):
    """The traceback shows the user's code, and none of this package's."""
    letter = lands_as(cleaned(cleaner(folder), click(do=do), GOOD), "dead_clean")
    assert (letter.function, letter.stream) == ("functions:clean", "click")
    assert letter.error
    assert bool(letter.traceback) == raises
    assert "/samplejoin/cleaning/" not in letter.traceback


@pytest.mark.rule(12)
@pytest.mark.parametrize("raised", ["Mute()", "GeneratorExit()", "asyncio.CancelledError()", "SystemExit()"])
def test_whatever_a_function_raises_costs_its_record_only(folder, raised):
    letter = lands_as(cleaned(cleaner(folder), click(do=f"throw({raised})"), GOOD), "dead_clean")
    assert letter.error == raised.removeprefix("asyncio.").removesuffix("()")


@pytest.mark.rule(12)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("do", [
    "throw(Abort())", "throw(BaseExceptionGroup('g', [Abort()]))", "NoLength([record])", "NoItems([record])",
    "NoClass()",
])  # fmt: skip
def test_whatever_a_function_raises_or_returns_costs_its_record_only(folder, fast, do):
    cleaner_ = cleaner(folder)
    if not fast:
        cleaner_.fast.clear()
    assert lands_as(cleaned(cleaner_, click(do=do), GOOD), "dead_clean").function == "functions:clean"


@pytest.mark.rule(12)
def test_a_list_of_the_users_own_type_is_a_list(folder):
    out = cleaned(cleaner(folder), click(do="Rows([record, record])"), click(do="Rows()"))
    assert out.counts == {("click", "ok"): 2, ("click", "filtered"): 1}


@pytest.mark.rule(12)
@pytest.mark.parametrize("value", [b"NoFields(ts=1)", b"throw(Abort())", b"NoClass()"])
def test_whatever_a_decoder_raises_or_returns_costs_its_record_only(folder, value):
    good = repr(orjson.loads(GOOD)).encode()
    out = cleaned(cleaner(folder, streams__click__decode="functions:decode"), value, good)
    lands_as(out, "dead_time" if b"Fields" in value else "dead_decode")


@pytest.mark.rule(12)
@pytest.mark.parametrize("fast", [True, False])
def test_ctrl_c_is_no_mistake_of_a_function(folder, fast):
    cleaner_ = cleaner(folder)
    if not fast:
        cleaner_.fast.clear()
    with pytest.raises(KeyboardInterrupt):
        cleaned(cleaner_, click(do="throw(KeyboardInterrupt())"))


@pytest.mark.rule(12)
@pytest.mark.parametrize("do", ["[5]", "[None]", "[{**record, 'ts': None}]", "[{**record, 'uid': 1.5}]"])
def test_a_row_that_is_none(folder, do):
    assert lands_as(cleaned(cleaner(folder), click(do=do), GOOD), "dead_row").function == "functions:clean"


@pytest.mark.rule(12)
def test_many_bad_rows_of_a_record_are_one_dead_letter(folder):
    out = cleaned(cleaner(folder), click(do="[5, record, 6, 7]"), click(do="[8, 9]"))
    assert out.counts == {("click", "dead_row"): 5, ("click", "ok"): 1}
    assert [letter.offset for letter in out.dead] == [0, 1]


@pytest.mark.rule(13)
def test_none_one_or_several_rows(folder):
    out = cleaned(
        cleaner(folder), click(do="None"), click(do="[]"), click(do="[{**record, 'mid': i} for i in range(3)]"), click()
    )
    assert out.counts == {("click", "filtered"): 2, ("click", "ok"): 4}
    keys = sorted((cell[0], cell[3]) for cell in cells_of(out))
    assert keys == [(b'["u",0]', 2), (b'["u",1]', 2), (b'["u",1]', 3), (b'["u",2]', 2)]


def test_a_dict_of_another_class_is_a_dict(folder):
    out = cleaned(cleaner(folder), click(do="__import__('collections').OrderedDict(record)"))
    assert out.counts == {("click", "ok"): 1}


@pytest.mark.rule(12)
def test_the_watch_knows_which_function_runs(folder):
    each = cleaner(folder)
    assert isinstance(each.watch, Watch)
    each.job.inputs[1].clean.__globals__["watch"] = each.watch
    out = cleaned(each, click(do="{**record, 'uid': watch.function}"), click(do="1/0"))
    assert cells_of(out)[0][0] == b'["functions:clean",1]'
    assert (each.watch.function, each.watch.calls) == ("", 2)


def test_several_streams_on_one_topic(folder):
    both = cleaner(folder, streams__impression__topic="clk", streams__impression__clean="functions:clean")
    out = cleaned(both, click(do="None"), click(), b"")
    assert out.counts == {
        (stream, outcome): 1 for stream in ("impression", "click") for outcome in ("filtered", "ok", "dead_decode")
    }
    assert sorted(cell[1] for cell in cells_of(out)) == [0, 1]
    assert {letter.stream for letter in out.dead} == {"impression", "click"}


# ---- sizes, and data that our own topics cannot carry ---------------------------------------------------------------


@pytest.mark.rule(12)
@pytest.mark.parametrize("agg", ["first", "last", "min", "max", "list(3)", "top(3)"])
def test_a_huge_row_is_a_dead_letter(folder, agg):
    huge = cleaner(folder, sample__x={"from": "click.x", "agg": agg})
    letter = lands_as(cleaned(huge, click(x="x" * 10_000_000), GOOD), "dead_row")
    assert "over limits.row (524288 bytes)" in letter.error


@pytest.mark.rule(12)
@pytest.mark.parametrize("agg", ["first", "last", "list(100)", "functions:Pairs"])
@pytest.mark.parametrize("value", ["[[]] * 100_000", "[{}] * 100_000", "{str(n): 1 for n in range(9000)}"])
def test_many_small_elements_are_a_large_row(folder, agg, value):
    """Of a few bytes each, they would take a hundred times as much where they are opened."""
    dense = cleaner(folder, sample__x={"from": "click.x", "agg": agg})
    do = f"{{**record, 'x': {value!r} if {agg == 'functions:Pairs'} else {value}}}"
    letter = lands_as(cleaned(dense, click(do=do), GOOD), "dead_row")
    assert "over limits.row (524288 bytes); an element of a list or object counts 64 bytes" in letter.error


@pytest.mark.rule(12)
@pytest.mark.parametrize("value", ["[[]] * 4000", "['x' * 1000] * 500", "'x' * 500_000"])
def test_a_row_with_few_elements_counts_by_its_bytes(folder, value):
    roomy = cleaner(folder, sample__x={"from": "click.x", "agg": "list(3)"})
    (cell,) = cells_of(cleaned(roomy, click(do=f"{{**record, 'x': {value}}}")))
    ((_, kept),) = cell[6][-1]
    assert type(kept) is (str if value == "'x' * 500_000" else bytes)


@pytest.mark.rule(10)
@pytest.mark.parametrize(
    ("most", "more"),
    [("'x' * 1018", "'x' * 1019"), ("'ü' * 509", "'ü' * 509 + 'x'"), ("10**1019", "10**1020")],
    ids=["text", "umlauts", "number"],
)
@pytest.mark.parametrize("changes", [{}, {"streams__click__time": "@timestamp"}], ids=["fast", "plain"])
def test_a_long_key_is_a_dead_letter(folder, most, more, changes):
    """1 KiB as a JSON array is the most, whichever way a row is cleaned; the letter names the longest field."""
    long = cleaner(folder, **changes)
    assert ("clk" in long.fast) == (not changes)
    assert cells_of(cleaned(long, click(do=f"{{**record, 'uid': {most}}}")))
    letter = lands_as(cleaned(long, click(do=f"{{**record, 'uid': {more}}}"), GOOD), "dead_row")
    assert "a key of 1025 bytes is over 1024; its longest field is uid" in letter.error


@pytest.mark.rule(12)
@pytest.mark.parametrize("do", ["[{**record, 'x': 'x' * 9000}] * 50", "[record] * 1_000_000"])
def test_a_record_whose_rows_are_too_large_together_gives_none_of_them(folder, do):
    small = cleaner(folder, limits__row="10KiB", sample__x={"from": "click.x", "agg": "last"})
    letter = lands_as(cleaned(small, click(do=do), GOOD), "dead_row")
    assert "rows are over 4 times limits.row (40960 bytes)" in letter.error


def test_the_largest_row_is_limited(folder):
    with pytest.raises(Exception, match="2MiB is over 1MiB"):
        cleaner(folder, limits__row="2MiB")


def test_a_run_ends_when_its_cells_are_many_bytes(folder):
    each = cleaner(folder, sample__x={"from": "click.x", "agg": "last"})
    records = [click(x="x" * 10_000) for _ in range(50)]
    out = cleaned(each, *records, max_bytes=100_000)
    assert (out.records, out.counts) == (10, {("click", "ok"): 10})
    assert cleaned(each, *records).records == 50


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("agg", "value"),
    [
        ("list(3)", "object()"),
        ("list(3)", "{1}"),
        ("list(3)", "2**64"),
        ("list(3)", "chr(0xd800)"),
        ("min", "2**64"),
        ("max", "chr(0xd800)"),
        ("top(2)", "-2**70"),
        ("first", "object()"),
        ("last", "b'x'"),
        ("functions:Pairs", "'object()'"),
        ("functions:Pairs", "'sys'"),
    ],
)
def test_values_that_cannot_travel_are_dead_letters(folder, agg, value):
    each = cleaner(folder, sample__x={"from": "click.x", "agg": agg})
    lands_as(cleaned(each, click(do=f"{{**record, 'x': {value}}}"), GOOD), "dead_row")


@pytest.mark.rule(7, 12)
def test_an_id_that_cannot_travel_is_a_dead_letter(folder):
    each = cleaner(folder, streams__click__id="id")
    lands_as(cleaned(each, click(do="{**record, 'id': 2**64}"), GOOD), "dead_row")


@pytest.mark.parametrize("agg", ["sum", "mean", "min", "max", "list(3)", "top(3)", "distinct", "functions:Pairs"])
@pytest.mark.parametrize("value", ["1", "2**63-1", "0.5", "float('nan')", "float('inf')", "None"])
def test_all_other_values_can_travel(folder, agg, value):
    each = cleaner(folder, sample__x={"from": "click.x", "agg": agg})
    text = repr(value) if ":" in agg and value != "None" else value
    text = text.replace("float(", "__import__('builtins').float(")
    out = cleaned(each, click(do=f"{{**record, 'x': {text}}}"))
    assert out.counts == {("click", "ok"): 1}, out.dead
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(cells_of(out)))
