"""Tries a job on sample records, without Kafka: the rows or the error of each record, and the samples of all.

It uses the test kit, and so the worker's own code for cleaning, keys, windows, commits and limits.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from samplejoin.cleaning.cleaned import Cleaned
from samplejoin.cleaning.cleaner import Cleaner, OneRecord
from samplejoin.cleaning.time_hints import hint, iso, too_far
from samplejoin.core.field_paths import value_at
from samplejoin.core.keys import decode_key, key_values
from samplejoin.core.user_errors import few
from samplejoin.core.values import Fields
from samplejoin.formats import json
from samplejoin.job.compile import Job
from samplejoin.job.field_types import FUNCTION
from samplejoin.offline.asked_fields import AskedFields, plain
from samplejoin.testing import JobTest
from samplejoin.testing.results import DeadLetter, FinishedSample, letter_of

LINE_KEYS = ("stream", "topic", "record", "key", "headers", "timestamp")
DROPPED = {"before_start": "before start", "after_until": "after until"}
"""Outcomes of rows that are left to other generations of the job. They are not errors."""


def _watched(job: Job) -> tuple[Job, list[AskedFields]]:
    """Returns the job with its label and format functions watched, and what they ask for."""
    spec, model = job.spec, job.model
    label, format_ = AskedFields(model.label or "", "sample"), AskedFields(model.format, "sample")
    if spec.label is not None and FUNCTION.fullmatch(label.function):
        spec = replace(spec, label=label.watching(spec.label))
    if FUNCTION.fullmatch(format_.function):
        spec = replace(spec, format=format_.watching(spec.format))
    return replace(job, spec=spec), [label, format_]


@dataclass
class TriedRow:
    """A row of a stream, with its event time and its outcome as the worker's metrics name it."""

    stream: str
    row: Fields
    time_ms: int
    outcome: str


@dataclass
class Tried:
    """The result of one record in one stream: rows with times, or an error. Without stream, the line is wrong."""

    line: int
    stream: str
    rows: list[Fields] = field(default_factory=list)
    #: the time of each row
    times: list[str] = field(default_factory=list)
    #: for each row, why it is dropped; empty if it is not
    dropped: list[str] = field(default_factory=list)
    filtered: bool = False
    error: str | None = None
    traceback: str | None = None


@dataclass
class FailedSample:
    """A sample that is a dead letter, with the values of its key."""

    key: list[object]
    letter: DeadLetter


