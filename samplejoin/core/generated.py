"""Fast paths of two plain functions, generated from a `StreamLayout`: `cells.partials_of` and `fold.read_sample`.

They run once per row and once per sample, and their loops over the job's fields cost more than the work inside. A
parity test holds that twin and plain function agree on every plan, and that the twins are the ones in use. Names of
fields go into the generated source by `repr` only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from samplejoin.core import cells
from samplejoin.core.aggregates import Count, Custom, First, Last, Max, Min, Sum
from samplejoin.core.exact_sum import INT_LIMIT
from samplejoin.core.field_paths import source_of
from samplejoin.core.fold import read_sample
from samplejoin.core.json_values import at_rest
from samplejoin.core.spec import Codec, Field, Spec, StreamLayout
from samplejoin.core.user_errors import mistakes
from samplejoin.core.values import Fields

Maker = Callable[[Fields, tuple[int, str, int, int]], list[object]]
Reader = Callable[[bytes, dict[int, list[object]]], Fields]


def maker(plan: StreamLayout, codec: Codec) -> Maker:
    """A function that makes a row's partials: `partials_of` with plan and codec filled in."""
    making, names = maker_source(plan, codec)
    make: Maker = _compiled(f"def make(row, order):\n    get = row.get\n    return {making}\n", "make", names)

    def made(row: Fields, order: tuple[int, str, int, int]) -> list[object]:
        try:
            return make(row, order)
        except mistakes():
            return cells.partials_of(plan, row, order, codec)  # raises again, and names the field

    return made


def maker_source(plan: StreamLayout, codec: Codec) -> tuple[str, Fields]:
    """An expression for a row's partials, in terms of its `get` and `order`, and the names it needs apart from them.

    It raises as `partials_of` does, but does not name the field.
    """
    names: Fields = {"dumps": codec.dumps, "ident": cells.ident, "at_rest": at_rest, "junk_ids": plan.junk_ids}
    values = [_value(i, f, names) for i, f in enumerate(plan.aggregates)]
    id_ = f"ident({source_of(plan.stream.id_field)}, junk_ids)" if plan.stream.id_field else "None"
    first = f"[order, dumps({_row(plan.first_fields)}), {id_}]" if plan.needs_first else "None"
    last = f"[order, dumps({_row(plan.last_fields)})]" if plan.last_fields else "None"
    return f"[{', '.join([first, last, *values])}]", names


class Readers(dict[tuple[int, ...], Reader]):
    """Per set of streams that joined, ascending, a function from key and partials by stream to the sample's fields.

    The fast path of `fold.read_sample`: one dict display instead of a loop. Generated when a set first occurs.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def __missing__(self, joined: tuple[int, ...]) -> Reader:
        read = self[joined] = _reader(self.spec, joined)
        return read


def _reader(spec: Spec, joined: tuple[int, ...]) -> Reader:
    names: Fields = {"loads": spec.codec.loads, "scan": spec.codec.key, "mistakes": mistakes}
    names["plainly"] = partial(read_sample, spec)
    lines = ["values = scan(key)"]
    values: dict[str, str] = {}
    for plan in spec.plans:
        values |= _joined(plan, lines, names) if plan.index in joined else _empty(plan, lines, names)
    items = [f"{name!r}: values[{i}]" for i, name in enumerate(spec.key_names)]
    items += [f"{field.name!r}: {values[field.name]}" for field in spec.fields]
    lines.append(f"return {{{', '.join(items)}}}")
    body = "\n".join(f"        {line}" for line in lines)
    ending = "    except mistakes():\n        return plainly(key, partials)  # raises again, and names the field\n"
    read: Reader = _compiled(f"def read(key, partials):\n    try:\n{body}\n{ending}", "read", names)
    return read


def _joined(plan: StreamLayout, lines: list[str], names: Fields) -> dict[str, str]:
    """Source of the fields of a stream that has joined; `lines` and `names` get what it needs."""
    n = plan.index
    lines.append(f"p{n} = partials[{n}]")
    if plan.first_fields:
        lines.append(f"first{n} = loads(p{n}[0][1])")
    if plan.last_fields:
        lines.append(f"last{n} = loads(p{n}[1][1])")
    values = {f.name: f"first{n}[{i}]" for i, f in enumerate(plan.first_fields)}
    values |= {f.name: f"last{n}[{i}]" for i, f in enumerate(plan.last_fields)}
    for i, name, result in plan.results:
        names[f"result{n}_{i}"] = result
        values[name] = f"p{n}[{i}]" if result is None else f"result{n}_{i}(p{n}[{i}])"
    return values


def _empty(plan: StreamLayout, lines: list[str], names: Fields) -> dict[str, str]:
    """Source of the fields of a stream of which nothing has joined: constants where they can be."""
    n = plan.index
    if plan.empty is None:
        names[f"make_empty{n}"] = plan.make_empty
        lines.append(f"empty{n} = make_empty{n}()")
        return {name: f"empty{n}[{name!r}]" for name in plan.make_empty()}
    return {name: repr(value) for name, value in plan.empty.items()}


def _row(fields: tuple[Field, ...]) -> str:
    return "[" + ", ".join(source_of(str(f.source_field)) for f in fields) + "]"


def _value(i: int, field: Field, names: Fields) -> str:
    """Source of one aggregate's partial; the common case of a number without a call."""
    kind, path = type(field.aggregate), field.source_field
    value = None if path is None else source_of(path)
    if kind is Count:
        return "1" if value is None else f"(0 if {value} is None else 1)"
    names[f"add{i}"], names[f"zero{i}"] = field.aggregate.add, field.aggregate.zero()
    zero = f"zero{i}"
    if kind is Custom:
        names[zero] = field.aggregate.zero
        zero += "()"
    added = f"add{i}({zero}, v, order)"
    if value is None:
        return f"add{i}({zero}, True, order)"
    if kind in (Min, Max, Sum):  # larger integers are packed, or refused
        added = f"v if type(v) is int and -{INT_LIMIT} < v < {INT_LIMIT} else {added}"
    if kind in (First, Last):
        added = "[order, at_rest(v)]"
    return f"({zero} if (v := {value}) is None else {added})"


def _compiled(source: str, name: str, names: Fields) -> Any:
    exec(compile(source, f"<samplejoin: {name}>", "exec"), names)  # the source consists of our text and of reprs only
    return names[name]
