"""How large a row is that our own topics are to carry, for `limits.row`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samplejoin.core.aggregates import Custom
from samplejoin.core.exact import INT_LIMIT
from samplejoin.core.spec import Codec, Plan

_ANY_SIZE = frozenset(("min", "max", "first", "last", "list", "top"))


def measured(plan: Plan) -> tuple[int, ...]:
    """Which partials can be of any kind and size; 0 stands for the row's id."""
    grows = [
        i for i, f in enumerate(plan.aggregates, 2) if f.aggregate.name in _ANY_SIZE or isinstance(f.aggregate, Custom)
    ]
    return (0, *grows) if plan.stream.id_field else tuple(grows)


def sizer(plan: Plan, codec: Codec) -> Callable[[list[Any]], int]:
    """Bytes of a row's payloads, and of those of its partials that can be of any kind and size.

    The function raises what `codec.dumps` raises for a value that our own topics cannot carry.
    """

    counted = measured(plan)

    def size_of(partials: list[Any]) -> int:
        first, last = partials[0], partials[1]
        size = (len(first[1]) if first else 0) + (len(last[1]) if last else 0)
        for i in counted:
            value = partials[i] if i else first[2]
            kind = type(value)
            if not (value is None or kind is float or (kind is int and -INT_LIMIT < value < INT_LIMIT)):
                size += len(codec.dumps([value]))
        return size

    return size_of
