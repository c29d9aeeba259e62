"""Named places where a test makes a worker die at once, as a crash of its machine would, or freezes it.

`SAMPLEJOIN_TEST_FAILPOINTS=commit-sent:3,recovery-read` kills the process (SIGKILL) when it reaches `commit-sent` for
the third time, or `recovery-read` for the first; `commit-sent:3:stop` freezes it there (SIGSTOP). Nothing is armed
without it.
"""

from __future__ import annotations

import logging
import os
import re
import signal

log = logging.getLogger(__name__)

PLACES = {
    "commit-begin": "a commit is complete, nothing of it sent",
    "commit-samples": "its samples are on their way, its state change is not",
    "commit-sent": "all of it is acknowledged, the transaction is not committed",
    "commit-done": "Kafka has committed it, RocksDB does not have it",
    "commit-stored": "RocksDB has it too",
    "recovery-fenced": "earlier owners are fenced, the changelog's end is not yet read",
    "recovery-read": "part of the changelog is replayed",
    "recovery-swept": "recovered and swept, nothing read yet",
    "block-sent": "a block is on its way to the repartition topic",
    "offsets-begin": "sources are acknowledged, their offsets not yet committed",
    "offsets-done": "their offsets are committed, this worker does not know it yet",
    "assigned": "a new assignment has come",
    "revoked": "partitions are being given back",
}
_POINT = re.compile(r"(?P<place>[a-z-]+)(:(?P<times>\d+))?(?P<stop>:stop)?")
_armed: dict[str, tuple[int, signal.Signals]] = {}


def arm(points: str) -> None:
    """Arms places from text like `commit-sent:3,recovery-read`. Raises ValueError for a place that there is not."""
    for point in filter(None, points.split(",")):
        match = _POINT.fullmatch(point.strip())
        if match is None or match["place"] not in PLACES:
            raise ValueError(
                f"failpoint {point!r}: one of {', '.join(PLACES)}, with :N for the Nth time, :stop to freeze"
            )
        _armed[match["place"]] = int(match["times"] or 1), signal.SIGSTOP if match["stop"] else signal.SIGKILL
    if _armed:
        log.warning("failpoints are armed, this worker will die or freeze: %s", points)


def reached(place: str) -> None:
    """Dies or freezes here if that was asked for."""
    if not _armed or place not in _armed:
        return
    times, number = _armed.pop(place)
    if times > 1:
        _armed[place] = times - 1, number
    else:
        os.kill(os.getpid(), number)
