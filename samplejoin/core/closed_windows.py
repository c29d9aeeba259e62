"""Records of the closed windows of a small key, which are kept to correct their samples (rule 5).

A record is a list `[slice, order, end, revision, weight, dirty]`. Slice and order are those of the first anchor.
Revision and weight are those of the last sample that was sent. `dirty` is whether a label has joined since.
"""

from __future__ import annotations

from typing import Any

from samplejoin.core.fold import Window

SLICE, ORDER, END, REVISION, WEIGHT, DIRTY = range(6)


def closed_window(window: Window, weight: float) -> list[object]:
    """Returns the record of a window that closes. `weight` is that of its first sample, 0 if none was sent."""
    return [window.slice, list(window.first[0]), window.end, 0, weight, False]


def find(closed: list[list[Any]], window: Window) -> list[Any] | None:
    """Returns the record of a window, or None if it has not been closed."""
    order = list(window.first[0])
    return next((each for each in closed if each[SLICE] == window.slice and list(each[ORDER]) == order), None)


def revise(known: list[Any], weight: float) -> None:
    """Records another revision. With weight 0 it was not sent, and the weight of the one before stays."""
    known[REVISION:] = [known[REVISION] + 1, weight or known[WEIGHT], False]
