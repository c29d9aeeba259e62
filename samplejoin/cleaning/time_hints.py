"""Guesses why an event time is far from its record's timestamp: the unit, or the time zone. For messages only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from samplejoin.core.clock_holder import FAR_MS
from samplejoin.job.event_times import MAX_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ("s", "ms", "us", "ns")
_NEAR_MS = 2 * 365 * 86_400_000
_HALF_HOUR_MS = 1_800_000
_OFFSETS = range(2, 29)
"""Offsets of time zones from UTC, in half hours."""
_OFF_MS = 180_000
"""The delay between event and record that may come on top, in ms."""


def iso(ms: int) -> str:
    """Formats as `2026-01-31T12:00:00.000Z`; as a number of ms if it is not between 1970 and 9999."""
    if not 0 <= ms <= MAX_MS:
        return f"{ms} ms"
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def too_early(time_ms: int, latest_ms: int, max_skew_ms: int, record_ms: int, unit: str) -> str:
    """Returns the error of an event time after `latest_ms`; `record_ms` is the record's timestamp (rule 9)."""
    reference_ms = latest_ms - max_skew_ms
    whose = "the record's timestamp" if reference_ms == record_ms else "the reader's clock"
    said = f"event time {iso(time_ms)} is more than max_skew ahead of {whose} {iso(reference_ms)}"
    return f"{said}: {hint(time_ms, reference_ms, unit) or 'is time_unit right?'}"


def too_far(stream: str, time_ms: int, reference_ms: int, unit: str) -> str:
    """Returns the warning about a stream with an event time decades before its record was written."""
    years = (reference_ms - time_ms) // (365 * 86_400_000)
    said = f"event times of {stream} are {years} years before their records: {iso(time_ms)}, record {iso(reference_ms)}"
    return f"{said}; {hint(time_ms, reference_ms, unit) or 'is time_unit right?'}"


def hint(time_ms: int, reference_ms: int, unit: str) -> str | None:
    """Returns the mistake that would explain the difference of the two times; None if none is known."""
    if 0 <= reference_ms < FAR_MS < time_ms:
        return "Kafka's timestamps are ms since 1970; its producer wrote 0 or another unit"
    if unit in _UNITS:
        for other in _UNITS:
            ms = time_ms * 1000 ** (_UNITS.index(unit) - _UNITS.index(other))
            if other != unit and abs(ms - reference_ms) < _NEAR_MS:
                return f"did you mean time_unit: {other}, not {unit}?"
    off_ms = time_ms - reference_ms
    halves = round(off_ms / _HALF_HOUR_MS)
    if abs(halves) in _OFFSETS and abs(off_ms - halves * _HALF_HOUR_MS) <= _OFF_MS:
        hours = f"{abs(halves) / 2:g}"
        said = "1 hour is" if hours == "1" else f"{hours} hours are"
        return f"{said} the offset of a time zone: a local time without its offset is read as UTC"
    return None
