"""Looks in the first rows of each stream for fields that the job file names but none of them has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samplejoin.cleaning.cleaner import Cleaner, OneRecord
from samplejoin.cleaning.running_call import RunningCall
from samplejoin.core.field_paths import paths_of, value_at
from samplejoin.core.user_errors import few, mistakes
from samplejoin.core.values import Fields
from samplejoin.errors import did_you_mean
from samplejoin.job.compile import Input, Job

FIRST_ROWS = 1000
"""A field that is null in this many rows is probably a mistake, and at least very rare."""
MOST_NAMES = 200


class FirstRows:
    """The first rows of one stream. `fields` maps paths that are read from rows to the keys that name them."""

    def __init__(self, stream: str, fields: Mapping[str, str], limit: int = FIRST_ROWS) -> None:
        self.stream, self.fields, self.limit = stream, fields, limit
        self.rows = 0
        self._null = set(fields)
        self._names: dict[str, None] = {}
        self._told: set[str] = set()

    def add(self, row: Fields) -> bool:
        """Adds a row. Returns whether the result is final: all fields have had a value, or `limit` rows were added."""
        self.rows += 1
        self._null = {path for path in self._null if value_at(row, path) is None}
        if self._null and len(self._names) < MOST_NAMES:
            self._names.update(dict.fromkeys(paths_of(row)))
        return not self._null or self.rows >= self.limit

    def findings(self) -> dict[str, str]:
        """Returns a message for each field that was null or absent in all rows, by path."""
        return {path: self._said(path) for path in sorted(self._null)}

    def absent(self) -> list[str]:
        """Returns a message for each field that no row has had yet, not even as null; each is returned once."""
        found = sorted(self._null - self._names.keys() - self._told) if self.rows else []
        self._told.update(found)
        return [self._said(path) for path in found]

    def _said(self, path: str) -> str:
        first = f"the first {self.rows} rows of stream {self.stream}"
        if path in self._names:
            return f"{self.fields[path]}: {path} is null in {first}"
        near = did_you_mean(path, self._names)
        hint = f" ({near})" if near else ""
        if self.rows == 1:
            said = f"the first row of stream {self.stream} does not carry {path}; it carries {few(self._names)}{hint}"
            return f"{self.fields[path]}: {said}"
        return f"{self.fields[path]}: none of {first} carries {path}; they carry {few(self._names)}{hint}"


class WatchingCleaner(Cleaner):
    """The worker's cleaner. It calls `on_null(stream, path, message)` for each field that was null in all first rows.

    The topics of a stream take the plain path until its result is final: for one row, if that has all fields.
    """

    def __init__(
        self,
        job: Job,
        running: RunningCall,
        pack: Callable[[tuple[int, int, int, list[object]]], bytes],
        on_null: Callable[[str, str, str], None],
    ) -> None:
        super().__init__(job, running, job.model.start_ms, pack)
        self._on_null = on_null
        self._first = {name: FirstRows(name, fields) for name, fields in _fields_of(job).items()}
        self._put_off, self.fast = self.fast, {}

    def _row(self, one: OneRecord, index: int, row: Any, time_ms: int) -> None:
        each = one.each
        first = self._first.get(each.plan.stream.name)
        if first is not None and issubclass(type(row), dict):
            try:
                known = first.add(row)
            except mistakes():  # a user's own class of dict; what is wrong with the row is reported below
                known = False
            if known:
                self._end(each, first)
        super()._row(one, index, row, time_ms)

    def absent(self) -> list[str]:
        """Returns messages about fields that no row has had yet, for streams that are still watched."""
        return [said for first in self._first.values() for said in first.absent()]

    def _end(self, each: Input, first: FirstRows) -> None:
        """Ends the watch of a stream. Its topics take the fast path from the next run on."""
        del self._first[first.stream]
        for topic in each.plan.stream.topics:
            if topic in self._put_off:
                self.fast[topic] = self._put_off.pop(topic)
        for path, said in first.findings().items():
            self._on_null(first.stream, path, said)


def _fields_of(job: Job) -> dict[str, dict[str, str]]:
    """Returns by stream the paths that are read from its rows, with the job-file keys that name them."""
    fields: dict[str, dict[str, str]] = {name: dict.fromkeys(job.model.key, "key") for name in job.model.streams}
    for name, stream in job.model.streams.items():
        if stream.id is not None:
            fields[name][stream.id] = f"streams.{name}.id"
    for name, field in job.model.sample.items():
        if field.source_field is not None:
            fields[field.stream].setdefault(field.source_field, f"sample.{name}")
    return fields
