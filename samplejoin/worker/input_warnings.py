"""Warns of odd input of which no record fails: absent fields or keys, rows that never join, times far off."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from samplejoin.cleaning.time_hints import too_far

log = logging.getLogger(__name__)

SAY_AGAIN_S = 600.0
#: rows or records of a stream without a result, or samples without one of its rows, that are too many for chance
MANY = 100
KEY_CHARS = 100
#: outcomes of windows whose rows count as joined
MADE = ("positive", "negative")


class InputWatch:
    """Logs odd input that is reported to it, and keeps it for `/readyz`. `units`: stream -> its `time_unit`."""

    def __init__(self, metrics: Any, units: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.metrics, self.units, self._monotonic = metrics, units, monotonic
        self._fields: list[str] = []
        #: stream -> the last warning about its times, and when they were last far off
        self._times: dict[str, tuple[str, float]] = {}
        self._said_at: dict[str, float] = {}
        #: stream -> the key of its last orphan
        self._orphans: dict[str, bytes] = {}
        self._odd_said_at: dict[tuple[str, str], float] = {}

    def field_is_null(self, stream: str, path: str, said: str) -> None:
        """Logs and keeps a field of the job file that was null in all first rows of the stream."""
        self.metrics.set("null_fields", (stream, path), 1)
        self._fields.append(said)
        log.warning("%s", said)

    def fields_are_absent(self, said: list[str]) -> None:
        """Logs fields that no row has carried yet. `/readyz` omits them: rows are few, and later ones may have them."""
        for each in said:
            log.warning("%s", each)

    def time_is_far(self, stream: str, time_ms: int, record_ms: int) -> None:
        """Counts event times decades before their records' timestamps. Logs them once in ten minutes per stream."""
        self.metrics.add("far_times", (stream,))
        now, said = self._monotonic(), too_far(stream, time_ms, record_ms, self.units[stream])
        self._times[stream] = said, now
        if now - self._said_at.get(stream, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said_at[stream] = now
            log.warning("%s", said)

    def row_is_orphan(self, stream: str, key: bytes) -> None:
        """Keeps the key of a label row that became an orphan."""
        self._orphans[stream] = key

    def log_odd_streams(self) -> None:
        """Logs the streams whose records or rows have no result, each at most once in ten minutes."""
        now = self._monotonic()
        for what, said in self._odd().items():
            if now - self._odd_said_at.get(what, -SAY_AGAIN_S) >= SAY_AGAIN_S:
                self._odd_said_at[what] = now
                log.warning("%s", said)

    def _odd(self) -> dict[tuple[str, str], str]:
        """Returns the warnings by (stream, what is odd)."""
        found = {}
        for stream in self.units:
            for what, say in (("filtered", self._filtered), ("keys", self._keyless), ("orphans", self._unjoined)):
                if said := say(stream):
                    found[stream, what] = said
        return found

    def _total(self, name: str, *labels: str) -> float:
        return float(self.metrics.totals.get((name, labels), 0))

    def _filtered(self, stream: str) -> str | None:
        """Returns a warning if no record gave a row, as with a function that lacks its `return`."""
        filtered = self._total("events", stream, "filtered")
        others = sum(
            count
            for (name, labels), count in self.metrics.totals.items()
            if name == "events" and labels[0] == stream and labels[1] != "filtered"
        )
        if filtered < MANY or others:
            return None
        return (
            f"all of the first {filtered:.0f} records of stream {stream} were filtered: streams.{stream}.clean, or its "
            "decoder, returned None or no rows for each. Is a `return` missing?"
        )

    def _keyless(self, stream: str) -> str | None:
        """Returns a warning if more rows were dropped for their key than taken."""
        keyless, taken = self._total("events", stream, "junk_key"), self._total("events", stream, "ok")
        if keyless < MANY or keyless <= taken:
            return None
        return (
            f"{keyless:.0f} rows of stream {stream} had no key, or one of junk_keys, and were dropped; {taken:.0f} "
            'were taken. The metric samplejoin_events_total{outcome="junk_key"} counts them'
        )

    def _unjoined(self, stream: str) -> str | None:
        """Returns a warning if there are many orphans and many samples, but no row has joined a sample."""
        rows, made = self._total("orphan_dropped_rows", stream), sum(self._total("samples", o) for o in MADE)
        if stream not in self._orphans or min(rows, made) < MANY or self._total("joined_rows", stream):
            return None
        return (
            f"none of the first {rows:.0f} rows of stream {stream} has joined an impression; keys look like "
            f"{self._orphans[stream][:KEY_CHARS].decode('utf-8', 'replace')}: is it the same key, of the same type (a "
            "number is not its text)? `samplejoin check --records` shows it"
        )

    def warnings(self) -> list[str]:
        """Returns warnings of null fields, streams without a result, and times far off in the last ten minutes."""
        now = self._monotonic()
        return (
            self._fields
            + [*self._odd().values()]
            + [said for said, at in self._times.values() if now - at < SAY_AGAIN_S]
        )
