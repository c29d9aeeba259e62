"""Controls when Python's garbage collector searches for cycles.

Rows live for milliseconds and state is kept as bytes: searching them for cycles cost a tenth of a worker's time and
found none. Tasks and exceptions do make cycles, but few. The search for those waits until few objects exist, because it
looks at every object made since the last search and blocks the event loop for about a microsecond with each.
"""

from __future__ import annotations

import gc

#: collect only while at most this many young objects exist
FEW_OBJECTS = 20_000
#: calls after which a search runs even with more objects
MOST_LOOKS = 6


class Collector:
    """Searches for cycles when called, if few young objects exist, and at every sixth call in any case."""

    def __init__(self) -> None:
        self._put_off = 0

    def take_over(self) -> None:
        """Disables Python's own searches, and excludes all objects that exist now from later ones."""
        gc.freeze()
        gc.disable()

    def collect_if_due(self) -> None:
        """Searches for cycles now, or postpones the search to a later call."""
        self._put_off += 1
        if gc.get_count()[0] <= FEW_OBJECTS or self._put_off == MOST_LOOKS:
            self._put_off = 0
            gc.collect(1)
