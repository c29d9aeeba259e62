"""Finds mistakes of a valid job with the help of sample records: fields that no row has, labels without a window."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from samplejoin.cleaning.time_hints import iso
from samplejoin.core.field_paths import paths_of, value_at
from samplejoin.core.keys import key_values
from samplejoin.core.user_errors import counted, few
from samplejoin.errors import did_you_mean
from samplejoin.job.errors import Issue
from samplejoin.offline.trial import FailedSample, Trial, Tried, TriedRow

_MISSING = object()
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
"""The values in an error's message, by which errors of the same kind differ."""


def unknown_fields(trial: Trial) -> Iterator[Issue]:
    """Yields an issue for each field that no row of its stream has. With a hint to a similar name it is a mistake."""
    for name, each in trial.job.model.sample.items():
        if each.source_field is not None:
            yield from _unknown(trial, each.stream, each.source_field, ("sample", name, "from"))
    for name, stream in trial.job.model.streams.items():
        if stream.id is not None:
            yield from _unknown(trial, name, stream.id, ("streams", name, "id"))
        if stream.time_field == "@timestamp" and any("@timestamp" in row.row for row in _rows(trial, name)):
            message = f"is the Kafka record's timestamp; the rows of {name} have a field @timestamp"
            yield Issue(("streams", name, "time"), message)


def without_key(trial: Trial) -> Iterator[Issue]:
    """Yields an issue for each stream none of whose rows has a key. Elsewhere such rows are dropped (rule 7)."""
    taken = {row.stream for row in trial.rows}
    for row in {row.stream: row for row in trial.keyless if row.stream not in taken}.values():
        message = f"no row of {row.stream} has a key: {trial.key_text(row.row)}; the row has {few(row.row)}"
        yield Issue(("key",), message)


def filtered(trial: Trial, tries: list[Tried]) -> Iterator[str]:
    """Yields a warning for each stream whose records all gave no rows."""
    for each in trial.job.inputs:
        stream = each.plan.stream.name
        records = [tried for tried in tries if tried.stream == stream]
        if records and all(tried.filtered for tried in records):
            yield (
                f"all records of {stream} ({len(records)}) are filtered: {each.clean_name} returns None or no "
                "rows for them. Is a `return` missing?"
            )


def failed_samples(trial: Trial) -> Iterator[tuple[str, str]]:
    """Yields (reason, text) for each kind of dead sample. The text has the first key, how many others, the error."""
    alike: dict[tuple[str, str], list[FailedSample]] = {}
    for failed in trial.failed_samples():
        alike.setdefault((failed.letter.reason, _VALUES.sub("", failed.letter.error)), []).append(failed)
    for (reason, _), samples in alike.items():
        first, more = samples[0], len(samples) - 1
        others = f" and {counted(more, 'other sample')}" if more else ""
        text = f"fails for {json.dumps(first.key)}{others}: {first.letter.error}\n{first.letter.traceback}"
        yield reason, text.rstrip()


def _unknown(trial: Trial, stream: str, path: str, place: tuple[str, ...]) -> Iterator[Issue]:
    rows = [row.row for row in _rows(trial, stream)]
    if not rows or any(value_at(row, path, _MISSING) is not _MISSING for row in rows):
        return
    known = dict.fromkeys(name for row in rows for name in paths_of(row))
    message = f"no row of {stream} carries {path}; they carry {few(known)}"
    yield Issue(place, message, did_you_mean(path, known))


def _rows(trial: Trial, stream: str) -> list[TriedRow]:
    return [row for row in trial.rows if row.stream == stream]


def orphans(trial: Trial) -> Iterator[tuple[str, bool]]:
    """Yields (message, mistake) for each orphan. It is a mistake of the job if an anchor has its key as other types."""
    spec = trial.job.spec
    names = [plan.stream.name for plan in spec.plans if plan.anchor]
    opened = [
        (key_values(row.row, spec.key_fields, spec.junk_keys) or [], row) for row in trial.rows if row.stream in names
    ]
    anchor = " or ".join(names)
    for orphan in trial.orphans:
        key = orphan["key"]
        said = f"orphan: {orphan['stream']} {json.dumps(key)} at {iso(orphan['slice_ms'])}"
        same = [row for values, row in opened if _typed(values) == _typed(key)]
        alike = [values for values, _ in opened if list(map(str, values)) == list(map(str, key))]
        if same:
            times = few(sorted(iso(row.time_ms) for row in same))
            yield f"{said} is in no window; {anchor} with this key: {times}", False
        elif alike:
            kind = _kind(key, alike[0])
            yield f"{said}: no {anchor} has this key, but the same key as {kind}; make them the same type", True
        else:
            yield f"{said}: no {anchor} has this key", False


def _typed(key: list[object]) -> list[object]:
    return [(type(value), value) for value in key]


def _kind(key: list[object], other: list[object]) -> str:
    """Returns the type of the other key's first value whose type differs, in words."""
    words = {str: "text", int: "a number", bool: "true or false"}
    return next(words[type(b)] for a, b in zip(key, other, strict=True) if type(a) is not type(b))
