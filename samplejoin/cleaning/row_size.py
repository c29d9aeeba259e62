"""How large a row is that our own topics are to carry, for `limits.row`."""

from __future__ import annotations

from collections.abc import Callable

from samplejoin.core.aggregates import Custom
from samplejoin.core.exact_sum import INT_LIMIT
from samplejoin.core.json_values import opened
from samplejoin.core.spec import Codec, StreamLayout
from samplejoin.core.values import Partials, Value

ELEMENT_BYTES = 64
"""What an element of lists and objects takes in memory, however short it is packed: `[]` is one byte there."""
_ANY_SIZE = frozenset(("min", "max", "first", "last", "list", "top"))


def measured(plan: StreamLayout) -> tuple[int, ...]:
    """Which partials can be of any kind and size; 0 stands for the row's id."""
    grows = [
        i for i, f in enumerate(plan.aggregates, 2) if f.aggregate.name in _ANY_SIZE or isinstance(f.aggregate, Custom)
    ]
    return (0, *grows) if plan.stream.id_field else tuple(grows)


def sizer(plan: StreamLayout, codec: Codec, row_bytes: int) -> Callable[[list[object]], int]:
    """Bytes of a row's payloads, and of those of its partials that can be of any kind and size.

    Where these could take more than `row_bytes` in memory, each of their elements counts `ELEMENT_BYTES` at least.
    Payloads stay packed until their sample is made.
    """
    counted = measured(plan)
    few_bytes = row_bytes // ELEMENT_BYTES  # an element is at least one byte

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
    """How many values lie in lists and objects, at whatever depth."""
    value = opened(value)
    kind = type(value)
    if kind is dict:
        return 2 * len(value) + sum(map(_elements, value.values()))
    return len(value) + sum(map(_elements, value)) if kind is list or kind is tuple else 0
