"""Finds keys with a large share of the events while cells are combined, for the status line (rule 11).

A key can identify a user, so it is shown as a hash; at level debug the log says which key that is.
"""

from __future__ import annotations

import hashlib
import logging

from samplejoin.core.cells import WireCell

log = logging.getLogger(__name__)

#: the least rows of a combined cell for its key to be counted: 2 % of a run
ROWS = 40
KEEP = 50


class HotKeys:
    """Counts rows of hot keys. Every call of `shares` halves the counts, so that keys that cool down are forgotten."""

    def __init__(self) -> None:
        self._rows: dict[bytes, float] = {}
        self._all = 0.0

    def count(self, cells: list[WireCell], rows: int) -> None:
        """Counts the combined cells of a run of `rows` rows."""
        self._all += rows
        if len(cells) == rows:  # nothing was combined
            return
        for key, _, _, _, _, rows_of_cell, _ in cells:
            if rows_of_cell >= ROWS:
                self._rows[key] = self._rows.get(key, 0.0) + rows_of_cell

    def shares(self, least: float = 0.02) -> list[tuple[str, float]]:
        """Returns [(hash of the key, share of the recent rows)] for shares from `least` on, the largest first."""
        found = [(key, rows / self._all) for key, rows in self._rows.items() if rows >= least * self._all]
        self._rows = dict(sorted(((k, r / 2) for k, r in self._rows.items()), key=lambda kr: -kr[1])[:KEEP])
        self._all /= 2
        return [(_hashed(key), share) for key, share in sorted(found, key=lambda ks: -ks[1])]


def _hashed(key: bytes) -> str:
    hashed = hashlib.blake2b(key, digest_size=6).hexdigest()
    log.debug("hot key %s is %s", hashed, key.decode("utf-8", "replace"))
    return hashed
