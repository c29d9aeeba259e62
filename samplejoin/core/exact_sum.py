"""Sums that do not depend on the order of their parts (rule 2).

A float is an integer times a power of two, so a sum of floats is kept as `numerator / 2**shift` in integers and
rounded once, at the end. A partial is an int (all parts were ints), a float (one finite part), or
`[sign_and_magnitude_bytes, shift, plus_inf, minus_inf, nan]`, so that every codec can carry it.
"""

from __future__ import annotations

import math
from typing import Any

Partial = int | float | list[Any] | tuple[Any, ...]

INT_LIMIT = 1 << 62


def of(number: int | float) -> Partial:
    """The partial of one number: itself, unless it is an integer that codecs cannot carry."""
    if type(number) is float or -INT_LIMIT < number < INT_LIMIT:
        return number
    return _pack(_unpack(number))


def add(a: Partial, b: Partial) -> Partial:
    """The exact sum of two partials."""
    if type(a) is int and type(b) is int:
        total = a + b
        if -INT_LIMIT < total < INT_LIMIT:
            return total
    return _pack([x + y for x, y in zip(*_align(_unpack(a), _unpack(b)), strict=True)])


def result(partial: Partial) -> int | float:
    """The sum, rounded once: an int if every part was one, else the nearest float, inf or NaN."""
    if not isinstance(partial, list | tuple):
        return partial + 0  # -0.0 becomes 0.0; otherwise the result would depend on the order
    numerator, shift, plus, minus, nan, floats = _unpack(partial)
    if nan or (plus and minus):
        return math.nan
    if plus or minus:
        return math.inf if plus else -math.inf
    return ratio(numerator, 1 << shift) if floats else numerator


def mean(partial: Partial, count: int) -> float:
    """The exact sum over `count`, rounded once."""
    numerator, shift, plus, minus, nan, _ = _unpack(partial)
    if nan or plus or minus:
        return float(result(partial))
    return ratio(numerator, count << shift)


def ratio(numerator: int, denominator: int) -> float:
    """Correctly rounded quotient; past the range of a double it is infinite, as IEEE 754 has it."""
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def _unpack(partial: Partial) -> list[int]:
    """[numerator, shift, count of +inf, of -inf, of NaN, of floats]."""
    if isinstance(partial, list | tuple):
        return [int.from_bytes(partial[0], "big", signed=True), *partial[1:]]
    if isinstance(partial, int):
        return [partial, 0, 0, 0, 0, 0]
    if math.isfinite(partial):
        numerator, denominator = partial.as_integer_ratio()
        return [numerator, denominator.bit_length() - 1, 0, 0, 0, 1]
    return [0, 0, partial == math.inf, partial == -math.inf, math.isnan(partial), 1]


def _align(a: list[int], b: list[int]) -> tuple[list[int], list[int]]:
    """Returns both with the larger shift. Only `a` carries the shift, so that adding the two keeps it."""
    shift = max(a[1], b[1])
    return (
        [a[0] << (shift - a[1]), shift, *a[2:]],
        [b[0] << (shift - b[1]), 0, *b[2:]],
    )


def _pack(parts: list[int]) -> Partial:
    """The canonical form: equal sums of equal parts have equal bytes."""
    numerator, shift, *specials = parts
    spare = min(shift, (numerator & -numerator).bit_length() - 1) if numerator else shift
    numerator >>= spare
    size = numerator.bit_length() // 8 + 1
    return [numerator.to_bytes(size, "big", signed=True), shift - spare, *(int(s) for s in specials)]
