"""What is remembered of the windows of a small key that have gone out, to correct them (rule 5).

One list per window: `[slice, order, end, revision, weight, dirty]`. Slice and order are those of its first anchor,
revision and weight of what went out last, dirty says that a label has joined since.
"""

from __future__ import annotations

from typing import Any

from samplejoin.core.fold import Window

SLICE, ORDER, END, REVISION, WEIGHT, DIRTY = range(6)


def closed_window(window: Window, weight: float) -> list[object]:
    """What to remember of a window whose first sample goes out; weight 0: nothing went out."""
    return [window.slice, list(window.first[0]), window.end, 0, weight, False]


def find(closed: list[list[Any]], window: Window) -> list[Any] | None:
    """What is remembered of a window, None if it has not gone out."""
    order = list(window.first[0])
    return next((each for each in closed if each[SLICE] == window.slice and list(each[ORDER]) == order), None)


def revise(known: list[Any], weight: float) -> None:
    """Another revision has gone out; with weight 0 it has not, and what stands is the one before."""
    known[REVISION:] = [known[REVISION] + 1, weight or known[WEIGHT], False]
