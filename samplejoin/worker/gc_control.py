"""When Python's garbage collector looks for cycles.

Rows live for milliseconds and state rests as bytes: searching them for cycles cost a tenth of a worker's time and found
none. What does make cycles (tasks, exceptions) is few, and waits for a moment in which little else is under way: a
search looks at every object that was made since the last one, and blocks the event loop for a microsecond with each.
"""

from __future__ import annotations

import gc

#: collect only while at most this many young objects exist
FEW_OBJECTS = 20_000
#: looks after which it is done all the same
MOST_LOOKS = 6


class Collector:
    """Searches for cycles when asked to look, if few objects are there, and at every sixth look in a row."""

    def __init__(self) -> None:
        self._put_off = 0

    def take_over(self) -> None:
        """From now on only `look` searches, and never among what is there already."""
        gc.freeze()
        gc.disable()

    def collect_if_due(self) -> None:
        """Searches now, or puts it off."""
        self._put_off += 1
        if gc.get_count()[0] <= FEW_OBJECTS or self._put_off == MOST_LOOKS:
            self._put_off = 0
            gc.collect(1)
