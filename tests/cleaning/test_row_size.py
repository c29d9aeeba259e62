"""Bounds of rows and runs, and values that the job's topics cannot carry (rules 11 and 12)."""

from __future__ import annotations

import msgspec
import pytest

from tests.cleaning.cleaners import GOOD, cells_of, cleaned, cleaner, click, lands_as


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
    assert "over limits.row (524288 bytes); each element of a list or object counts at least 64 bytes" in letter.error


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
