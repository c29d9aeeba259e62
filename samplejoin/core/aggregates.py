"""Aggregates of a field over the rows of a window: small classes with `zero`, `add`, `merge`, `result`.

A partial is plain data (numbers, strings, bytes, lists), so it can wait in a changelog. Laws, held by tests: `merge`
is associative and commutative, `zero()` is its identity, and adding rows one by one equals merging their partials
(rule 2). `order` is the row's place, `(event time in ms, source partition, offset, index)`, and breaks every tie.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

from samplejoin.core import exact
from samplejoin.core.values import given, kept, named, number

Order = tuple[int, str, int, int] | list[Any]


class Aggregate:
    """One aggregate. `add` takes a row's value (never None) and its order; it raises TypeError on a wrong type."""

    name: ClassVar[str]

    def zero(self) -> Any:
        """The partial of no rows."""
        return None

    def add(self, partial: Any, value: Any, order: Order) -> Any:
        """The partial with one more row."""
        raise TypeError(f"{self.name} cannot add")

    def merge(self, a: Any, b: Any) -> Any:
        """The partial of both sets of rows."""
        raise TypeError(f"{self.name} cannot merge")

    def result(self, partial: Any) -> Any:
        """What the sample carries."""
        return partial


class Count(Aggregate):
    """Rows, or rows whose field is not null."""

    name = "count"

    def zero(self) -> int:
        return 0

    def add(self, partial: int, value: Any, order: Order) -> int:
        return partial + 1

    def merge(self, a: int, b: int) -> int:
        return a + b


class Sum(Aggregate):
    """Exact sum of numbers; integers stay integers."""

    name = "sum"

    def zero(self) -> exact.Partial:
        return 0

    def add(self, partial: exact.Partial, value: Any, order: Order) -> exact.Partial:
        return self.merge(partial, exact.of(number(value, self.name)))

    def merge(self, a: exact.Partial, b: exact.Partial) -> exact.Partial:
        if type(a) is int and a == 0:  # one float needs no exact form yet
            return b
        return a if type(b) is int and b == 0 else exact.add(a, b)

    def result(self, partial: exact.Partial) -> int | float:
        return exact.result(partial)


class Mean(Aggregate):
    """Exact sum over count; None without rows."""

    name = "mean"

    def zero(self) -> list[Any]:
        return [0, 0]

    def add(self, partial: list[Any], value: Any, order: Order) -> list[Any]:
        return [exact.add(partial[0], number(value, self.name)), partial[1] + 1]

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        return [exact.add(a[0], b[0]), a[1] + b[1]]

    def result(self, partial: list[Any]) -> float | None:
        return exact.mean(partial[0], partial[1]) if partial[1] else None


class _Extreme(Aggregate):
    """The smallest or largest value in `rank` order; NaN is no value."""

    largest: ClassVar[bool]

    def add(self, partial: Any, value: Any, order: Order) -> Any:
        value = _scalar(self, value)
        return partial if value != value else self.merge(partial, value)

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        _one_kind(self, a, b)
        return a if (rank(a) > rank(b)) == self.largest else b


class Min(_Extreme):
    """Smallest value; None without rows."""

    name = "min"
    largest = False


class Max(_Extreme):
    """Largest value; None without rows."""

    name = "max"
    largest = True


class First(Aggregate):
    """The field of the row lowest in (event time, source)."""

    name = "first"

    def add(self, partial: Any, value: Any, order: Order) -> Any:
        return self.merge(partial, [order, kept(value)])

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return a if tuple(a[0]) <= tuple(b[0]) else b

    def result(self, partial: Any) -> Any:
        return None if partial is None else partial[1]


class Last(First):
    """The field of the row highest in (event time, source)."""

    name = "last"

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return a if tuple(a[0]) >= tuple(b[0]) else b


class Any_(Aggregate):
    """Whether any value is true; False without rows."""

    name = "any"

    def add(self, partial: Any, value: Any, order: Order) -> Any:
        return self.merge(partial, _truth(self, value))

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None else a or b

    def result(self, partial: Any) -> bool:
        return bool(partial)


class All(Any_):
    """Whether every value is true; True without rows."""

    name = "all"

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None else a and b

    def result(self, partial: Any) -> bool:
        return partial is not False


class Distinct(Aggregate):
    """How many different values there are, told apart by a 64-bit hash of their canonical form."""

    name = "distinct"

    def zero(self) -> list[bytes]:
        return []

    def add(self, partial: list[bytes], value: Any, order: Order) -> list[bytes]:
        text = canonical(given(value))
        return self.merge(partial, [hashlib.blake2b(text.encode(), digest_size=8).digest()])

    def merge(self, a: list[bytes], b: list[bytes]) -> list[bytes]:
        return sorted({*a, *b})

    def result(self, partial: list[bytes]) -> int:
        return len(partial)


