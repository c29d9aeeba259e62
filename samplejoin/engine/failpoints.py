"""Named places where a test kills a worker at once, as a crash of its machine would, freezes it, or makes it fail.

`SAMPLEJOIN_TEST_FAILPOINTS=commit-sent:3,recovery-read` kills the process (SIGKILL) when it reaches `commit-sent` for
the third time, or `recovery-read` for the first. `commit-sent:3:stop` freezes it there (SIGSTOP), `commit-sent:3:raise`
raises, and `block-begin:1:hold` holds that task there for ever while the rest of the worker goes on. Failpoints are
armed only if SAMPLEJOIN_TEST_ALLOW_FAILPOINTS=1 is set too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal

log = logging.getLogger(__name__)

COMMIT = {
    "commit-taken": "the changes are taken for a commit, nothing of it is packed",
    "commit-begin": "a commit is complete, nothing of it sent",
    "commit-samples": "its samples are on their way, its state change is not",
    "commit-sent": "all of it is acknowledged, the transaction is not committed",
    "commit-done": "Kafka has committed it, RocksDB does not have it",
    "commit-storing": "the replica's position is after it, RocksDB does not have it",
    "commit-stored": "RocksDB has it too",
}
STOP = {
    "stop-begin": "the worker is stopping, nothing more is fetched",
    "stop-sent": "what was fetched is sent and acknowledged",
    "join-ending": "a join partition is ending, its last commit has not begun",
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
    "block-begin": "a block or tick is about to be sent to the repartition topic",
    "block-sent": "a block is on its way to the repartition topic",
    "offsets-begin": "sources are acknowledged, their offsets not yet committed",
    "offsets-done": "their offsets are committed, this worker does not know it yet",
    "assigned": "a new assignment has come",
    "revoked": "partitions are being given back",
}
#: places where a task can be held
HOLDING = frozenset({"block-begin"})
_POINT = re.compile(r"(?P<place>[a-z-]+)(:(?P<times>\d+))?(:(?P<how>stop|raise|hold))?")
_HOW = {None: signal.SIGKILL, "stop": signal.SIGSTOP}
#: place -> (how often it is still to be reached, the signal to send then, or `raise` or `hold`)
_armed: dict[str, tuple[int, signal.Signals | str]] = {}


class FailpointError(RuntimeError):
    """The worker reached a place that a test has armed with `raise`."""


def arm(points: str) -> None:
    """Arms places from text like `commit-sent:3,recovery-read:raise`. Raises ValueError for a place not in PLACES."""
    for point in filter(None, points.split(",")):
        match = _POINT.fullmatch(point.strip())
        if match is None or match["place"] not in PLACES or (match["how"] == "hold" and match["place"] not in HOLDING):
            raise ValueError(
                f"failpoint {point!r}: one of {', '.join(PLACES)}, with :N for the Nth time, :stop to freeze, "
                ":raise to raise, :hold to wait for ever (block-begin only)"
            )
        _armed[match["place"]] = int(match["times"] or 1), _HOW.get(match["how"], match["how"])


def disarm() -> None:
    """Disarms all places."""
    _armed.clear()


def armed() -> str:
    """Returns the armed places, for the log; empty in production."""
    return ", ".join(_armed)


def reached(place: str) -> None:
    """Kills or freezes the process, or raises FailpointError, if `place` is armed for it."""
    if _armed and place in _armed:
        _act(place)


async def passed(place: str) -> None:
    """As `reached`; never returns if `place` is armed with `hold`."""
    if _armed and place in _armed and _act(place):
        await asyncio.get_running_loop().create_future()


def _act(place: str) -> bool:
    """Performs the action of an armed place if its turn has come; returns whether to hold the task."""
    times, how = _armed.pop(place)
    if times > 1:
        _armed[place] = times - 1, how
        return False
    if how == "raise":
        log.warning("failpoint %s raises", place)
        raise FailpointError(f"failpoint {place}")
    if isinstance(how, signal.Signals):
        os.kill(os.getpid(), how)
    return how == "hold"