class _Watching(Cleaner):
    """The worker's cleaner on the plain path, which keeps the rows that it takes."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, start_ms=job.model.start_ms)
        self.fast.clear()
        self.rows: list[TriedRow] = []
        self.far: dict[str, tuple[int, int]] = {}
        #: what cleaning functions ask for, by stream
        self.asked = {
            each.plan.stream.name: AskedFields(each.clean_name, f"record of {each.plan.stream.name}")
            for each in job.inputs
        }

    def clean(self, *arguments: Any, **options: Any) -> Cleaned:
        """Cleans as the worker does, and keeps event times that are decades off."""
        out = super().clean(*arguments, **options)
        self.far = {**out.far, **self.far}
        return out

    def _call(self, one: OneRecord, decoded: object) -> object:
        given = self.asked[one.each.plan.stream.name].given(decoded)
        return plain(super()._call(one, given))

    def _row(self, one: OneRecord, index: int, row: Any, time_ms: int) -> None:
        each, out = one.each, one.out
        taken, counts = out.rows[each.plan.index], dict(out.counts)
        super()._row(one, index, row, time_ms)
        risen = (outcome for (_, outcome), count in out.counts.items() if counts.get((_, outcome)) != count)
        outcome = "ok" if out.rows[each.plan.index] > taken else next(risen)
        if not outcome.startswith("dead"):
            time_ms = self._time_of_row(one._replace(out=Cleaned()), row, time_ms)
            self.rows.append(TriedRow(each.plan.stream.name, row, time_ms, outcome))


class Trial(JobTest):
    """Sends the lines of a records file through a job, one by one."""

    def __init__(self, job: Job, now_ms: int | None = None) -> None:
        job, self._asked_of_samples = _watched(job)
        super().__init__(job, now=int(time.time() * 1000) if now_ms is None else now_ms)
        self._cleaner: _Watching = _Watching(job)
        #: all rows so far that went to the join
        self.rows: list[TriedRow] = []
        #: rows that were dropped for lack of a key (rule 7)
        self.keyless: list[TriedRow] = []

    def record(self, line: int, text: str) -> list[Tried]:
        """Sends a line through the job. Returns one result per stream that reads its topic, usually one."""
        try:
            entry: Any = json.loads(text)
        except ValueError as error:
            return [Tried(line, "", error=f"not JSON: {error}")]
        letters, counts = len(self._letters), Counter(self.counts)
        self._cleaner.rows = []
        try:
            topic = self._send(entry)
        except ValueError as error:
            return [Tried(line, "", error=str(error))]
        self._read()
        new = self._letters[letters:]
        self.rows += [row for row in self._cleaner.rows if row.outcome == "ok"]
        self.keyless += [row for row in self._cleaner.rows if row.outcome == "junk_key"]
        return [
            self._tried(line, each.plan.stream.name, new, self.counts - counts)
            for each in self._cleaner.by_topic[topic]
        ]

    def end(self) -> None:
        """Closes all windows. `failed_samples` has those that became dead letters."""
        self._end()

    def labelled_first(self) -> list[FinishedSample]:
        """Returns the samples, first those whose key has label rows, because they show most of the job."""
        spec = self.job.spec
        labels = {plan.stream.name for plan in spec.plans if not plan.anchor}
        keys = (key_values(row.row, spec.key_fields, spec.junk_keys) for row in self.rows if row.stream in labels)
        labelled = set(map(repr, keys))
        return sorted(self.samples, key=lambda sample: repr(sample.key) not in labelled)

    def failed_samples(self) -> list[FailedSample]:
        """Returns the samples that are dead letters. Call it after `end`."""
        topic = self._config.topics.dead_letter
        return [FailedSample(decode_key(sent.key), letter_of(sent)) for sent in self._sent(topic)]

    def times_far_off(self) -> list[tuple[str, str, bool]]:
        """Returns (stream, message, whether a known mistake explains it) for streams with event times decades off."""
        units = {each.plan.stream.name: each.time_unit for each in self.job.inputs}
        return [
            (stream, too_far(stream, *times, units[stream]), hint(*times, units[stream]) is not None)
            for stream, times in self._cleaner.far.items()
        ]

    def asked_fields(self) -> list[AskedFields]:
        """Returns what each of the user's functions has asked for."""
        return [*self._cleaner.asked.values(), *self._asked_of_samples]

    def _send(self, entry: Any) -> str:
        """Sends the record of a line. Returns its topic. Raises ValueError if the line is not valid."""
        if not isinstance(entry, dict) or "record" not in entry or not ("stream" in entry or "topic" in entry):
            raise ValueError('expected {"stream": NAME, "record": ...} or {"topic": NAME, "record": ...}')
        named, topic = entry.get("stream"), entry.get("topic")
        streams = [each.plan.stream for each in self.job.inputs]
        found = [s for s in streams if (s.name == named if named is not None else topic in s.topics)]
        if not found:
            raise ValueError(f"no stream reads {named or topic!r}")
        topic = topic or found[0].topics[0]
        key, stamp, headers = entry.get("key"), entry.get("timestamp"), entry.get("headers")
        if unknown := entry.keys() - LINE_KEYS:
            raise ValueError(f"unknown keys: {few(sorted(unknown))}; a line may have {', '.join(LINE_KEYS)}")
        if stamp is not None and not (type(stamp) is int and -(1 << 63) <= stamp < 1 << 63):
            raise ValueError(f"timestamp must be the Kafka record's, whole ms since 1970, not {stamp!r:.60}")
        if key is not None and type(key) is not str:
            raise ValueError(f"key must be the Kafka record's, text, not {key!r:.60}")
        if headers is not None and type(headers) is not dict:
            raise ValueError(f"headers must be the Kafka record's, an object of texts, not {headers!r:.60}")
        self.send(
            found[0].name,
            entry["record"],
            topic=topic,
            key=None if key is None else key.encode(),
            headers={name: str(text).encode() for name, text in (headers or {}).items()},
            timestamp_ms=stamp,
        )
        return str(topic)

    def _tried(self, line: int, stream: str, letters: list[DeadLetter], counts: Counter[Any]) -> Tried:
        rows = [row for row in self._cleaner.rows if row.stream == stream]
        tried = Tried(line, stream, filtered=bool(counts["events", stream, "filtered"]))
        tried.rows = [row.row for row in rows]
        tried.times = [iso(row.time_ms) for row in rows]
        tried.dropped = [self._why_dropped(row) for row in rows]
        for letter in letters:
            if letter.stream == stream:
                tried.error = f"{letter.reason} {letter.function}: {letter.error}"
                tried.traceback = letter.traceback if letter.reason == "clean" else None
        return tried

    def _why_dropped(self, row: TriedRow) -> str:
        return f"no key, {self.key_text(row.row)}" if row.outcome == "junk_key" else DROPPED.get(row.outcome, "")

    def key_text(self, row: Fields) -> str:
        """Returns the key fields of a row with their values, for messages."""
        return ", ".join(f"{name}={value_at(row, name)!r}" for name in self.job.spec.key_fields)
