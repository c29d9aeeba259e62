"""Aggregates of a field over the rows of a window: small classes with `zero`, `add`, `merge` and `result`.

The table of docs/aggregates.md is generated from their docstrings. A line with an arrow is an example that a test runs.

A partial is plain data (numbers, strings, bytes, lists), so that it can be stored in a changelog. Tests check these
laws: `merge` is associative and commutative, `zero()` is its identity, and adding rows one by one equals merging their
partials (rule 2). `order` is `(event time in ms, source partition, offset, index)` of the row and breaks every tie.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

from samplejoin.core import exact_sum
from samplejoin.core.json_values import at_rest, given, kept, number, opened
from samplejoin.core.user_errors import mistakes, not_for_memory, said
from samplejoin.core.value_order import Descending, canonical, one_kind, rank, scalar, truth
from samplejoin.core.values import Partial, Partials, Value

Order = tuple[int, str, int, int] | list[object]


class Aggregate:
    """Base class of aggregates. `add` takes a row's value, never None, and raises TypeError if its type is wrong."""

    name: ClassVar[str]

    def zero(self) -> Partial:
        """Returns the partial of no rows."""
        return None

    def add(self, partial: Partial, value: Value, order: Order) -> Partial:
        """Returns the partial with one more row."""
        raise TypeError(f"{self.name} cannot add")

    def merge(self, a: Partial, b: Partial) -> Partial:
        """Returns the partial of the rows of both partials."""
        raise TypeError(f"{self.name} cannot merge")

    def result(self, partial: Partial) -> Partial:
        """Returns the value of the sample's field."""
        return partial


class Count(Aggregate):
    """The number of rows that joined, or of those that have the field.

    Takes: anything
    No rows: 0
    [5, None, "x"] -> 2
    """

    name = "count"

    def zero(self) -> int:
        return 0

    def add(self, partial: int, value: Value, order: Order) -> int:
        return partial + 1

    def merge(self, a: int, b: int) -> int:
        return a + b


class Sum(Aggregate):
    """The exact sum, rounded once. A sum of integers is an integer of any size; with any float it is a float.

    Takes: numbers; true and false are refused, convert them with `int()`
    No rows: 0
    [1, 2, None] -> 3
    [0.1] * 10 -> 1.0
    [2**63, 2**63] -> 2**64
    [True] -> refused
    ["3"] -> refused
    """

    name = "sum"

    def zero(self) -> exact_sum.Partial:
        return 0

    def add(self, partial: exact_sum.Partial, value: Value, order: Order) -> exact_sum.Partial:
        return self.merge(partial, exact_sum.of(number(value, self.name)))

    def merge(self, a: exact_sum.Partial, b: exact_sum.Partial) -> exact_sum.Partial:
        if type(a) is int and a == 0:  # a single float does not need the exact form yet
            return b
        return a if type(b) is int and b == 0 else exact_sum.add(a, b)

    def result(self, partial: exact_sum.Partial) -> int | float:
        return exact_sum.result(partial)


class Mean(Aggregate):
    """The exact sum divided by the number of rows that have the field, rounded once.

    Takes: numbers
    No rows: null
    [1, 2, None] -> 1.5
    """

    name = "mean"

    def zero(self) -> list[object]:
        return [0, 0]

    def add(self, partial: Partials, value: Value, order: Order) -> Partials:
        return [exact_sum.add(partial[0], number(value, self.name)), partial[1] + 1]

    def merge(self, a: Partials, b: Partials) -> Partials:
        return [exact_sum.add(a[0], b[0]), a[1] + b[1]]

    def result(self, partial: Partials) -> float | None:
        return exact_sum.mean(partial[0], partial[1]) if partial[1] else None


class _Extreme(Aggregate):
    """The smallest or largest value in the order of `rank`. NaN is skipped."""

    largest: ClassVar[bool]

    def add(self, partial: Partial, value: Value, order: Order) -> Partial:
        value = scalar(value, self.name)
        return partial if value != value else self.merge(partial, value)

    def merge(self, a: Partial, b: Partial) -> Partial:
        if a is None or b is None:
            return b if a is None else a
        one_kind(a, b, self.name)
        return a if (rank(a) > rank(b)) == self.largest else b


class Min(_Extreme):
    """The smallest value.

    Takes: numbers, text or booleans, but not several kinds; NaN is skipped
    No rows: null
    [9.5, 12, None] -> 9.5
    ["9.5", "12.0"] -> "12.0"
    [42.5, "3"] -> refused
    """

    name = "min"
    largest = False


class Max(_Extreme):
    """The largest value.

    Takes: as `min`
    No rows: null
    [9.5, 12, None] -> 12
    ["9.5", "12.0"] -> "9.5"
    """

    name = "max"
    largest = True


class First(Aggregate):
    """The field of the earliest row. In a label stream, only rows that have the field count.

    Takes: anything
    No rows: null
    [None, 12.5, None, 9] -> 12.5
    """

    name = "first"

    def add(self, partial: Partial, value: Value, order: Order) -> Partial:
        return self.merge(partial, [order, at_rest(value)])

    def merge(self, a: Partial, b: Partial) -> Partial:
        if a is None or b is None:
            return b if a is None else a
        return a if tuple(a[0]) <= tuple(b[0]) else b

    def result(self, partial: Partial) -> Partial:
        return None if partial is None else opened(partial[1])


