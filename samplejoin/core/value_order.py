"""The order, truth and equality of field values."""

from __future__ import annotations

from samplejoin.core.json_values import kept, named
from samplejoin.core.values import Value

#: types whose values can be put in order, as one kind
_KINDS = {int: "number", float: "number", str: "text", bool: "boolean"}


def scalar(value: Value, what: str) -> object:
    """A value that has an order, which `what` needs. Raises TypeError, and ValueError as `json_values.kept`."""
    if type(value) not in _KINDS:
        raise TypeError(f"{what} needs a number, text or a boolean, got {named(value)}")
    return kept(value)


def one_kind(a: object, b: object, what: str) -> None:
    """Raises TypeError for values of two kinds, which have no order. It raises whatever the order of the rows."""
    if type(a) is not type(b) and _KINDS[type(a)] != _KINDS[type(b)]:
        raise TypeError(f"{what} needs values of one kind, met numbers, text or booleans mixed")


def truth(value: Value, what: str) -> bool | None:
    """Whether a value is true; None for NaN, which is not a value. Raises TypeError for text and other data."""
    if type(value) is bool:
        return value
    if type(value) is int or type(value) is float:
        return None if value != value else value != 0
    raise TypeError(f"{what} needs a boolean or a number, got {named(value)}")


def rank(value: Value) -> tuple[object, ...]:
    """A total order over numbers, over texts and over booleans that no order of arrival can change.

    Equal numbers of different form (1 and 1.0, 0.0 and -0.0) differ here, else which one stays would depend on order.
    """
    if type(value) is int or type(value) is float:
        return (value, type(value) is float, str(value) if value == 0 else "")
    return (value,)


def canonical(value: Value) -> str:
    """One text for equal JSON values: object keys sorted, 1 and 1.0 and true told apart."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in sorted(value, key=str)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    return repr(value)


class Descending:
    """Reverses the order inside a sort key."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    def __lt__(self, other: Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(other.value == self.value)
