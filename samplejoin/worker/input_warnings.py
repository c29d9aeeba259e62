"""What is odd in a job's input though no record fails: fields that no row has, times in another unit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from samplejoin.cleaning.time_hints import too_far

log = logging.getLogger(__name__)

SAY_AGAIN_S = 600.0
#: so many orphans of a stream, and none that joined, are no accident
MANY_ORPHANS = 100
KEY_CHARS = 100


class InputWatch:
    """Logs what it is told of, and keeps it for `/readyz`. `units` has the `time_unit` of each stream."""

    def __init__(self, metrics: Any, units: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.metrics, self.units, self._monotonic = metrics, units, monotonic
        self._fields: list[str] = []
        #: stream -> what was last said of its times, and when they were last far off
        self._times: dict[str, tuple[str, float]] = {}
        self._said_at: dict[str, float] = {}
        #: stream -> the key of its last orphan
        self._orphans: dict[str, bytes] = {}
        self._orphans_said_at: dict[str, float] = {}

    def field_is_null(self, stream: str, path: str, said: str) -> None:
        """A field of the job file was null in all first rows of the stream."""
        self.metrics.set("null_fields", (stream, path), 1)
        self._fields.append(said)
        log.warning("%s", said)

    def fields_are_absent(self, said: list[str]) -> None:
        """No row has carried a field yet, but they are few: they may carry it later, so `/readyz` does not say it."""
        for each in said:
            log.warning("%s", each)

    def time_is_far(self, stream: str, time_ms: int, record_ms: int) -> None:
        """An event time lies decades before its record's. Said once in ten minutes per stream."""
        self.metrics.add("far_times", (stream,))
        now, said = self._monotonic(), too_far(stream, time_ms, record_ms, self.units[stream])
        self._times[stream] = said, now
        if now - self._said_at.get(stream, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said_at[stream] = now
            log.warning("%s", said)

    def row_is_orphan(self, stream: str, key: bytes) -> None:
        """A label row of this key has waited for an impression in vain."""
        self._orphans[stream] = key

    def look(self) -> None:
        """Logs, once in ten minutes, which streams have had nothing but orphans."""
        now = self._monotonic()
        for stream, said in self._unjoined().items():
            if now - self._orphans_said_at.get(stream, -SAY_AGAIN_S) >= SAY_AGAIN_S:
                self._orphans_said_at[stream] = now
                log.warning("%s", said)

    def _unjoined(self) -> dict[str, str]:
        """Streams of which no row has joined while many were orphans, with what to say."""
        said = {}
        for stream, key in self._orphans.items():
            rows = self.metrics.totals.get(("orphan_dropped_rows", (stream,)), 0)
            if rows >= MANY_ORPHANS and not self.metrics.totals.get(("joined_rows", (stream,)), 0):
                said[stream] = (
                    f"none of the first {rows:.0f} rows of stream {stream} has joined an impression; keys look like "
                    f"{key[:KEY_CHARS].decode('utf-8', 'replace')}: is it the same key, of the same type (a number is "
                    "not its text)? `samplejoin check --records` shows it"
                )
        return said

    def warnings(self) -> list[str]:
        """Null fields, streams of orphans only, and times that were far off within the last ten minutes."""
        now = self._monotonic()
        return (
            self._fields
            + [*self._unjoined().values()]
            + [said for said, at in self._times.values() if now - at < SAY_AGAIN_S]
        )
