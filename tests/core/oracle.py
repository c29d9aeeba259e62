"""An obviously right join: rows in lists, the rules of docs/semantics.md word by word, no row late (the offline run).

It shares nothing with the core but the names of things (`identity`): no cells, no partials, no slices merged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from samplejoin.core.identity import keep, sample_id, source_id
from samplejoin.core.keys import decode_key
from samplejoin.core.spec import Spec


@dataclass(frozen=True)
class Row:
    """A cleaned row. `source` is (topic, partition, offset, index)."""

    stream: str
    key: bytes
    time: int
    source: tuple[str, int, int, int]
    value: dict[str, Any]

    @property
    def place(self):
        return (self.time, *self.source)


def join(spec: Spec, rows: list[Row]) -> tuple[dict[str, tuple[int, bytes, float]], list[Row]]:
    """Samples by id, as (slice in ms, payload, weight), and the orphan rows."""
    streams = {s.name: s for s in spec.streams}
    samples, orphans = {}, []
    for key in sorted({row.key for row in rows}):
        made, left = windows(spec, [row for row in rows if row.key == key])
        orphans += left
        for window in made:
            sample = finish(spec, streams, key, window)
            if sample:
                samples[sample[0]] = sample[1:]
    return samples, orphans


def windows(spec: Spec, rows: list[Row]) -> tuple[list[list[Row]], list[Row]]:
    """The windows of one key, each with the row that opened it and then the others, and the labels that none holds."""
    streams = {s.name: s for s in spec.streams}
    made: list[list[Row]] = []
    orphans: list[Row] = []
    mine = sorted(rows, key=lambda row: row.place)
    for row in mine:
        if streams[row.stream].role == "anchor":
            home = next((w for w in made if repeats(spec, streams, w[0], row)), None)
            made.append([row]) if home is None else home.append(row)
    openers = [w[0] for w in made]
    for row in mine:
        if streams[row.stream].role == "label":
            place = holder(spec, openers, row)
            made[place].append(row) if place is not None else orphans.append(row)
    return made, orphans


def slice_of(spec: Spec, row: Row) -> int:
    return row.time // spec.resolution_ms


def repeats(spec, streams, opener: Row, row: Row) -> bool:
    """Whether a further anchor belongs to the window (rule 3; by its id with `each`, rule 7)."""
    id_ = id_of(spec, streams, row)
    same = row.stream == opener.stream and id_ is not None and id_ == id_of(spec, streams, opener)
    return slice_of(spec, row) < slice_of(spec, opener) + spec.window and bool(spec.repeat == "merge" or same)


def id_of(spec: Spec, streams, row: Row) -> Any:
    """None where the row has none, or one that says nothing (rule 7)."""
    id_field = streams[row.stream].id_field
    id_ = None if id_field is None else row.value.get(id_field)
    return None if id_ != id_ or str(id_) in {"", *map(str, spec.junk_keys)} else id_


def holder(spec: Spec, openers: list[Row], row: Row) -> int | None:
    """Rule 3: at or before the label the latest (`first`: the earliest) anchor, else the earliest one after it."""
    slices = [slice_of(spec, opener) for opener in openers]
    label = slice_of(spec, row)
    holding = [i for i, a in enumerate(slices) if a - spec.before <= label < a + spec.window]
    past = [i for i in holding if slices[i] <= label]
    last = spec.attribution == "last"
    if past:
        wanted = max(slices[i] for i in past) if last else min(slices[i] for i in past)
    elif holding:
        wanted = min(slices[i] for i in holding)
    else:
        return None
    ties = [i for i in holding if slices[i] == wanted]
    return max(ties, key=lambda i: openers[i].place) if last else min(ties, key=lambda i: openers[i].place)


def finish(spec, streams, key: bytes, window: list[Row]):
    """(sample_id, slice in ms, payload, weight), or None if the sample does not go out."""
    opener, counted, seen = window[0], [], set()
    for row in sorted(window, key=lambda row: row.place):
        id_ = id_of(spec, streams, row)
        if id_ is None or (row.stream, repr(id_)) not in seen:
            counted.append(row)
        seen.add((row.stream, repr(id_)))
    values = dict(zip(spec.key_fields, decode_key(key), strict=True))
    for f in spec.fields:
        anchor = streams[f.stream].role == "anchor"
        values[f.name] = aggregate(f, [row for row in counted if row.stream == f.stream], anchor)
    topic, partition, offset, index = opener.source
    order = (opener.time, source_id(topic, partition), offset, index)
    first = [order, b"", id_of(spec, streams, opener)]
    name = sample_id(spec.name, key, slice_of(spec, opener), opener.stream, first)
    joined = any(streams[row.stream].role == "label" for row in counted)
    label = int(joined) if spec.label is None else spec.label(values)
    weight = 1.0
    if not label and spec.keep_negatives < 1:
        if not keep(name, spec.keep_negatives):
            return None
        weight = 1.0 / spec.keep_negatives
    values["label"] = label
    if spec.keep_negatives < 1:
        values["weight"] = weight
    payload = spec.format(values)
    return None if payload is None else (name, slice_of(spec, opener) * spec.resolution_ms, payload, weight)


def aggregate(f, rows: list[Row], anchor: bool = False) -> Any:
    """The field over the rows, in order of (event time, source), by definition."""
    name, limit = f.aggregate.name, getattr(f.aggregate, "limit", None)
    values = [True if f.source_field is None else row.value.get(f.source_field) for row in rows]
    if not anchor or name not in ("first", "last"):  # an anchor's fields stem from one row, null too
        values = [v for v in values if v is not None]
    if name in ("first", "last"):
        return values[0 if name == "first" else -1] if values else None
    ordered: list[Any] = [v for v in values if v == v]  # NaN has no place in an order
    match name:
        case "count":
            return len(values)
        case "sum":
            return total(values)
        case "mean":
            return total(values, len(values)) if values else None
        case "min":
            return min(ordered, key=size, default=None)
        case "max":
            return max(ordered, key=size, default=None)
        case "any":
            return any(ordered)
        case "all":
            return all(ordered)
        case "distinct":
            return len({repr(v) for v in values})
        case "list":
            return values[:limit]
        case "top":
            return sorted(ordered, reverse=True)[:limit]  # stable: the earlier row first
    raise AssertionError(name)


def size(value: Any):
    """Numbers before strings; equal numbers in a fixed order: 1 < 1.0, -0.0 < 0 == 0.0 made different by their form."""
    return (isinstance(value, str), value, isinstance(value, float), str(value) if value == 0 else "")


def total(values: list[Any], divisor: int | None = None) -> Any:
    """The exact sum, or mean, rounded once; as IEEE 754 has it for inf, NaN and overflow."""
    special = [v for v in values if isinstance(v, float) and not math.isfinite(v)]
    if special:
        return math.nan if len(set(map(repr, special))) > 1 else special[0]
    exact = sum((Fraction(v) for v in values), Fraction(0)) / (divisor or 1)
    if divisor is None and all(isinstance(v, int) for v in values):
        return int(exact)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