class _Ranked(Aggregate):
    """The best `limit` of `[order, value]` by some sort key: keeping the best of a union is associative."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def zero(self) -> list[Any]:
        return []

    def sort_key(self, item: Any) -> Any:
        return list(item[0])

    def add(self, partial: list[Any], value: Any, order: Order) -> list[Any]:
        return self.merge(partial, [[list(order), kept(value)]])

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        return sorted([*a, *b], key=self.sort_key)[: self.limit]

    def result(self, partial: list[Any]) -> list[Any]:
        return [value for _, value in partial]


class List(_Ranked):
    """The first `limit` values in (event time, source) order."""

    name = "list"


class Top(_Ranked):
    """The `limit` largest values, largest first, the earlier row first among equals."""

    name = "top"

    def sort_key(self, item: Any) -> Any:
        return [_Descending(rank(item[1])), list(item[0])]

    def add(self, partial: list[Any], value: Any, order: Order) -> list[Any]:
        value = _scalar(self, value)
        return partial if value != value else super().add(partial, value, order)

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        if a and b:
            _one_kind(self, a[0][1], b[0][1])
        return super().merge(a, b)


class _Descending:
    """Turns an order round inside a sort key."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(other.value == self.value)


class Custom(Aggregate):
    """A user's class with `zero()`, `add(partial, value)`, `merge(a, b)`, `result(partial)`; partials are JSON data.

    The user's code gets copies: `a.extend(b); return a` must not change a partial that waits in a key's state.
    """

    def __init__(self, name: str, user: Any) -> None:
        self.name = name  # type: ignore[misc]  # an instance has the name its job gives it
        self.user = user

    def zero(self) -> Any:
        return copy.deepcopy(self.user.zero())

    def add(self, partial: Any, value: Any, order: Order) -> Any:
        return self._held(kept, "add", self.user.add(partial, value))

    def merge(self, a: Any, b: Any) -> Any:
        return self._held(kept, "merge", self.user.merge(copy.deepcopy(a), copy.deepcopy(b)))

    def result(self, partial: Any) -> Any:
        return self._held(given, "result", self.user.result(copy.deepcopy(partial)))

    def _held(self, check: Callable[[Any], Any], method: str, value: Any) -> Any:
        """What the user's method returned, held to its promise."""
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}.{method}() returned what cannot be kept: {error}") from None


#: aggregates without an argument, and those with one: `list(20)`
PLAIN: dict[str, Callable[[], Aggregate]] = {
    c.name: c for c in (Count, Sum, Mean, Min, Max, First, Last, Any_, All, Distinct)
}
LIMITED: dict[str, Callable[[int], Aggregate]] = {c.name: c for c in (List, Top)}


def rank(value: Any) -> tuple[Any, ...]:
    """A total order over numbers, over texts and over booleans that no order of arrival can change.

    Equal numbers of different form (1 and 1.0, 0.0 and -0.0) differ here, else which one stays would depend on order.
    """
    if type(value) is int or type(value) is float:
        return (value, type(value) is float, str(value) if value == 0 else "")
    return (value,)


def canonical(value: Any) -> str:
    """One text for equal JSON values: object keys sorted, 1 and 1.0 and true told apart."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in sorted(value, key=str)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    return repr(value)


def _truth(aggregate: Aggregate, value: Any) -> bool | None:
    """Whether a value is true; None for NaN, which is no value."""
    if type(value) is bool:
        return value
    if type(value) is int or type(value) is float:
        return None if value != value else value != 0
    raise TypeError(f"{aggregate.name} needs a boolean or a number, got {named(value)}")


def _scalar(aggregate: Aggregate, value: Any) -> Any:
    if type(value) not in _KINDS:
        raise TypeError(f"{aggregate.name} needs a number, text or a boolean, got {named(value)}")
    return kept(value)


#: types whose values can be put in order, as one kind
_KINDS = {int: "number", float: "number", str: "text", bool: "boolean"}


def _one_kind(aggregate: Aggregate, a: Any, b: Any) -> None:
    """Values of several kinds have no order. Whichever rows meet first, somewhere two kinds do."""
    if type(a) is not type(b) and _KINDS[type(a)] != _KINDS[type(b)]:
        raise TypeError(f"{aggregate.name} needs values of one kind, met numbers, text or booleans mixed")
