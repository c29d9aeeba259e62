"""The stage of a round: its job, its workers as processes, and what faults do to them."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.brokers import Brokers, pause
from tests.chaos.jobs import Variant
from tests.chaos.watch import Watch
from tests.integration.support import Worker, wait_for
from tests.support.small_disk import mount_small, unmount

SESSION_TIMEOUT_S = 3.0
STOP_S = 60.0
STARTING_S = 60.0
SMALL_DISK_BYTES = 384 << 20
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class ChaosError(AssertionError):
    """The round failed before its samples could be judged: a worker did something that it must never do."""


class Actor(Worker):
    """A worker with a part in the round: `frozen` between SIGSTOP and SIGCONT, its disk `damaged` or `full`."""

    frozen = damaged = full = False
    #: whether it may end, by SIGTERM or by what a fault has raised in it
    may_end = False
    started = 0.0
    _log_bytes = 0

    def start(self) -> Actor:
        """Starts the process and remembers when."""
        self.started, self.may_end = time.monotonic(), False
        self._log_bytes = self.log.stat().st_size if self.log.exists() else 0
        super().start()
        return self

    def tell_to_stop(self) -> None:
        """SIGTERM; the worker may end from now on."""
        self.may_end = True
        if self.alive:
            self.signal(signal.SIGTERM)

    def has_said(self, words: str) -> bool:
        """Whether it has, since its start."""
        with self.log.open("rb") as log:
            log.seek(self._log_bytes)
            return words.encode() in log.read()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


class Stage:
    """Workers by number; those in `workers` should be running, unless a fault has just ended them."""

    def __init__(
        self,
        brokers: Brokers,
        name: str,
        root: Path,
        job_file: Path,
        variant: Variant,
        command: Sequence[str] = Worker.command,
        special: frozenset[str] = frozenset(),
    ) -> None:
        self.brokers, self.name, self.root, self.job_file = brokers, name, root, job_file
        self.variant, self.command, self.special = variant, command, special
        self.workers: dict[int, Actor] = {}
        self.everybody: list[Actor] = []
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        #: older copies of state directories
        self.copies: list[Path] = []
        self.watch: Watch | None = None
        #: failpoints in the order they are to come up
        self.places: Iterator[str] = iter(())
        self.away_s = 12.0
        #: what all workers counted in a round without faults
        self.figures: Counter[tuple[str, ...]] | None = None
        self._next = 1

    # ---- workers --------------------------------------------------------------------------------------------------

    def add(self) -> Actor:
        """One more worker, started."""
        number, self._next = self._next, self._next + 1
        worker = Actor(self, number, **self._environment(number))
        worker.command = self.command
        self.workers[number] = worker
        self.everybody.append(worker)
        if "small-disk" in self.special and number == 1:
            mount_small(worker.state, SMALL_DISK_BYTES)
        worker.start()
        return worker

    def _environment(self, number: int) -> dict[str, str]:
        """The first worker is the one whose connections are cut, the second's clock jumps, if faults do so."""
        found = {"SAMPLEJOIN_SESSION_TIMEOUT_MS": str(int(SESSION_TIMEOUT_S * 1000))}
        if self.variant.static:
            found["SAMPLEJOIN_INSTANCE_ID"] = f"w{number}"
        if "proxied" in self.special and number == 1:
            found["SAMPLEJOIN_BROKERS"] = self.brokers.proxied
        if "faketime" in self.special and number == min(2, self.variant.workers):
            self.set_clock(0)
            found |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.root / "clock"),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        return found

    def set_clock(self, seconds: int) -> None:
        """Sets the offset between the clock of one worker and the true time."""
        new = self.root / "clock.new"
        new.write_text(f"{seconds:+d}s\n")
        new.rename(self.root / "clock")

    def some(self, r: random.Random) -> Actor:
        """A worker that runs. Raises ChaosError if one does not that should."""
        for worker in list(self.workers.values()):
            if not worker.full:
                self.check(worker)
        return r.choice([w for _, w in sorted(self.workers.items()) if w.alive])

    def spare(self, r: random.Random) -> Actor | None:
        """A worker that may go for good: not the last one, and none that later faults are meant for."""
        first = 2 if self.special else 0
        found = [w for number, w in sorted(self.workers.items()) if w.alive and number > first]
        return r.choice(found) if found and len(self.workers) > 1 else None

    def kill(self, worker: Actor) -> None:
        """SIGKILL. A worker that has ended by itself before is an error."""
        self.check(worker)
        worker.kill()
        self.counts["kills"] += 1

    def stop(self, worker: Actor) -> None:
        """SIGTERM: it must end by itself, in time, with status 0."""
        self.check(worker)
        began = time.monotonic()
        status = worker.stop(STOP_S)
        if status == 1 and worker.damaged:  # it was about to end by itself
            self.check(worker)
            self.settle(worker)
            status = worker.stop(STOP_S)
        if status == 1 and worker.has_said("It is ended hard"):
            self.notes.append(f"worker {worker.number} did not stop in time, and was ended hard")
            return
        if status == -signal.SIGTERM and began - worker.started < STARTING_S:
            return  # it was still being loaded
        if status != 0:
            raise ChaosError(f"worker {worker.number} ended with status {status} after SIGTERM\n{tail(worker)}")
        if time.monotonic() - began > 10:
            self.notes.append(f"worker {worker.number} took {time.monotonic() - began:.1f} s to stop")

    def restart(self, worker: Actor, failpoints: str = "") -> None:
        """Starts a worker that is down again."""
        if failpoints:
            worker.environment["SAMPLEJOIN_TEST_FAILPOINTS"] = failpoints
        else:
            worker.environment.pop("SAMPLEJOIN_TEST_FAILPOINTS", None)
        worker.start()

    def remove(self, worker: Actor) -> None:
        """A worker that has ended is no part of the round any more."""
        del self.workers[worker.number]

    def check(self, worker: Actor) -> None:
        """Raises ChaosError if the worker has ended by itself. One with a damaged disk may, with a clear word."""
        if worker.alive or worker.may_end:
            return
        if not worker.damaged:
            status = worker.running().returncode
            raise ChaosError(f"worker {worker.number} ended by itself, status {status}\n{tail(worker)}")
        self.must_have_said(worker, "delete")
        self.replace_state(worker, None)
        self.restart(worker)

    def must_have_said(self, worker: Actor, word: str) -> None:
        """Raises ChaosError unless the worker has ended with status 1 and a last line that says what to do."""
        status, said = worker.running().poll(), worker.log_tail(20)
        if status != 1 or word not in said:
            raise ChaosError(f"worker {worker.number}: status {status}, must end and say {word!r}\n{tail(worker)}")
        self.counts[f"stopped, said {word!r}"] += 1

    def wait_ended(self, worker: Actor, timeout_s: float) -> bool:
        """Whether the worker has ended within the time."""
        end = time.monotonic() + timeout_s
        while worker.alive and time.monotonic() < end:
            time.sleep(0.02)
        return not worker.alive

    def settle(self, worker: Actor, timeout_s: float = 30.0) -> None:
        """Waits until the worker is ready, or has ended: then it is looked at, and may be started again."""
        end = time.monotonic() + timeout_s
        while worker.alive and worker.get("/readyz")[0] != 200 and time.monotonic() < end:
            time.sleep(0.1)
        self.check(worker)

    def wait_died(self, worker: Actor, timeout_s: float) -> bool:
        """Whether the worker has been killed by a failpoint within the time."""
        if not self.wait_ended(worker, timeout_s):
            return False
        if worker.running().returncode != -signal.SIGKILL:
            self.check(worker)
            return False
        return True

    def wait_raised(self, worker: Actor, place: str, timeout_s: float) -> bool:
        """Whether a failpoint has raised in the worker within the time."""
        end = time.monotonic() + timeout_s
        while not (raised := worker.has_said(f"failpoint {place} raises")) and time.monotonic() < end:
            if not worker.alive:
                break
            time.sleep(0.02)
        raised = raised or worker.has_said(f"failpoint {place} raises")
        worker.may_end = worker.may_end or raised
        if not raised:
            self.check(worker)
        return raised

    def end(self, worker: Actor) -> None:
        """The worker ends: it may have failed, or is told to stop. Then it must be gone, with status 0 or 1."""
        self.wait_ended(worker, 2.0)
        worker.tell_to_stop()
        if not self.wait_ended(worker, STOP_S):
            raise ChaosError(f"worker {worker.number} did not end\n{tail(worker)}")
        status = worker.running().returncode
        if status not in (0, 1) and time.monotonic() - worker.started > STARTING_S:
            raise ChaosError(f"worker {worker.number} ended with status {status}\n{tail(worker)}")

    def wait_frozen(self, worker: Actor, timeout_s: float) -> bool:
        """Whether the worker has been stopped by a failpoint within the time."""
        status = Path(f"/proc/{worker.running().pid}/stat")
        end = time.monotonic() + timeout_s
        while worker.alive and time.monotonic() < end:
            if status.read_text().rpartition(")")[2].split()[0] == "T":
                return True
            time.sleep(0.02)
        self.check(worker)
        return False

    def all_ready(self) -> bool:
        """Whether every worker that should run is in the group with all partitions recovered."""
        workers = [w for w in list(self.workers.values()) if not w.frozen]
        return bool(workers) and all(w.alive and w.get("/readyz")[0] == 200 for w in workers)

    # ---- state ----------------------------------------------------------------------------------------------------

    def copy_state(self, worker: Actor) -> Path | None:
        """Keeps a copy of the state directory of a worker that is down, unless it is damaged; the last few are kept."""
        if worker.damaged or not worker.state.exists():
            return None
        copy = self.root / f"copy-{len(os.listdir(self.root))}-{worker.number}"
        shutil.copytree(worker.state, copy, ignore=shutil.ignore_patterns("filler"))
        self.copies.append(copy)
        if len(self.copies) > 4:
            shutil.rmtree(self.copies.pop(0))
        return copy

    def replace_state(self, worker: Actor, by: Path | None) -> None:
        """Gives a worker that is down another state directory, or none."""
        worker.damaged = False
        shutil.rmtree(worker.state, ignore_errors=True)
        if by is not None:
            shutil.copytree(by, worker.state, dirs_exist_ok=True)

    # ---- end ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """All brokers up, nothing cut or frozen, every worker running."""
        self.brokers.heal()
        for worker in self.workers.values():
            if worker.frozen:
                worker.signal(signal.SIGCONT)
                worker.frozen = False
            if not worker.full:
                self.check(worker)

    def wait_done(self, end_ms: int, timeout_s: float) -> None:
        """Waits until every join partition's clock has passed all windows, no key is open, and nothing more comes."""
        assert self.watch is not None
        watch, wanted = self.watch, self.variant.partitions

        def done() -> bool:
            for worker in self.workers.values():
                self.check(worker)
            found = [gauges_of(w) for w in self.workers.values()]
            clocks = [clock for clocks, _ in found for clock in clocks]
            if len(clocks) < wanted or min(clocks) * 1000 < end_ms:
                return False
            return watch.quiet_s() > 2.0 and not any(open_keys for _, open_keys in found)

        wait_for(done, timeout_s, self._say_where)

    def _say_where(self) -> str:
        """As `say`, after every worker has written into its log what all its tasks wait for (mode's SIGUSR1)."""
        for worker in self.workers.values():
            if worker.alive:
                worker.signal(signal.SIGUSR1)
        pause(2.0)
        return self.say()

    def say(self) -> str:
        """What the workers said last."""
        return "\n".join(f"worker {w.number}:\n{tail(w)}" for w in self.workers.values())

    def close(self) -> None:
        """Ends all processes."""
        for worker in self.everybody:
            worker.close()
            unmount(worker.state)

    def tracebacks(self) -> list[str]:
        """Workers' logs with a traceback that is not a failpoint's."""
        return [path.name for path in sorted(self.root.glob("worker-*.log")) if _strange(path.read_text())]


def tail(worker: Worker) -> str:
    """The last lines of its log, none of them too long to read."""
    return "\n".join(line[:240] for line in worker.log_tail(12).splitlines())


def _strange(log: str) -> bool:
    """Whether an entry of a worker's log has a traceback that no test has asked for."""
    entries = re.split(r"^(?=\d{4}-\d\d-\d\dT)", log, flags=re.MULTILINE)
    return any("Traceback" in entry and "FailpointError" not in entry for entry in entries)


def gauges_of(worker: Worker) -> tuple[list[float], float]:
    """The clocks of a worker's join partitions, in seconds of event time, and how many keys they have open."""
    series = [line.rpartition(" ") for line in worker.get("/metrics")[1].splitlines()]
    clocks = [float(value) for name, _, value in series if name.startswith("samplejoin_clock_seconds{")]
    return clocks, sum(float(value) for name, _, value in series if name.startswith("samplejoin_state_keys{"))
