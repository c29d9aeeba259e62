"""Turns rows into cells: partial results per (key, stream, slice) that merge in any order (rules 2 and 11).

A cell on the wire is `(key, stream, slice, low, high, rows, partials)`. The source offsets of its rows lie between
`low` and `high`, both included. In a key's state it is `[stream, slice, rows, partials]`. The stream's `StreamLayout`
defines the order of the partials. A cell on the wire can hold, in place of the partials, the whole cell of the state,
packed by the job's codec. Most cells are the only one of their key and are not unpacked until its window closes.
"""

from __future__ import annotations

from typing import Any, Final

from samplejoin.core.field_paths import value_at
from samplejoin.core.json_values import kept
from samplejoin.core.spec import Codec, Field, Spec, StreamLayout
from samplejoin.core.user_errors import mistakes, not_for_memory, said
from samplejoin.core.value_order import canonical
from samplejoin.core.values import Fields, Partials, Value

WireCell = tuple[bytes, int, int, int, int, int, Any]
Cell = list[Any]

KeyState = list[Any]
Id = str | int | bytes

#: positions in a `WireCell`
WIRE_KEY: Final = 0
WIRE_STREAM: Final = 1
WIRE_SLICE: Final = 2
WIRE_LOW: Final = 3
WIRE_HIGH: Final = 4
WIRE_PARTIALS: Final = 6
#: positions in a `Cell`
STREAM, SLICE, ROWS, PARTIALS = range(4)
#: a late label cell that waits for an anchor has one more element, the place it was read from: `[source, offset]`
MARK = 4
#: positions in a key's state; for a large key, CELLS is None and BODY is not
CELLS, BODY, CLOSED = range(3)


def partials_of(plan: StreamLayout, row: Fields, order: tuple[int, str, int, int], codec: Codec) -> Partials:
    """Returns the partials of a single row. Raises TypeError or ValueError that names the field of a refused value."""
    first = last = None
    if plan.needs_first:
        first = [order, _payload(plan.first_fields, row, codec), _id(plan, row)]
    if plan.last_fields:
        last = [order, _payload(plan.last_fields, row, codec)]
    partials = [first, last]
    for field in plan.aggregates:
        aggregate = field.aggregate
        value = True if field.source_field is None else value_at(row, field.source_field)
        try:
            partials.append(aggregate.zero() if value is None else aggregate.add(aggregate.zero(), value, order))
        except mistakes() as error:  # the aggregate can be the user's code
            raise of_field(field, error) from error
    return partials


def _payload(fields: tuple[Field, ...], row: Fields, codec: Codec) -> bytes:
    values = [value_at(row, str(field.source_field)) for field in fields]
    try:
        return codec.dumps(values)
    except (TypeError, ValueError):
        for field, value in zip(fields, values, strict=True):
            try:
                codec.dumps([value])
            except (TypeError, ValueError) as error:
                raise of_field(field, error) from error
        raise


def _id(plan: StreamLayout, row: Fields) -> Id | None:
    name = plan.stream.id_field
    try:
        return ident(value_at(row, name), plan.junk_ids) if name else None
    except (TypeError, ValueError) as error:
        raise type(error)(f"id {name}: {error}") from error


def ident(value: Value, junk: frozenset[Any]) -> Id | None:
    """Returns a row's id in a form that can be compared and kept: text and integers unchanged, other data as bytes.

    Bytes keep 1.5 apart from "1.5", and true from "True": ids are equal only if their values and types are (rule 7).
    Returns None for null, NaN and the values of `junk`, which are not ids (rule 7). Raises like `json_values.kept`.
    """
    if value is None:
        return None
    kind = type(value)
    if kind is str or kind is int or kind is float:
        if value in junk or value != value:
            return None
        kept(value)
        return canonical(value).encode() if kind is float else value
    return canonical(kept(value)).encode()


def of_field(field: Field, error: BaseException) -> TypeError | ValueError:
    """Returns an error of an aggregate or a codec with the name of its field. Raises MemoryError if it is one."""
    not_for_memory(error, f"field {field.name}")
    kind = TypeError if issubclass(type(error), TypeError) else ValueError
    source = field.stream if field.source_field is None else f"{field.stream}.{field.source_field}"
    text = str(error) if type(error) is kind else said(error)
    return kind(f"field {field.name} (from {source}): {text}")


def merge_partials(plan: StreamLayout, a: Partials, b: Partials) -> Partials:
    """Returns the partials of the rows of both. Raises TypeError or ValueError that names the field."""
    first, last = a[0], a[1]
    if first is not None and tuple(b[0][0]) < tuple(first[0]):
        first = b[0]
    if last is not None and tuple(b[1][0]) > tuple(last[0]):
        last = b[1]
    merged = [first, last]
    for i, field in enumerate(plan.aggregates, 2):
        try:
            merged.append(field.aggregate.merge(a[i], b[i]))
        except mistakes() as error:  # the user's aggregate, or values of several kinds
            raise of_field(field, error) from error
    return merged


def combine(spec: Spec, cells: list[WireCell], above: int) -> list[WireCell]:
    """Combines cells of the same key, stream and slice, except those of `single` streams or not above offset `above`.

    Rows that an earlier owner of the source may have sent stay apart, so that each has its own offset (rule 7). Packed
    cells are unpacked only to be combined.
    """
    if len({cell[:3] for cell in cells}) == len(cells):  # nothing to combine
        return cells
    merged: dict[tuple[bytes, int, int], WireCell] = {}
    apart: list[WireCell] = []
    for cell in cells:
        key, stream, slice_, low, high, rows, _ = cell
        plan = spec.plans[stream]
        if plan.single or low <= above:
            apart.append(cell)
            continue
        name = (key, stream, slice_)
        known = merged.get(name)
        if known is not None:
            try:
                both = merge_partials(plan, _partials(spec, known), _partials(spec, cell))
            except mistakes():  # a user's aggregate failed: finishing the sample reports it (rule 12)
                apart.append(cell)
                continue
            _, _, _, known_low, known_high, known_rows, _ = known
            cell = (key, stream, slice_, min(low, known_low), max(high, known_high), rows + known_rows, both)
        merged[name] = cell
    return apart + list(merged.values())


def _partials(spec: Spec, cell: WireCell) -> Partials:
    waiting = cell[WIRE_PARTIALS]
    partials: Partials = spec.codec.loads(waiting)[PARTIALS] if type(waiting) is bytes else waiting
    return partials


def insert(plans: tuple[StreamLayout, ...], cells: list[Cell], cell: Cell) -> int:
    """Merges a cell into a key's list of cells. Returns the number of rows of the cell that it is now part of."""
    stream, slice_ = cell[STREAM], cell[SLICE]
    plan = plans[stream]
    if not plan.single and len(cell) == MARK:
        for known in cells:
            if known[STREAM] == stream and known[SLICE] == slice_ and len(known) == MARK:
                try:
                    known[PARTIALS] = merge_partials(plan, known[PARTIALS], cell[PARTIALS])
                except mistakes():  # a user's aggregate failed: kept apart, finishing the sample reports it (rule 12)
                    continue
                known[ROWS] = rows = known[ROWS] + cell[ROWS]
                return int(rows)
    cells.append(cell)
    return int(cell[ROWS])


def unmarked(cell: Cell) -> Cell:
    """Returns the cell without its mark."""
    return cell if len(cell) == MARK else cell[:MARK]


def order_of(cell: Cell) -> tuple[Any, ...]:
    """Returns the order of a cell's first row, `(event time in ms, source, offset, index)`. Its plan must keep it."""
    return tuple(cell[PARTIALS][0][0])
