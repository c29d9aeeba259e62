"""Detects offsets that somebody moved back. Their records are read and skipped again, which changes nothing; a warning
says so."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from samplejoin.core.messages import Block, Entry, Source
from samplejoin.engine.meters import Meters

log = logging.getLogger(__name__)


class Rewinds:
    """Finds sources that are read again from further back than any crash explains.

    A new owner starts less than `max_in_flight` records below what was merged, since nothing is sent further than that
    beyond the committed offset (docs/architecture.md).
    """

    def __init__(self, max_in_flight: int, meters: Meters) -> None:
        self._max_in_flight, self._meters = max_in_flight, meters
        self._said: set[Source] = set()
        #: per source the latest group generation that sent an entry: entries of a paused former owner do not count
        self._generations: dict[Source, int] = {}

    def count(self, entry: Entry, covered: Mapping[Source, int]) -> None:
        """Counts an entry, before it is stepped, that lies too far back; `covered` is the partition's H."""
        for each in (entry,) if isinstance(entry, Block) else entry.entries:
            if each.generation < self._generations.setdefault(each.source, each.generation):
                continue
            self._generations[each.source] = each.generation
            behind = covered.get(each.source, -1) - each.upto
            if behind <= self._max_in_flight:
                self._said.discard(each.source)
                continue
            self._meters.add("rewound_entries", (each.source,))
            if each.source not in self._said:
                self._said.add(each.source)
                log.warning(
                    "source %s is read again from %d records back, but those were joined: they are skipped, no sample "
                    "comes again. To join them again, run `samplejoin reset`: moving offsets alone does nothing",
                    each.source,
                    behind,
                )
