"""Cells and states that no worker packed become dead letters: each would else stop its partition for good (rule 12).

Data is examined only after it failed, so well-formed data costs nothing.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from samplejoin.core.cells import BODY, CELLS, CLOSED, PARTIALS, ROWS, STREAM, WireCell
from samplejoin.core.outcomes import DeadSample, Outcomes
from samplejoin.core.spec import Spec
from samplejoin.core.user_errors import said
from samplejoin.core.values import Value

if TYPE_CHECKING:
    from samplejoin.core.partition import Partition


def drop_cell(partition: Partition, wire: WireCell, error: Exception, out: Outcomes) -> bool:
    """Handles `error` from merging a cell. Returns True to try again, after a damaged state of its key was dropped.

    Raises the error if both are well formed.
    """
    key, stream, slice_, _, _, rows, partials = wire
    cell = _opened(partition.spec, partials) if type(partials) is bytes else [stream, slice_, rows, partials]
    if not 0 <= stream < len(partition.spec.plans) or not _is_cell(partition.spec, cell):
        _letter(key, "a cell", partials, error, out)
        return False
    mend_key(partition, key, error, out)
    return True


def mend_key(partition: Partition, key: bytes, error: Exception, out: Outcomes) -> None:
    """Handles `error` from closing a key: drops the damaged part of its state. Raises the error if nothing is damaged.

    The rest is due at once.
    """
    spec, kept = partition.spec, partition.keys.get(key)
    state = _opened(spec, kept)
    if kept is None or isinstance(error, MemoryError) or _is_state(spec, state):
        raise error
    _letter(key, "the state", kept, error, out)
    partition.changed[key] = None
    sound = [cell for cell in state[CELLS] if _is_cell(spec, cell)] if _has_cells(state) else []
    if sound:
        partition.keys[key] = [sound, None, [each for each in _closed_of(state) if _is_closed(each)]]
        partition.deadlines.add(partition.clock.slice, key)
    else:
        del partition.keys[key]


def _letter(key: bytes, what: str, value: Value, error: Exception, out: Outcomes) -> None:
    words = f"{what} of this key is not as workers pack it: {said(error)}"
    payload = value if type(value) is bytes else repr(value).encode()
    out.dead.append(DeadSample(key, "", 0, "damaged", words, traceback.format_exc(limit=-4), {}, payload))


def _opened(spec: Spec, value: Value) -> Any:
    """None if it cannot be."""
    try:
        return spec.codec.loads(value) if type(value) is bytes else value
    except Exception:
        return None


def _is_state(spec: Spec, state: Any) -> bool:
    if type(state) is list and len(state) == 2 and state[CELLS] is None:  # of a large key
        return type(state[BODY]) is list
    return (
        _has_cells(state)
        and all(_is_cell(spec, cell) for cell in state[CELLS])
        and type(state[CLOSED]) is list
        and all(map(_is_closed, state[CLOSED]))
    )


def _has_cells(state: Any) -> bool:
    return type(state) is list and len(state) == 3 and type(state[CELLS]) is list and state[BODY] is None


def _closed_of(state: Any) -> list[Any]:
    return state[CLOSED] if type(state[CLOSED]) is list else []


def _is_closed(record: Any) -> bool:
    return type(record) is list and len(record) == 6


def _is_cell(spec: Spec, cell: Any) -> bool:
    if type(cell) is not list or len(cell) <= PARTIALS or any(type(n) is not int for n in cell[:PARTIALS]):
        return False
    if not 0 <= cell[STREAM] < len(spec.plans) or cell[ROWS] < 1 or type(cell[PARTIALS]) is not list:
        return False
    plan, partials = spec.plans[cell[STREAM]], cell[PARTIALS]
    if len(partials) != 2 + len(plan.aggregates):
        return False
    return all(
        partial is None or (type(partial) is list and len(partial) >= 2 and type(partial[0]) in (list, tuple))
        for partial in partials[:2]
    ) and (partials[0] is not None or not plan.needs_first)
