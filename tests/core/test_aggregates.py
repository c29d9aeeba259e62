"""The laws of the aggregates: partials meet in any order, however they were cut, and survive any codec (rule 2)."""

from __future__ import annotations

import json
import math
from enum import IntEnum
from fractions import Fraction
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core import exact_sum
from samplejoin.core.aggregates import LIMITED, PLAIN, Aggregate, Custom
from samplejoin.core.cells import merge_partials, partials_of
from samplejoin.core.keys import encode_key
from samplejoin.core.spec import JSON, Field, Spec, Stream
from samplejoin.core.value_order import canonical
from tests.core import oracle
from tests.core.harness import packed
from tests.core.strategies import numbers


class Keywords:
    """A user's aggregate, written carelessly: it changes what it is given."""

    def zero(self):
        return []

    def add(self, partial, value):
        partial.append(value)
        return partial

    def merge(self, a, b):
        a.extend(b)
        a.sort(key=repr)
        return a

    def result(self, partial):
        partial.sort(key=repr)
        return partial


def nested(levels: int):
    """A list in a list in a list."""
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


ALL = [maker() for maker in PLAIN.values()] + [maker(n) for maker in LIMITED.values() for n in (1, 3)]
ALL.append(Custom("keywords", Keywords()))
NAMES = [f"{a.name}{getattr(a, 'limit', '')}" for a in ALL]
each = pytest.mark.parametrize("aggregate", ALL, ids=NAMES)
value_lists = st.lists(numbers, max_size=12)


def partial_of(aggregate: Aggregate, value, i: int):
    return aggregate.add(aggregate.zero(), value, (i // 2, "t 000000", i, 0))


def partials(aggregate: Aggregate, values):
    return [partial_of(aggregate, value, i) for i, value in enumerate(values)]


def same(aggregate: Aggregate, a, b) -> bool:
    """Byte for byte: 1 is not 1.0, 0.0 is not -0.0."""
    return repr(aggregate.result(a)) == repr(aggregate.result(b))


def total(aggregate: Aggregate, parts):
    return reduce(aggregate.merge, parts, aggregate.zero())


@each
@pytest.mark.rule(2)
@given(values=value_lists, random=st.randoms(use_true_random=False))
def test_any_order_and_any_grouping_give_the_same(aggregate, values, random):
    parts = partials(aggregate, values)
    expected = total(aggregate, parts)
    random.shuffle(parts)
    while len(parts) > 1:
        i = random.randrange(len(parts) - 1)
        parts[i : i + 2] = [aggregate.merge(parts[i], parts[i + 1])]
    assert same(aggregate, total(aggregate, parts), expected)


@each
@pytest.mark.rule(2)
@given(values=value_lists)
def test_zero_is_the_identity(aggregate, values):
    whole = total(aggregate, partials(aggregate, values))
    assert same(aggregate, aggregate.merge(aggregate.zero(), whole), whole)
    assert same(aggregate, aggregate.merge(whole, aggregate.zero()), whole)


@each
@pytest.mark.rule(2)
@given(values=value_lists)
def test_adding_equals_merging(aggregate, values):
    added = aggregate.zero()
    for i, value in enumerate(values):
        added = aggregate.add(added, value, (i // 2, "t 000000", i, 0))
    assert same(aggregate, added, total(aggregate, partials(aggregate, values)))


@each
@pytest.mark.rule(2, 16)
@given(values=value_lists, at=st.integers(0, 12))
def test_partials_survive_the_changelog(aggregate, values, at):
    """They come back as lists, and go on as if they had never left."""
    parts = partials(aggregate, values)
    there_and_back = aggregate.merge(
        packed(total(aggregate, parts[:at])), packed([packed(total(aggregate, parts[at:]))])[0]
    )
    assert same(aggregate, there_and_back, total(aggregate, parts))
    if not isinstance(aggregate, Custom):  # a user's partials are JSON data: never tuples
        assert same(aggregate, as_tuples(total(aggregate, parts)), total(aggregate, parts))


def as_tuples(partial):
    return tuple(map(as_tuples, partial)) if isinstance(partial, list) and partial else partial


@each
@pytest.mark.rule(2)
@given(values=value_lists)
def test_merging_leaves_its_arguments_alone(aggregate, values):
    parts = partials(aggregate, values)
    before = msgspec.msgpack.encode(parts)
    aggregate.result(total(aggregate, parts))
    for part in parts:
        aggregate.result(part)
    assert msgspec.msgpack.encode(parts) == before


@pytest.mark.parametrize("aggregate", ALL[:-1], ids=NAMES[:-1])
@pytest.mark.rule(2)
@given(values=value_lists)
def test_results_are_what_their_names_say(aggregate, values):
    rows = [oracle.Row("s", b"", 0, ("t", 0, i, 0), {"x": v}) for i, v in enumerate(values)]
    if not values and aggregate.name in ("first", "last"):
        rows = []
    expected = oracle.aggregate(Field("f", "s", "x", aggregate), rows)
    parts = [aggregate.add(aggregate.zero(), v, (0, "t 000000", i, 0)) for i, v in enumerate(values)]
    actual = aggregate.result(total(aggregate, parts))
    if aggregate.name == "sum" and expected == 0:
        assert actual == 0
        assert type(actual) is type(expected)
    else:
        assert repr(actual) == repr(expected)


@pytest.mark.rule(2)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([1, 2], 3),
        ([1, 2.0], 3.0),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], math.inf),
        ([-1e308, -1e308], -math.inf),
        ([0.1] * 10, 1.0),
        ([1e16, 1.0, -1e16], 1.0),
        ([5e-324, 5e-324, -5e-324], 5e-324),
        ([math.inf, 1.0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, 1], math.nan),
        ([2**62, 2**62, -(2**62)], 2**62),
        ([2**70], 2**70),
        ([2**70, -(2**70), 1], 1),
        ([10**400, 1.5], math.inf),
        ([-0.0, -0.0], 0.0),
        ([3, -3, -0.0], 0.0),
    ],
)
def test_sums_are_exact(values, expected):
    for aggregate in (PLAIN["sum"](), PLAIN["mean"]()):
        parts = packed(partials(aggregate, values))
        for order in (parts, parts[::-1]):
            actual = aggregate.result(total(aggregate, order))
            if aggregate.name == "sum":
                assert repr(actual) == repr(expected)
            elif values and math.isfinite(expected) and expected:
                assert actual == float(Fraction(sum(map(Fraction, values))) / len(values))


