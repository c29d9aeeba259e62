"""Measures the size of a row in the job's internal topics, for `limits.row`."""

from __future__ import annotations

from collections.abc import Callable

from samplejoin.core.aggregates import Custom
from samplejoin.core.exact_sum import INT_LIMIT
from samplejoin.core.json_values import opened
from samplejoin.core.spec import Codec, StreamLayout
from samplejoin.core.values import Partials, Value

ELEMENT_BYTES = 64
"""What an element of a list or object takes in memory at least; packed it may be shorter (`[]` is one byte)."""
_ANY_SIZE = frozenset(("min", "max", "first", "last", "list", "top"))


def measured(plan: StreamLayout) -> tuple[int, ...]:
    """Returns the indexes of partials that can be of any type and size; 0 stands for the row's id."""
    grows = [
        i for i, f in enumerate(plan.aggregates, 2) if f.aggregate.name in _ANY_SIZE or isinstance(f.aggregate, Custom)
    ]
    return (0, *grows) if plan.stream.id_field else tuple(grows)


def sizer(plan: StreamLayout, codec: Codec, row_bytes: int) -> Callable[[list[object]], int]:
    """Returns a function from a row's partials to its size in bytes: payloads, and partials of any type and size.

    If these partials could take more than `row_bytes` in memory, each element of them counts at least `ELEMENT_BYTES`.
    Payloads count as they are, because they stay packed until their sample is made.
    """
    counted = measured(plan)
    few_bytes = row_bytes // ELEMENT_BYTES  # packed, an element is at least one byte

    def size_of(partials: Partials) -> int:
        first, last = partials[0], partials[1]
        size = 0
        for i in counted:
            value = partials[i] if i else first[2]
            kind = type(value)
            if not (value is None or kind is float or (kind is int and -INT_LIMIT < value < INT_LIMIT)):
                size += len(codec.pack([value]))
        if size > few_bytes:
            size = max(size, ELEMENT_BYTES * sum(_elements(partials[i]) for i in counted if i))
        return size + (len(first[1]) if first else 0) + (len(last[1]) if last else 0)

    return size_of


def _elements(value: Value) -> int:
    """Returns the number of values in lists and objects, at any depth."""
    value = opened(value)
    kind = type(value)
    if kind is dict:
        return 2 * len(value) + sum(map(_elements, value.values()))
    return len(value) + sum(map(_elements, value)) if kind is list or kind is tuple else 0
