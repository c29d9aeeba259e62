"""The generated functions agree with the plain ones on every plan, and are the ones in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core.aggregates import LIMITED, PLAIN, Custom
from samplejoin.core.cells import partials_of
from samplejoin.core.finish import Finisher
from samplejoin.core.fold import read_sample
from samplejoin.core.generated import Readers, maker
from samplejoin.core.spec import JSON, Field, Spec, Stream

ORDER = (1_700_000_000_123, "click 000001", 42, 0)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(1 << 60, 1 << 70),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)


class Longest:
    """A user's aggregate whose partial is changed in place."""

    def zero(self):
        return [0]

    def add(self, partial, value):
        partial[0] = max(partial[0], len(value))
        return partial

    def merge(self, a, b):
        return [max(a[0], b[0])]

    def result(self, partial):
        return partial[0]


def all_fields():
    fields = [Field(f"{name}'s", "click", "it's", make()) for name, make in PLAIN.items()]
    fields += [Field(f"{name}_n", "click", "it's", make(2)) for name, make in LIMITED.items()]
    return (
        *fields,
        Field("rows", "click", None, PLAIN["count"]()),
        Field("own", "click", "text", Custom("own", Longest())),
    )


SPEC = Spec(
    "parity",
    (Stream("imp", "anchor", ("imp",)), Stream("click", "label", ("click",), id_field="id")),
    ("u",),
    all_fields(),
    window_ms=10_000,
)


def plainly(row, order):
    return partials_of(SPEC.plans[1], row, order, JSON)


def outcome(make):
    """What it makes, or the text of what it raises."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def same(a, b):
    return repr(a) == repr(b)  # NaN equals itself here, and 1 is not 1.0


@pytest.mark.rule(2)
@given(st.fixed_dictionaries({}, optional={"it's": VALUES, "id": VALUES, "text": st.text(max_size=4)}))
def test_twins_agree(row):
    """Partials, errors with their text, and sample fields."""
    plan = SPEC.plans[1]
    made = [outcome(lambda make=make: make(row, ORDER)) for make in (maker(plan, JSON), plainly)]
    assert same(*made)
    plain = made[1]
    if isinstance(plain, str):
        return
    for merged in ({1: plain}, {}):
        assert same(Readers(SPEC)[tuple(merged)](b'["u"]', merged), read_sample(SPEC, b'["u"]', merged))


def test_a_users_partial_is_its_own_per_row():
    """A zero that is changed in place must not leak into the next row."""
    make = maker(SPEC.plans[1], JSON)
    assert make({"text": "long"}, ORDER)[-1] == [4]
    assert make({"text": "a"}, ORDER)[-1] == [1]


def test_the_generated_twins_are_in_use():
    """A build that lost them would be right and slow: this says so."""
    assert Finisher(SPEC).readers[(0,)].__code__.co_filename == "<samplejoin: read>"
