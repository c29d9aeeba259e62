"""What a label may be: JSON data by exact type, and with down-sampling a number or a boolean (rule 14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samplejoin.core.json_values import NUMBERS, given, named
from samplejoin.errors import RefusedError
from samplejoin.job.expression import results_in
from samplejoin.job.field_types import FUNCTION

Label = Callable[[dict[str, object]], object]


def of_function(name: str, function: Label) -> Label:
    """The user's function, held to its promise: raises TypeError or ValueError for what it must not return."""

    def label(sample: dict[str, object]) -> object:
        value = function(sample)
        kind = type(value)
        if kind is bool or kind is int:
            return value
        if value is None or (kind is float and value != value):
            raise ValueError(f"{name} returned {value}, which is not a label")
        try:
            return given(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} returned what is not a label: {error}") from None

    return label


def sampled(name: str, label: Label) -> Label:
    """A label by which negatives are told: 0, false or null. It raises for text, lists and what is below 0.

    Raises RefusedError for an expression that can result in nothing else, or in such a value somewhere.
    """
    if not FUNCTION.fullmatch(name):
        for value in results_in(name):
            if not _tells(value):
                raise RefusedError(f"can be {value!r}: {_WANTED}", _HINT)

    def held(sample: dict[str, object]) -> object:
        value = label(sample)
        if not _tells(value):
            raise ValueError(f"the label of {name} is {named(value)}: {_WANTED}")
        return value

    return held


_WANTED = "with keep_negatives a label must be a boolean or a number of at least 0"
_HINT = "0, false and null are negatives, which are kept in part; e.g. 0 and 1 instead of -1 and 1"


def _tells(value: Any) -> bool:
    kind = type(value)
    return value is None or kind is bool or (kind in NUMBERS and value >= 0)
