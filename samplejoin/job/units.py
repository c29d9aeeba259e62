"""Durations such as `20m`, `1h30m`, `500ms` as milliseconds; sizes such as `512KiB`, `64MiB` as bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from samplejoin.errors import RefusedError

_DURATION_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_SIZE_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))
_DURATION = re.compile("".join(rf"(?:(\d{{1,15}}){unit})?" for unit, _ in _DURATION_UNITS), re.ASCII)
_SIZE = re.compile(r"(\d{1,15})(B|KiB|MiB|GiB)", re.ASCII)
_DURATION_PATTERN = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$"
_SIZE_PATTERN = r"^\d+(B|KiB|MiB|GiB)$"

MAX_DURATION_MS = 3660 * 86_400_000
"""About ten years: a longer duration is taken for a mistake."""


def parse_duration(value: object) -> int:
    """Returns the milliseconds of a duration such as `1h30m`. Raises RefusedError, also for a number without unit."""
    if type(value) is int and value >= 0:
        raise RefusedError(f"{value} has no unit", f"write {value}s, {value}m or {value}ms")
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise RefusedError(
            f"{value} is not a valid duration", "whole numbers from 0 on, with a unit: 20m, 1h30m, 500ms"
        )
    if not isinstance(value, str):
        raise RefusedError(f"a duration must be text, not {_kind(value)}", "for example 20m, 1h30m or 500ms")
    match = _DURATION.fullmatch(value.strip())
    if not value.strip() or match is None:
        raise RefusedError(
            f"{value!r} is not a valid duration",
            "whole numbers with d, h, m, s, ms, the longest first: 20m, 1h30m, 500ms",
        )
    ms = sum(int(n) * size for n, (_, size) in zip(match.groups(), _DURATION_UNITS, strict=True) if n)
    if ms > MAX_DURATION_MS:
        raise RefusedError(f"{value} is too long", "durations go up to ten years")
    return ms


def format_duration(ms: int) -> str:
    """Returns the text that `parse_duration` reads as that number of milliseconds."""
    parts = []
    for unit, size in _DURATION_UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """Returns the bytes of a size such as `64MiB`. Raises RefusedError, also for a number without unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise RefusedError(f"{value} has no unit", f"write {value}B, or KiB, MiB, GiB")
    if not isinstance(value, str):
        raise RefusedError(f"a size must be text, not {_kind(value)}", "for example 512KiB or 64MiB")
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise RefusedError(f"{value!r} is not a valid size", "a whole number with B, KiB, MiB or GiB: 512KiB, 64MiB")
    size = int(match[1]) * dict(_SIZE_UNITS)[match[2]]
    if not 0 < size <= 1 << 50:
        raise RefusedError(f"{value} is out of range", "sizes go from 1B up")
    return size


def format_size(size: int) -> str:
    """Returns the text that `parse_size` reads as that number of bytes."""
    for unit, factor in _SIZE_UNITS:
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def _positive(value: object) -> int:
    ms = parse_duration(value)
    if not ms:
        raise RefusedError("must be longer than 0s")
    return ms


def _kind(value: object) -> str:
    return {"bool": "true or false", "NoneType": "null", "list": "a list", "dict": "a mapping"}.get(
        type(value).__name__, type(value).__name__
    )


_duration_schema = WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "x-unit": "duration"}, "validation")
_size_schema = WithJsonSchema({"type": "string", "pattern": _SIZE_PATTERN, "x-unit": "size"}, "validation")
_write_duration = PlainSerializer(format_duration, return_type=str, when_used="json")
_write_size = PlainSerializer(format_size, return_type=str, when_used="json")

Duration = Annotated[int, BeforeValidator(parse_duration), _write_duration, _duration_schema]
"""Milliseconds, zero or more."""

PositiveDuration = Annotated[int, BeforeValidator(_positive), _write_duration, _duration_schema]
"""Milliseconds, more than zero."""

Size = Annotated[int, Field(gt=0), BeforeValidator(parse_size), _write_size, _size_schema]
"""Bytes, more than zero."""
