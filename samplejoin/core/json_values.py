"""The values that users' code may return: JSON data by exact type.

A subclass (numpy's float64, an enum) passes most checks by `isinstance`, and is then refused by a codec, or written as
its `repr`, long after the row it came from. So it is refused where it is returned, and the message names it.
"""

from __future__ import annotations

import json
import reprlib

from samplejoin.core.values import Value

SCALARS = frozenset((str, int, float, bool, type(None)))
NUMBERS = frozenset((int, float))

MAX_DEPTH = 100
"""Levels of nested lists and objects. JSON encoders end at a few hundred, and a sample adds levels of its own."""
MAX_BITS = 4096
"""Bits of a computed integer, far beyond the range of a float; a kept one has 64."""
MAX_SIZE = 1 << 20
"""Of a list or an object, in elements and characters of text, at whatever depth: no limit of a job allows as much. A
small value can be as large as you like once it is written, if it holds one list many times over."""
_KEPT_LOW, _KEPT_HIGH = -(1 << 63), 1 << 64


def kept(value: Value) -> object:
    """The value itself if it can wait in a key's state.

    Raises TypeError for what is not JSON data by exact type, ValueError for an integer beyond 64 bits, text with half
    a character (a lone surrogate) and data nested deeper than `MAX_DEPTH` or larger than `MAX_SIZE`.
    """
    kind = type(value)
    if kind is float or kind is bool or (kind is int and _KEPT_LOW <= value < _KEPT_HIGH):
        return value
    _check(value, 64, 0, MAX_SIZE)
    return value


def at_rest(value: Value) -> object:
    """As `kept`, a list or an object as bytes: opened, its elements can take a hundred times as much memory."""
    kind = type(value)
    if kind is float or kind is bool or (kind is int and _KEPT_LOW <= value < _KEPT_HIGH):
        return value
    _check(value, 64, 0, MAX_SIZE)
    return value if kind in SCALARS else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def opened(value: Value) -> object:
    """What `at_rest` was given; tuples come back as lists."""
    return json.loads(value) if type(value) is bytes else value


def given(value: Value) -> object:
    """As `kept`, for a value that goes into a sample at once: its integers may have `MAX_BITS`."""
    if type(value) is not float and type(value) is not bool:
        _check(value, MAX_BITS, 0, MAX_SIZE)
    return value


def bounded(value: Value, left: int = MAX_SIZE) -> int:
    """Returns what remains of `left` after a value of any type. Raises ValueError if the value is larger."""
    kind = type(value)
    if kind is str:
        return left - len(value)
    if not issubclass(kind, dict | list | tuple):
        return left
    left -= len(value)
    for item in value.values() if issubclass(kind, dict) else value:
        if left < 0:
            raise _too_large()
        left = bounded(item, left)
    return left


def number(value: Value, what: str) -> int | float:
    """The value itself if it is an int or a float, which `what` needs. Raises TypeError; ValueError past `MAX_BITS`."""
    kind = type(value)
    if kind not in NUMBERS:
        raise TypeError(f"{what} needs a number, got {named(value)}")
    if kind is int and value.bit_length() > MAX_BITS:
        raise ValueError(f"{what} needs integers of at most {MAX_BITS} bits, got one of {value.bit_length()}")
    result: int | float = value
    return result


def text(value: str) -> None:
    """Raises ValueError if text holds half a character."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise half_a_character(error) from None


def half_a_character(error: UnicodeEncodeError) -> ValueError:
    """What is wrong with text that is not valid UTF-8."""
    return ValueError(
        f"the text {error.object!a:.60} holds half a character (a lone surrogate, {error.object[error.start]!a})"
    )


def named(value: Value) -> str:
    """A value's type for a message, and the value where it can be shown."""
    return f"{_type(value)} {_shown(value)}{_hint(value)}"


_brief = reprlib.Repr()
"""Shortens a value's `repr`, which can have any length."""
_brief.maxstring = _brief.maxlong = _brief.maxother = 80


def _type(value: Value) -> str:
    kind = type(value)
    try:
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    except Exception:  # a user's metaclass
        return "a value"


def _shown(value: Value) -> str:
    try:
        return f"{_brief.repr(value):.60}"
    except Exception:  # a user's __repr__, or an integer of thousands of digits
        return "(cannot be shown)"


def _hint(value: Value) -> str:
    """What to do about a subclass of a plain type, and about numpy's other scalars."""
    plain = next((base for base in (int, float, str, list, tuple, dict) if issubclass(type(value), base)), None)
    if plain is not None and type(value) not in (plain, bool):
        return f": convert it with {plain.__name__}()"
    return ": convert it with .item()" if type(value).__module__ == "numpy" else ""


def _too_large() -> ValueError:
    return ValueError(f"data has over {MAX_SIZE:,} elements and characters")


def _check(value: Value, bits: int, depth: int, left: int) -> int:
    """Raises TypeError or ValueError for a value that cannot be kept; returns what remains of `left`."""
    kind = type(value)
    if kind is str:
        text(value)
        left -= len(value) if depth else 0
    elif kind is int:
        if value.bit_length() > bits or (bits == 64 and not _KEPT_LOW <= value < _KEPT_HIGH):
            raise ValueError(f"an integer does not fit into {bits} bits: {_shown(value)}; send it as text")
    elif kind is list or kind is tuple or kind is dict:
        if depth == MAX_DEPTH:
            raise ValueError(f"data is nested deeper than {MAX_DEPTH} levels")
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    raise TypeError(f"a key of an object must be a string, got {named(key)}")
                text(key)
            value = value.values()
        left -= len(value)
        for item in value:
            if left < 0:
                raise _too_large()
            left = _check(item, bits, depth + 1, left)
    elif kind not in SCALARS:
        raise TypeError(f"{_type(value)} is not JSON data: {_shown(value)}{_hint(value)}")
    return left
