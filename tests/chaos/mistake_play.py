"""The stage of a planted mistake: one join partition, one partition per input, and workers that stop where told."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.integration.scenes import edit_job, wait_for_end
from tests.integration.support import START_MS, STREAMS, Worker, World, wait_for

WINDOW_S, LATENESS_S = 20, 3
TICKS_AT_REST = 4
FENCED = "the partition will be recovered"


class Play:
    """A world and its workers, run by `command`; `judge` says what came of it."""

    def __init__(self, world: World, command: Sequence[str] = Worker.command) -> None:
        self.world = edit_job(world, ("partitions: 4", "partitions: 1"))
        self.command = command
        self.workers: dict[int, Worker] = {}

    # ---- workers --------------------------------------------------------------------------------------------------

    def start(self, number: int, failpoints: str = "", session_s: int = 2) -> Worker:
        """Starts a worker, or the same one again on its disk."""
        worker = self.workers.setdefault(number, Worker(self.world, number))
        worker.command = self.command
        worker.environment = {
            "SAMPLEJOIN_TEST_FAILPOINTS": failpoints, "SAMPLEJOIN_SESSION_TIMEOUT_MS": str(session_s * 1000)
        }  # fmt: skip
        return worker.start()

    def start_and_die(self, number: int, failpoint: str) -> Worker:
        """Starts a worker and waits until it has died at a place."""
        worker = self.start(number, failpoint)
        assert wait_for_end(worker) == -signal.SIGKILL, worker.log_tail()
        return worker

    def start_and_freeze(self, number: int, failpoints: str, session_s: int = 2) -> Worker:
        """Starts a worker and waits until it is frozen at a place."""
        worker = self.start(number, failpoints, session_s)
        wait_for(lambda: _is_frozen(worker), 60, worker.log_tail, [worker])
        return worker

    def running(self) -> list[Worker]:
        """The workers whose processes have not ended."""
        return [w for w in self.workers.values() if w.process is not None and w.process.poll() is None]

    def prepare(self, *more: tuple[str, int, dict[str, Any]]) -> None:
        """Open windows, joined and committed by worker 1, which is stopped; then the end of the input.

        So the first commit of whoever starts next holds all samples, and not a row.
        """
        self.world.send([*more, *events(WINDOW_S - 5)])
        worker = self.start(1)
        # where the ticks have brought it, all rows are joined (rule 8)
        joined_s = START_MS / 1000 + WINDOW_S - 5 - 1 - LATENESS_S
        wait_for(lambda: clock_of(worker) >= joined_s, 60, worker.log_tail, [worker])
        assert worker.stop() == 0
        self.world.end()

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers.values():
            worker.close()

    # ---- what has come of it --------------------------------------------------------------------------------------

    def wait_read(self) -> None:
        """Waits until all input is in the repartition log, and its offsets are committed."""
        wait_for(lambda: self.unread() == 0, 60, self.say, self.running())

    def judge(self) -> None:
        """Waits until every sample is there, or none can come any more; then the oracle judges.

        None can come when all input is read and acknowledged, and tick after tick finds nothing new.
        """
        world = self.world
        at_rest = _AtRest(self)
        workers = self.running()
        wait_for(lambda: self.is_complete() or at_rest(), 90, self.say, workers)
        if not self.is_complete() and any(_refused(w) for w in workers):
            end_s = max(row.time for row in world.rows) / 1000 + WINDOW_S
            assert at_rest.clock >= end_s, f"the clock stands still at {at_rest.clock}, windows are open to {end_s}"
        world.check()

    def is_complete(self) -> bool:
        """Whether as many samples are there as the oracle expects."""
        return self.world.written() > 0 and len(self.world.samples()) >= len(self.world.expected())

    def unread(self) -> float:
        """Records of the inputs whose offsets the group has not committed; infinite while the group does not say."""
        tps = [TopicPartition(f"{self.world.name}-{stream}", 0) for stream in STREAMS]
        consumer = self._consumer(self.world.name)
        try:
            committed = {tp.topic: max(0, tp.offset) for tp in consumer.committed(tps, timeout=10)}
            return float(sum(consumer.get_watermark_offsets(tp, timeout=10)[1] - committed[tp.topic] for tp in tps))
        except KafkaException:  # its coordinator is only just being chosen
            return math.inf
        finally:
            consumer.close()

    def log_end(self) -> int:
        """The end of the repartition log: it grows by a tick a second."""
        consumer = self._consumer("log-end")
        try:
            end: int = consumer.get_watermark_offsets(
                TopicPartition(f"{self.world.name}-repartition", 0), timeout=10
            )[1]  # fmt: skip
            return end
        except KafkaException:  # it is only just being made
            return 0
        finally:
            consumer.close()

    def say(self) -> str:
        """The last words of all workers."""
        return "\n".join(f"worker {n}:\n{worker.log_tail()}" for n, worker in self.workers.items())

    def _consumer(self, group: str) -> Any:
        return Consumer({"bootstrap.servers": self.world.kafka.bootstrap, "group.id": group})


class _AtRest:
    """Whether ticks have gone by in which neither a sample came nor the clock moved, all input being read."""

    def __init__(self, play: Play) -> None:
        self.play, self.clock = play, 0.0
        self._found: tuple[Any, ...] = ()
        self._since = 0

    def __call__(self) -> bool:
        play, end = self.play, self.play.log_end()
        self.clock = max(clock_of(worker) for worker in play.workers.values())
        unread, ready = play.unread(), all(w.get("/readyz")[0] == 200 for w in play.running())
        found = (play.world.written(), self.clock, unread)
        if found != self._found or unread or not ready:
            self._found, self._since = found, end
        return end >= self._since + TICKS_AT_REST


def clock_of(worker: Worker) -> float:
    """The clock of the join partition in seconds, 0 if the worker does not have it."""
    return worker.metric("samplejoin_clock_seconds")


def events(seconds: int) -> list[tuple[str, int, dict[str, Any]]]:
    """Three keys a second with an impression and a click each, some with a like; all topics keep up with each other."""
    made: list[tuple[str, int, dict[str, Any]]] = []
    for second in range(seconds):
        for n in range(3):
            key = {"uid": f"u{n}", "mid": f"m{second}", "ts": START_MS + second * 1000 + n}
            made += [("impression", 0, {**key, "pos": n}), ("click", 0, {**key, "dwell": second / 8})]
            made.append(("like", 0, key if n else {**key, "drop": 1}))
    return made


def _is_frozen(worker: Worker) -> bool:
    pid = worker.running().pid
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None


def _refused(worker: Worker) -> float:
    """Blocks and ticks that its joins have refused."""
    return sum(worker.metric(f"samplejoin_{why}_refused_total") for why in ("gap", "straddle"))
