"""Faults of workers and brokers, by name. Each disturbs a `Stage`, restores what must be restored, and returns."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import NamedTuple

from samplejoin.engine.failpoints import STOP
from tests.chaos import disks
from tests.chaos.brokers import pause
from tests.chaos.stage import SESSION_TIMEOUT_S, Actor, Stage

Harm = Callable[[Stage, random.Random], None]
MOST_WORKERS = 4
FAILPOINT_S = 20.0
OF_A_REBALANCE = ("assigned", "revoked", "recovery-fenced", "recovery-read", "recovery-swept")
#: what a worker reaches once, or not soon again
RARE = (*OF_A_REBALANCE, *STOP)


class Fault(NamedTuple):
    """`brokers`: the sizes of cluster it makes sense on; `weight`: how often it is drawn; `needs`: see `Stage`."""

    harm: Harm
    brokers: tuple[int, ...] = (1,)
    weight: int = 2
    needs: str = ""


# ---- workers that die ------------------------------------------------------------------------------------------------


def kill(stage: Stage, r: random.Random) -> None:
    """SIGKILL; back at once, or after a while, on the same disk."""
    worker = stage.some(r)
    stage.kill(worker)
    pause(r.choice((0.0, 0.0, 1.0, SESSION_TIMEOUT_S + 1)))
    stage.restart(worker)


def kill_twice(stage: Stage, r: random.Random) -> None:
    """Killed again while it starts or recovers."""
    worker = stage.some(r)
    for wait_s in (r.uniform(1.0, 3.0), r.uniform(1.5, 4.0)):
        stage.kill(worker)
        stage.restart(worker)
        pause(wait_s)


def kill_all(stage: Stage, r: random.Random) -> None:
    """Every worker at once."""
    running = [w for w in stage.workers.values() if w.alive]
    for worker in running:
        stage.kill(worker)
    for worker in running:
        stage.restart(worker)


def empty_disk(stage: Stage, r: random.Random) -> None:
    """Killed, and its disk is gone."""
    worker = stage.some(r)
    stage.kill(worker)
    stage.replace_state(worker, None)
    stage.restart(worker)


def older_disk(stage: Stage, r: random.Random) -> None:
    """Killed, and it comes back with a copy of its own or another worker's disk that was taken a while ago."""
    worker = stage.some(r)
    stage.kill(worker)
    older = r.choice(stage.copies) if stage.copies else None
    stage.copy_state(worker)
    if older is not None:
        stage.replace_state(worker, older)
    stage.restart(worker)


def failpoint(stage: Stage, r: random.Random) -> None:
    """Killed at an exact place in the code; `places` of the stage says which come next."""
    worker = stage.some(r)
    place = next(stage.places)
    times = 1 if place in RARE else r.randint(1, 20 if place == "block-sent" else 4)
    stage.kill(worker)
    stage.restart(worker, f"{place}:{times}")
    if _has_reached(stage, worker, place, stage.wait_died):
        stage.counts["kills"] += 1
        stage.counts[f"failpoint {place}"] += 1
    else:
        stage.notes.append(f"failpoint {place}:{times} was not reached")
        stage.kill(worker)
    stage.restart(worker)


def freeze_point(stage: Stage, r: random.Random) -> None:
    """Frozen at an exact place for longer than the group waits, then awake again, as if nothing had been."""
    worker = stage.some(r)
    place = next(stage.places)
    stage.kill(worker)
    stage.restart(worker, f"{place}:{1 if place in RARE else r.randint(1, 3)}:stop")
    if not _has_reached(stage, worker, place, stage.wait_frozen):
        stage.notes.append(f"failpoint {place}:stop was not reached")
        stage.kill(worker)  # or it would freeze some time later, and nobody would wake it
        stage.restart(worker)
        return
    stage.counts[f"frozen {place}"] += 1
    worker.frozen = True
    pause(SESSION_TIMEOUT_S + r.uniform(1.0, 3.0))
    worker.signal(signal.SIGCONT)
    worker.frozen = False
    if place in STOP:
        stage.end(worker)
        stage.restart(worker)


def raise_point(stage: Stage, r: random.Random) -> None:
    """Something raises at an exact place; then the worker ends by itself, or recovers and is told to."""
    worker = stage.some(r)
    place = next(stage.places)
    stage.kill(worker)
    stage.restart(worker, f"{place}:{1 if place in RARE else r.randint(1, 3)}:raise")
    if _has_reached(stage, worker, place, lambda w, timeout_s: stage.wait_raised(w, place, timeout_s)):
        stage.counts[f"raised {place}"] += 1
    else:
        stage.notes.append(f"failpoint {place}:raise was not reached")
    stage.end(worker)
    stage.restart(worker)


def _has_reached(stage: Stage, worker: Actor, place: str, wait: Callable[[Actor, float], bool]) -> bool:
    """Waits until the worker has died, been frozen or failed at a place.

    Where that takes a rebalance, there is one; where it takes a stop, the worker is told to.
    """
    if place in STOP:
        stage.settle(worker)
        worker.tell_to_stop()
    if wait(worker, 3.0 if place == "revoked" else FAILPOINT_S):
        return True
    if place not in OF_A_REBALANCE:
        return False
    other = stage.add()
    reached = wait(worker, FAILPOINT_S)
    stage.stop(other)
    stage.remove(other)
    return reached or wait(worker, SESSION_TIMEOUT_S + 2)


# ---- workers that stop, freeze, come and go --------------------------------------------------------------------------


def restart(stage: Stage, r: random.Random) -> None:
    """SIGTERM, and back."""
    worker = stage.some(r)
    stage.stop(worker)
    stage.restart(worker)


