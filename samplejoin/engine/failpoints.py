"""Named places where a test makes a worker die at once, as a crash of its machine would, freezes it, or has it fail.

`SAMPLEJOIN_TEST_FAILPOINTS=commit-sent:3,recovery-read` kills the process (SIGKILL) when it reaches `commit-sent` for
the third time, or `recovery-read` for the first; `commit-sent:3:stop` freezes it there (SIGSTOP), `commit-sent:3:raise`
raises. Nothing is armed without it, nor without the second switch, SAMPLEJOIN_TEST_ALLOW_FAILPOINTS=1.
"""

from __future__ import annotations

import logging
import os
import re
import signal

log = logging.getLogger(__name__)

COMMIT = {
    "commit-taken": "what has changed is taken for a commit, nothing of it is packed",
    "commit-begin": "a commit is complete, nothing of it sent",
    "commit-samples": "its samples are on their way, its state change is not",
    "commit-sent": "all of it is acknowledged, the transaction is not committed",
    "commit-done": "Kafka has committed it, RocksDB does not have it",
    "commit-storing": "the replica stands behind it, RocksDB does not have it",
    "commit-stored": "RocksDB has it too",
}
STOP = {
    "stop-begin": "the worker is to stop, nothing more is fetched",
    "stop-sent": "what was fetched is sent and acknowledged",
    "join-ending": "a join partition is to end, its last commit has not begun",
    "join-ended": "its last commit is done, its producer and its store are open",
    "stop-joined": "all join partitions have ended",
    "stop-left": "the group is left, producers still run",
}
PLACES = {
    **COMMIT,
    **STOP,
    "recovery-fenced": "earlier owners are fenced, the changelog's end is not yet read",
    "recovery-read": "part of the changelog is replayed",
    "recovery-swept": "recovered and swept, nothing read yet",
    "block-sent": "a block is on its way to the repartition topic",
    "offsets-begin": "sources are acknowledged, their offsets not yet committed",
    "offsets-done": "their offsets are committed, this worker does not know it yet",
    "assigned": "a new assignment has come",
    "revoked": "partitions are being given back",
}
_POINT = re.compile(r"(?P<place>[a-z-]+)(:(?P<times>\d+))?(:(?P<how>stop|raise))?")
_HOW = {None: signal.SIGKILL, "stop": signal.SIGSTOP, "raise": None}
#: place -> how often it is still to be reached, and the signal then sent (None: it raises)
_armed: dict[str, tuple[int, signal.Signals | None]] = {}


class FailpointError(RuntimeError):
    """A place that a test has armed with `raise` was reached."""


def arm(points: str) -> None:
    """Arms places from text like `commit-sent:3,recovery-read:raise`. Raises ValueError for a place not in PLACES."""
    for point in filter(None, points.split(",")):
        match = _POINT.fullmatch(point.strip())
        if match is None or match["place"] not in PLACES:
            raise ValueError(
                f"failpoint {point!r}: one of {', '.join(PLACES)}, with :N for the Nth time, :stop to freeze, "
                ":raise to raise"
            )
        _armed[match["place"]] = int(match["times"] or 1), _HOW[match["how"]]


def disarm() -> None:
    """Nothing is armed any more."""
    _armed.clear()


def armed() -> str:
    """The places that are armed, for the log; empty in production."""
    return ", ".join(_armed)


def reached(place: str) -> None:
    """Dies, freezes or raises FailpointError here if that was asked for."""
    if not _armed or place not in _armed:
        return
    times, number = _armed.pop(place)
    if times > 1:
        _armed[place] = times - 1, number
    elif number is None:
        log.warning("failpoint %s raises", place)
        raise FailpointError(f"failpoint {place}")
    else:
        os.kill(os.getpid(), number)
