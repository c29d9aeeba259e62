"""Checks labels: JSON data by exact type, and with down-sampling a number or a boolean (rule 14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samplejoin.core.json_values import NUMBERS, given, named
from samplejoin.errors import RefusedError
from samplejoin.job.expression import results_in
from samplejoin.job.field_types import FUNCTION

Label = Callable[[dict[str, object]], object]


def of_function(name: str, function: Label) -> Label:
    """Wraps the user's function to raise TypeError or ValueError if it returns a value that is not a label."""

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
            raise type(error)(f"{name} returned a value that is not a label: {error}") from None

    return label


def sampled(name: str, label: Label) -> Label:
    """Wraps a label by which negatives (0, false, null) are down-sampled.

    The wrapper raises ValueError for text, lists, objects and numbers below 0. Raises RefusedError
    for an expression with a constant of this kind among its results.
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
_HINT = "0, false and null are negatives, of which a share is kept; use e.g. 0 and 1 instead of -1 and 1"


def _tells(value: Any) -> bool:
    kind = type(value)
    return value is None or kind is bool or (kind in NUMBERS and value >= 0)
