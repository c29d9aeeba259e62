"""Reads event times as epoch milliseconds, exactly and the same on every machine (rule 9)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_CENTURY_S = (946_684_800, 4_102_444_800)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
#: unit -> how many of it make a millisecond
_PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}


def time_reader(unit: str) -> Callable[[object], int]:
    """Returns a function that reads a time of that unit (`s`, `ms`, `us`, `ns`, `iso`) as epoch ms, rounded down.

    The function raises ValueError for everything that is not a time from 1970 to 9999: booleans, NaN, other types and
    other text.
    """
    if unit == "iso":
        return read_iso
    if unit == "ms":
        return read_ms
    factor, divisor = (1000, 1) if unit == "s" else (1, _PER_MS[unit])

    def read(value: object) -> int:
        if type(value) is int:
            ms = value * factor // divisor
            if 0 <= ms <= MAX_MS:
                return ms
        return _read_slowly(value, unit, factor, divisor)

    return read


def read_iso(value: object) -> int:
    """Returns the epoch ms of a text in ISO 8601, in UTC if it has no offset. Raises ValueError."""
    if type(value) is not str:
        raise ValueError(f"a time in iso must be text, not {type(value).__name__}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value[:60]!r} is not a time in ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_range((moment - _EPOCH) // _MILLISECOND, value)


def read_ms(value: object) -> int:
    """Returns a time in ms, a number or a number in text, as epoch ms. Raises ValueError."""
    if type(value) is int and 0 <= value <= MAX_MS:
        return value
    return _read_slowly(value, "ms", 1, 1)


def _read_slowly(value: object, unit: str, factor: int, divisor: int) -> int:
    """Reads floats (by their shortest decimal form) and numbers in text. Raises ValueError for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a time in {unit} must be a number, not {type(value).__name__}")
    text = value if isinstance(value, str) else repr(value)
    try:
        number = Decimal(text) if len(text) <= 64 and "_" not in text else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise ValueError(f"{text[:60]!r} is not a time in {unit}")
    if not 0 <= number <= (MAX_MS + 1) * divisor // factor:
        raise ValueError(f"{text[:60]} {unit} is not between the years 1970 and 9999{_meant(number)}")
    return _in_range(int(number * factor // divisor), text)


def _meant(number: Decimal) -> str:
    """Returns a hint to the unit in which the number is a time of this century; empty if there is none."""
    for unit, per_s in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        if _CENTURY_S[0] * per_s <= number < _CENTURY_S[1] * per_s:
            return f"; did you mean time_unit: {unit}?"
    return ""


def _in_range(ms: int, value: object) -> int:
    if not 0 <= ms <= MAX_MS:
        raise ValueError(f"{str(value)[:60]} is not between the years 1970 and 9999")
    return ms
