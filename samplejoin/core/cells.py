"""Rows become cells: mergeable partial results per (key, stream, slice), so that order never matters (rules 2 and 11).

A cell on the wire is `(key, stream, slice, low, high, rows, partials)`: the source offsets it was made of lie in
low..high. In a key's state it is `[stream, slice, rows, partials]`. The stream's `StreamLayout` lays the partials out.
In place of the partials a cell on the wire can have the whole cell of the state, packed by the job's codec: most are
alone for their key, and are first looked into when its window closes.
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

#: places of a `WireCell`
WIRE_KEY: Final = 0
WIRE_STREAM: Final = 1
WIRE_SLICE: Final = 2
WIRE_LOW: Final = 3
WIRE_HIGH: Final = 4
WIRE_PARTIALS: Final = 6
#: places of a `Cell`
STREAM, SLICE, ROWS, PARTIALS = range(4)
#: a label cell that came late and waits for an anchor has one element more, where it came from: `[source, offset]`
MARK = 4
#: of a key's state; of a large key's CELLS is None and BODY is not
CELLS, BODY, CLOSED = range(3)


def partials_of(plan: StreamLayout, row: Fields, order: tuple[int, str, int, int], codec: Codec) -> Partials:
    """The partials of a single row. Raises TypeError or ValueError, naming the field, on a value it cannot take."""
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
        except mistakes() as error:  # an aggregate can be the user's code
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
    """A row's id as something that can be compared and kept: text and integers as they are, other data as bytes.

    Bytes, for 1.5 is not "1.5", nor true "True": ids are equal only if their values and types are (rule 7).
    None where it says that there is none: null, NaN or one of `junk` (rule 7). Raises as `json_values.kept`.
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
    """What an aggregate or a codec has raised, with the field it was about."""
    not_for_memory(error, f"field {field.name}")
    kind = TypeError if issubclass(type(error), TypeError) else ValueError
    source = field.stream if field.source_field is None else f"{field.stream}.{field.source_field}"
    text = str(error) if type(error) is kind else said(error)
    return kind(f"field {field.name} (from {source}): {text}")


def merge_partials(plan: StreamLayout, a: Partials, b: Partials) -> Partials:
    """The partials of both sets of rows. Raises TypeError or ValueError, naming the field, as an aggregate does."""
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
    """Cells with the same key, stream and slice become one, except single rows and rows at or below offset `above`.

    Rows that an earlier owner of the source may have sent stay apart, each told by its own offset (rule 7). Packed
    cells are opened only to be combined.
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
            except mistakes():  # a user's aggregate: its sample will say so (rule 12)
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
    """Merges a cell into a key's list; returns the rows of the cell that it is part of now."""
    stream, slice_ = cell[STREAM], cell[SLICE]
    plan = plans[stream]
    if not plan.single and len(cell) == MARK:
        for known in cells:
            if known[STREAM] == stream and known[SLICE] == slice_ and len(known) == MARK:
                try:
                    known[PARTIALS] = merge_partials(plan, known[PARTIALS], cell[PARTIALS])
                except mistakes():  # a user's aggregate: kept apart, its sample will say so (rule 12)
                    continue
                known[ROWS] = rows = known[ROWS] + cell[ROWS]
                return int(rows)
    cells.append(cell)
    return int(cell[ROWS])


def unmarked(cell: Cell) -> Cell:
    """The cell without its mark."""
    return cell if len(cell) == MARK else cell[:MARK]


def order_of(cell: Cell) -> tuple[Any, ...]:
    """The (event time, source) of a cell's first row; only of cells whose plan keeps it."""
    return tuple(cell[PARTIALS][0][0])
