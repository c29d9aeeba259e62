"""Named places where a test makes a worker die at once, as a crash of its machine would, freezes it, or has it fail.

`SAMPLEJOIN_TEST_FAILPOINTS=commit-sent:3,recovery-read` kills the process (SIGKILL) when it reaches `commit-sent` for
the third time, or `recovery-read` for the first. `commit-sent:3:stop` freezes it there (SIGSTOP), `commit-sent:3:raise`
raises, and `block-begin:1:hold` keeps that task there for ever while the rest of the worker goes on. Nothing is armed
without it, nor without the second switch, SAMPLEJOIN_TEST_ALLOW_FAILPOINTS=1.
"""

from __future__ import annotations

import asyncio
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
    "block-begin": "a block or tick is about to be sent to the repartition topic",
    "block-sent": "a block is on its way to the repartition topic",
    "offsets-begin": "sources are acknowledged, their offsets not yet committed",
    "offsets-done": "their offsets are committed, this worker does not know it yet",
    "assigned": "a new assignment has come",
    "revoked": "partitions are being given back",
}
#: those where a task can be held
HOLDING = frozenset({"block-begin"})
_POINT = re.compile(r"(?P<place>[a-z-]+)(:(?P<times>\d+))?(:(?P<how>stop|raise|hold))?")
_HOW = {None: signal.SIGKILL, "stop": signal.SIGSTOP}
#: place -> how often it is still to be reached, and the signal then sent, `raise` or `hold`
_armed: dict[str, tuple[int, signal.Signals | str]] = {}


class FailpointError(RuntimeError):
    """A place that a test has armed with `raise` was reached."""


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
    """Nothing is armed any more."""
    _armed.clear()


def armed() -> str:
    """The places that are armed, for the log; empty in production."""
    return ", ".join(_armed)


def reached(place: str) -> None:
    """Dies, freezes or raises FailpointError here if that was asked for."""
    if _armed and place in _armed:
        _act(place)


async def passed(place: str) -> None:
    """As `reached`; with `hold` it never returns."""
    if _armed and place in _armed and _act(place):
        await asyncio.get_running_loop().create_future()


def _act(place: str) -> bool:
    """Does what was asked for at `place`, if it is its turn; whether the task is to be held."""
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
