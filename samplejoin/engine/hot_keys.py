"""Keys that hold a large share of the events: found while combining, shown in the status line (rule 11).

A key names a user. So it is shown by a hash; at level debug the log says which key that is.
"""

from __future__ import annotations

import hashlib
import logging

from samplejoin.core.cells import WireCell

log = logging.getLogger(__name__)

#: rows of one key in one combined cell from which on it is looked at: 2 % of a run
ROWS = 40
KEEP = 50


class HotKeys:
    """Rows of hot keys, halved at every look, so that a key that cools down is forgotten."""

    def __init__(self) -> None:
        self._rows: dict[bytes, float] = {}
        self._all = 0.0

    def count(self, cells: list[WireCell], rows: int) -> None:
        """Counts combined cells of a run of `rows` rows."""
        self._all += rows
        if len(cells) == rows:  # nothing was combined
            return
        for key, _, _, _, _, rows_of_cell, _ in cells:
            if rows_of_cell >= ROWS:
                self._rows[key] = self._rows.get(key, 0.0) + rows_of_cell

    def shares(self, least: float = 0.02) -> list[tuple[str, float]]:
        """Keys, by their hash, with their share of the rows since lately, the largest first."""
        found = [(key, rows / self._all) for key, rows in self._rows.items() if rows >= least * self._all]
        self._rows = dict(sorted(((k, r / 2) for k, r in self._rows.items()), key=lambda kr: -kr[1])[:KEEP])
        self._all /= 2
        return [(_hashed(key), share) for key, share in sorted(found, key=lambda ks: -ks[1])]


def _hashed(key: bytes) -> str:
    hashed = hashlib.blake2b(key, digest_size=6).hexdigest()
    log.debug("hot key %s is %s", hashed, key.decode("utf-8", "replace"))
    return hashed