def rolling_restart(stage: Stage, r: random.Random) -> None:
    """All workers, one after the other."""
    for worker in list(stage.workers.values()):
        stage.stop(worker)
        stage.restart(worker)


def zombie(stage: Stage, r: random.Random) -> None:
    """Frozen for longer than the group waits, then awake again."""
    worker = stage.some(r)
    worker.signal(signal.SIGSTOP)
    worker.frozen = True
    pause(SESSION_TIMEOUT_S + r.uniform(1.0, 4.0))
    worker.signal(signal.SIGCONT)
    worker.frozen = False


def add(stage: Stage, r: random.Random) -> None:
    """One worker more."""
    if len(stage.workers) < MOST_WORKERS:
        stage.add()


def remove(stage: Stage, r: random.Random) -> None:
    """One worker less, by SIGTERM or SIGKILL."""
    worker = stage.spare(r)
    if worker is not None:
        (stage.stop if r.random() < 0.5 else stage.kill)(worker)
        stage.remove(worker)


def scale(stage: Stage, r: random.Random) -> None:
    """Up to four workers, then down to two."""
    while len(stage.workers) < MOST_WORKERS:
        stage.add()
        pause(1.0)
    pause(4.0)
    while len(stage.workers) > 2 and (worker := stage.spare(r)):
        stage.stop(worker)
        stage.remove(worker)


def storm(stage: Stage, r: random.Random) -> None:
    """A rebalance every few seconds, sooner than the last one can settle."""
    for _ in range(3):
        extra = stage.add()
        pause(r.uniform(1.5, 3.0))
        (stage.kill if r.random() < 0.5 else stage.stop)(extra)
        stage.remove(extra)


# ---- connections and clocks ------------------------------------------------------------------------------------------


def cut(stage: Stage, r: random.Random) -> None:
    """One worker's connections break and cannot be made again for a while."""
    for proxy in stage.brokers.proxies:
        proxy.cut()
    pause(r.choice((0.2, 2.0, SESSION_TIMEOUT_S + 3)))
    for proxy in stage.brokers.proxies:
        proxy.heal()


def stall(stage: Stage, r: random.Random) -> None:
    """One worker's connections stay and carry nothing."""
    for proxy in stage.brokers.proxies:
        proxy.stall()
    pause(r.choice((1.0, SESSION_TIMEOUT_S + 3)))
    for proxy in stage.brokers.proxies:
        proxy.heal()


def clock(stage: Stage, r: random.Random) -> None:
    """One worker's clock jumps."""
    stage.set_clock(r.choice((-86_400, -3600, -30, 30, 3600, 86_400)))


# ---- brokers ---------------------------------------------------------------------------------------------------------


def broker_kill(stage: Stage, r: random.Random) -> None:
    """SIGKILL of one broker, and back."""
    broker = stage.brokers.one(r)
    broker.kill()
    pause(r.uniform(0.5, 6.0))
    stage.brokers.start()


def broker_freeze(stage: Stage, r: random.Random) -> None:
    """One broker stands still for longer than the others wait for it."""
    broker = stage.brokers.one(r)
    broker.pause()
    try:
        pause(r.uniform(1.0, 6.0))
    finally:
        broker.resume()


def leader_change(stage: Stage, r: random.Random) -> None:
    """A leader hands over in order, comes back, and leads again."""
    stage.brokers.one(r).stop()
    pause(1.0)
    stage.brokers.start()
    pause(2.0)
    stage.brokers.elect_leaders()


def rolling_bounce(stage: Stage, r: random.Random) -> None:
    """All brokers restarted in order, one after the other."""
    for broker in stage.brokers.servers:
        broker.stop()
        pause(0.5)
        stage.brokers.start()
        pause(1.0)


def brokers_away(stage: Stage, r: random.Random) -> None:
    """No broker at all for `away_s`."""
    for broker in stage.brokers.servers:
        broker.kill()
    pause(stage.away_s)
    stage.brokers.start()


FAULTS: dict[str, Fault] = {
    "kill": Fault(kill, (1, 3), 5),
    "kill-twice": Fault(kill_twice, (1, 3), 4),
    "kill-all": Fault(kill_all, (1,), 2),
    "empty-disk": Fault(empty_disk, (1, 3), 3),
    "older-disk": Fault(older_disk, (1,), 4),
    "failpoint": Fault(failpoint, (1, 3), 8),
    "freeze-point": Fault(freeze_point, (1, 3), 3),
    "raise-point": Fault(raise_point, (1, 3), 6),
    "restart": Fault(restart, (1, 3)),
    "rolling-restart": Fault(rolling_restart, (1,), 1),
    "zombie": Fault(zombie, (1, 3)),
    "add": Fault(add, (1, 3)),
    "remove": Fault(remove),
    "scale": Fault(scale, (1,), 1),
    "storm": Fault(storm, (1,), 1),
    "cut": Fault(cut, (1, 3), 2, "proxied"),
    "stall": Fault(stall, (1,), 2, "proxied"),
    "clock": Fault(clock, (1,), 2, "faketime"),
    "damaged-disk": Fault(disks.damage, (1,), 2),
    "full-disk": Fault(disks.full_disk, (1,), 1, "small-disk"),
    "broker-kill": Fault(broker_kill, (3,), 5),
    "broker-freeze": Fault(broker_freeze, (3,), 2),
    "leader-change": Fault(leader_change, (3,), 4),
    "rolling-bounce": Fault(rolling_bounce, (3,), 1),
    "brokers-away": Fault(brokers_away, (1, 3), 1),
}