class Last(First):
    """The field of the latest row. In a label stream, only rows that have the field count.

    Takes: anything
    No rows: null
    [None, 12.5, 9, None] -> 9
    """

    name = "last"

    def merge(self, a: Partial, b: Partial) -> Partial:
        if a is None or b is None:
            return b if a is None else a
        return a if tuple(a[0]) >= tuple(b[0]) else b


class Any_(Aggregate):
    """Whether any value is true or not 0. For a stream itself, whether any row joined.

    Takes: booleans and numbers; text is refused, since "0" and "false" would be true; NaN is skipped
    No rows: false
    [0, None, True] -> True
    [0, False] -> False
    ["0"] -> refused
    """

    name = "any"

    def add(self, partial: Partial, value: Value, order: Order) -> Partial:
        return self.merge(partial, truth(value, self.name))

    def merge(self, a: Partial, b: Partial) -> Partial:
        return b if a is None else a if b is None else a or b

    def result(self, partial: Partial) -> bool:
        return bool(partial)


class All(Any_):
    """Whether no value is false or 0.

    Takes: as `any`
    No rows: true
    [1, None, True] -> True
    [1, 0] -> False
    """

    name = "all"

    def merge(self, a: Partial, b: Partial) -> Partial:
        return b if a is None else a if b is None else a and b

    def result(self, partial: Partial) -> bool:
        return partial is not False


class Distinct(Aggregate):
    """The number of different values, not a list of them.

    Takes: anything. 1, 1.0, true and "1" differ; the order of an object's keys does not matter
    No rows: 0
    ["a", "b", "a", None] -> 2
    [1, 1.0, True, "1"] -> 4
    [{"a": 1, "b": 2}, {"b": 2, "a": 1}] -> 1
    """

    name = "distinct"

    def zero(self) -> list[bytes]:
        return []

    def add(self, partial: list[bytes], value: Value, order: Order) -> list[bytes]:
        text = canonical(given(value))
        return self.merge(partial, [hashlib.blake2b(text.encode(), digest_size=8).digest()])

    def merge(self, a: list[bytes], b: list[bytes]) -> list[bytes]:
        return sorted({*a, *b})

    def result(self, partial: list[bytes]) -> int:
        return len(partial)


class _Ranked(Aggregate):
    """The first `limit` items `[order, value]` by `sort_key`. Keeping the first items of a union is associative."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def zero(self) -> Partials:
        return []

    def sort_key(self, item: Any) -> Partial:
        return list(item[0])

    def add(self, partial: list[object], value: Value, order: Order) -> list[object]:
        return self.merge(partial, [[list(order), at_rest(value)]])

    def merge(self, a: list[object], b: list[object]) -> list[object]:
        return sorted([*a, *b], key=self.sort_key)[: self.limit]

    def result(self, partial: Partials) -> Partials:
        return [opened(value) for _, value in partial]


class List(_Ranked):
    """The first `n` values, in the order of event time.

    Takes: anything
    No rows: []
    (2) ["a", None, "b", "c"] -> ["a", "b"]
    """

    name = "list"


class Top(_Ranked):
    """The `n` largest values, largest first. Of equal values, that of the earlier row comes first.

    Takes: as `min`
    No rows: []
    (2) [3, 9.5, None, 12] -> [12, 9.5]
    (3) [1, 2, 2.0] -> [2, 2.0, 1]
    """

    name = "top"

    def sort_key(self, item: Any) -> Partial:
        return [Descending(item[1]), list(item[0])]

    def add(self, partial: list[object], value: Value, order: Order) -> list[object]:
        value = scalar(value, self.name)
        return partial if value != value else super().add(partial, value, order)

    def merge(self, a: Partials, b: Partials) -> Partials:
        if a and b:
            one_kind(a[0][1], b[0][1], self.name)
        return super().merge(a, b)


class Custom(Aggregate):
    """Wraps a user's class with `zero()`, `add(partial, value)`, `merge(a, b)` and `result(partial)` over JSON data.

    The user's code gets copies, so that `a.extend(b); return a` does not change a partial in a key's state.
    """

    def __init__(self, name: str, user: Any) -> None:
        self.name = name  # type: ignore[misc]  # an instance has the name its job gives it
        self.user = user

    def zero(self) -> Partial:
        return copy.deepcopy(self.user.zero())

    def add(self, partial: Partial, value: Value, order: Order) -> Partial:
        return self._held(kept, "add", partial, value)

    def merge(self, a: Partial, b: Partial) -> Partial:
        return self._held(kept, "merge", copy.deepcopy(a), copy.deepcopy(b))

    def result(self, partial: Partial) -> Partial:
        return self._held(given, "result", copy.deepcopy(partial))

    def _held(self, check: Callable[[object], object], method: str, *arguments: object) -> Partial:
        """Calls the user's method and checks its result. Raises TypeError or ValueError that names the method."""
        try:
            value = getattr(self.user, method)(*arguments)
        except mistakes() as error:
            not_for_memory(error, f"{self.name}.{method}()")
            kind = TypeError if issubclass(type(error), TypeError) else ValueError
            raise kind(f"{self.name}.{method}() raised {said(error)}") from error
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}.{method}() returned a value that cannot be kept: {error}") from None


#: aggregates without an argument; those of `LIMITED` take one, as in `list(20)`
PLAIN: dict[str, Callable[[], Aggregate]] = {
    c.name: c for c in (Count, Sum, Mean, Min, Max, First, Last, Any_, All, Distinct)
}
LIMITED: dict[str, Callable[[int], Aggregate]] = {c.name: c for c in (List, Top)}