@pytest.mark.rule(2)
def test_integers_stay_integers_at_any_size():
    assert exact_sum.result(exact_sum.add(exact_sum.of(2**63), exact_sum.of(2**63))) == 2**64
    assert exact_sum.result(exact_sum.add(exact_sum.of(2**64), exact_sum.of(-(2**64)))) == 0
    assert type(exact_sum.result(exact_sum.add(exact_sum.of(2**64), exact_sum.of(-(2**64))))) is int


@pytest.mark.rule(2)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_sums_equal_fsum_where_fsum_can(values):
    try:
        expected = math.fsum(values)
    except OverflowError:
        return
    assert exact_sum.result(total(PLAIN["sum"](), values)) == expected


@pytest.mark.rule(2)
@pytest.mark.parametrize("name", ["sum", "mean"])
@pytest.mark.parametrize("value", ["1", True, [1]])
def test_numbers_are_wanted(name, value):
    with pytest.raises(TypeError, match="needs a number"):
        partial_of(PLAIN[name](), value, 0)


@pytest.mark.rule(12)
@pytest.mark.parametrize("error", [KeyError("k"), TypeError("t"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad")])
def test_a_value_that_cannot_be_taken_names_its_field(error):
    class Raising(Keywords):
        def add(self, partial, value):
            raise error

    field = Field("tags", "show", "x", Custom("mine", Raising()))
    spec = Spec("job", (Stream("show", "anchor", ("shows",)),), ("user",), (field,), 1000)
    with pytest.raises((TypeError, ValueError), match=r"field tags \(from show\.x\)"):
        partials_of(spec.plans[0], {"user": "u", "x": 1}, (0, "shows 000000", 0, 0), JSON)


@pytest.mark.rule(2)
def test_canonical_forms_tell_values_apart():
    assert canonical({"b": 1, "a": [1.0]}) == canonical({"a": (1.0,), "b": 1})
    assert len({canonical(v) for v in (1, 1.0, "1", True, None, [1], {"a": 1})}) == 7


KINDS = [numbers, st.text(max_size=3), st.booleans()]
RANKED = [PLAIN["min"](), PLAIN["max"](), LIMITED["top"](1), LIMITED["top"](3)]


def outcome(aggregate, parts):
    """Its result, or the text of what it raises."""
    try:
        return repr(aggregate.result(total(aggregate, parts)))
    except TypeError as error:
        return str(error)


@pytest.mark.rule(2)
@given(st.one_of([st.lists(kind, max_size=8) for kind in KINDS] + [st.lists(st.one_of(KINDS), max_size=8)]))
def test_what_has_an_order_is_of_one_kind_whatever_the_order_of_arrival(values):
    kinds = {float if type(v) is int else type(v) for v in values if v == v}
    for aggregate in RANKED:
        parts = partials(aggregate, values)
        one, other = outcome(aggregate, parts), outcome(aggregate, parts[::-1])
        assert one == other
        assert ("values of one kind" in one) == (len(kinds) > 1)


@pytest.mark.rule(2)
@given(st.permutations([1, 1.0, 0, 0.0, -0.0, 2]))
def test_equal_numbers_of_different_form_keep_their_rows_order(values):
    """In `top` the earlier row comes first; of `min` and `max` the form does not depend on what arrives first."""
    top, parts = LIMITED["top"](6), partials(LIMITED["top"](6), values)
    expected = repr(sorted(values, reverse=True))  # stable: equals stay in the order of their rows
    assert repr(top.result(total(top, parts))) == expected == repr(top.result(total(top, parts[::-1])))
    for name, kept in (("min", "0"), ("max", "2")):
        assert repr(PLAIN[name]().result(total(PLAIN[name](), partials(PLAIN[name](), values)))) == kept


class Celsius(float):
    """A float that is none by exact type, as numpy's are."""


class Kind(IntEnum):
    """An int that is none by exact type."""

    A = 1


class Named(str):
    """Text that is none by exact type."""


@pytest.mark.rule(12)
@pytest.mark.parametrize("name", [*PLAIN, "list", "top"])
@pytest.mark.parametrize("value", [Celsius(1), Named("x"), [Celsius(1)], {"a": Named()}, Kind.A, b"x"])
def test_only_exact_types_are_taken(name, value):
    """A subclass passes `isinstance` and fails, or becomes its `repr`, long after the row it came from."""
    aggregate = LIMITED[name](2) if name in LIMITED else PLAIN[name]()
    if name == "count":
        assert aggregate.result(partial_of(aggregate, value, 0)) == 1  # looks at no value
        return
    with pytest.raises(TypeError, match=r"(needs a|not JSON data)"):
        partial_of(aggregate, value, 0)


@pytest.mark.rule(12)
@pytest.mark.parametrize("name", ["min", "max", "first", "last", "list", "top"])
@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud83d", 1 << 4097])
def test_what_no_codec_carries_is_refused_at_the_row(name, value):
    aggregate = LIMITED[name](2) if name in LIMITED else PLAIN[name]()
    with pytest.raises(ValueError, match=r"(does not fit into 64 bits|half a character)"):
        partial_of(aggregate, value, 0)


@pytest.mark.rule(12)
@pytest.mark.parametrize("name", ["any", "all"])
@pytest.mark.parametrize("value", ["0", "false", "", [1]])
def test_truth_is_of_booleans_and_numbers(name, value):
    with pytest.raises(TypeError, match=f"{name} needs a boolean or a number"):
        partial_of(PLAIN[name](), value, 0)


@pytest.mark.rule(12)
@pytest.mark.parametrize("method", ["add", "merge", "result"])
@pytest.mark.parametrize("value", [Celsius(1), [Named("x")], {1: 2}, "\ud83d", {1, 2}, nested(101), Kind.A])
def test_what_a_users_aggregate_returns_is_held_to_its_promise(method, value):
    """Else the commit fails that packs it, and the worker with it."""
    user = Keywords()
    setattr(user, method, lambda *_: value)
    aggregate = Custom("mine:Keywords", user)
    call: tuple[Any, ...] = {"add": ([], 1, ()), "merge": ([], []), "result": ([],)}[method]
    with pytest.raises(
        (TypeError, ValueError), match=rf"mine:Keywords\.{method}\(\) returned a value that cannot be kept"
    ):
        getattr(aggregate, method)(*call)


@pytest.mark.rule(12)
def test_a_merge_that_fails_names_its_field():
    plan = Spec(
        "job", (Stream("show", "anchor", ("shows",)),), ("user",), (Field("most", "show", "x", PLAIN["max"]()),), 1000
    ).plans[0]
    a, b = (partials_of(plan, {"x": x}, (0, "shows 000000", n, 0), JSON) for n, x in enumerate((1, "1")))
    with pytest.raises(TypeError, match=r"field most \(from show\.x\): .*max needs values of one kind"):
        merge_partials(plan, a, b)


@pytest.mark.rule(10)
def test_a_key_is_json():
    assert json.loads(encode_key(["ü", 1, True])) == ["ü", 1, True]
