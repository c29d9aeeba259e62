"""Measures the delay of samples at a steady rate: events carry the time at which they are produced."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import orjson
from confluent_kafka import Producer

from bench.generate import PARTITIONS, events
from bench.judge import named_end, quantiles_ms, read_samples
from bench.run import started, watch
from bench.stalls import longest_stall_s, stalls
from bench.systems import Run, System
from tests.support.kafka import create_topics

LOAD_S = 90
#: a JVM compiles, caches fill, and what came in during the start is worked off
WARM_UP_S = 30
#: after as much the same keys come again: longer than a window
CYCLE_S = 30
#: without a sample after the load: longer than a window, and than a clock of ours needs to go on without input
QUIET_S = 20.0
WINDOW_MS, LATENESS_MS, SLICE_MS = 10_000, 1_000, 1_000
#: windows as the peers have them; and nothing is late, so that Flink's alignment need not wait for old actions
SETTINGS = {
    "SAMPLEJOIN_WINDOW": f"{WINDOW_MS}ms",
    "SAMPLEJOIN_LATENESS": f"{LATENESS_MS}ms",
    "SAMPLEJOIN_STREAMS__IMPRESSION__LATENESS": f"{LATENESS_MS}ms",
    "ACTIONS_LATE_MS": f"{LATENESS_MS}",
}
CHUNK = 200


class Load(threading.Thread):
    """Produces the benchmark's events, `rate` a second for `seconds`; all time stamps are those of sending."""

    def __init__(self, run: Run, rate: int, seconds: float) -> None:
        super().__init__(name="load", daemon=True)
        self._rate, self._count = rate, int(rate * seconds)
        self._topics = {"imp": run.impressions, "act": run.actions}
        #: impressions sent that cleaning keeps
        self.kept = 0
        self._producer = Producer({
            "bootstrap.servers": run.bootstrap, "linger.ms": 20, "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        })  # fmt: skip
        self._events = [self._cut(*event) for event in events(int(rate * CYCLE_S / 1.3))]

    def run(self) -> None:
        due = time.monotonic()
        stream = itertools.islice(itertools.cycle(self._events), self._count)
        while chunk := list(itertools.islice(stream, CHUNK)):
            time.sleep(max(0.0, due - time.monotonic()))
            due += CHUNK / self._rate
            self._send(chunk)
        self._producer.flush()

    def _cut(self, topic: str, partition: int, event: dict[str, Any]) -> tuple[str, int, bytes, bytes, bool]:
        """Returns the event's JSON before and after its time, prepared so that sending costs little."""
        head, _, tail = orjson.dumps(event).partition(str(event["ts"]).encode())
        return self._topics[topic], partition, head, tail, event.get("pos", -1) >= 0

    def _send(self, chunk: list[tuple[str, int, bytes, bytes, bool]]) -> None:
        now = str(int(time.time() * 1000)).encode()
        for topic, partition, head, tail, kept in chunk:
            self._producer.produce(topic, head + now + tail, partition=partition)
            self.kept += kept
        self._producer.poll(0)


def closable(sample: dict[str, Any]) -> int | None:
    """Returns when our clock can pass a window's end: the window begins with the slice of the first impression, and the
    clock is `lateness` behind the events."""
    end: int = sample["ts"] // SLICE_MS * SLICE_MS + WINDOW_MS + LATENESS_MS
    return end


def measure_delay(system: System, run: Run, rate: int) -> dict[str, Any]:
    """Measures sample delays and the longest stall of a worker's loop at `rate` events/s. Raises SystemFailed."""
    create_topics(run.bootstrap, {run.impressions: PARTITIONS, run.actions: PARTITIONS})
    load = Load(run, rate, LOAD_S)
    with started(system, run) as processes:
        load.start()
        load.join(WARM_UP_S)
        warm_ms = int(time.time() * 1000)
        before = [stalls(process) for process in processes]
        load.join()
        # windows that end later wait for the clock to go on without events
        end_ms = int(time.time() * 1000)
        after = [stalls(process) for process in processes]
        watch(run, processes, 0, QUIET_S)
        for process in processes:
            process.stop()
        found = read_samples(run.bootstrap, run.out, closable if system.event_time else named_end, (warm_ms, end_ms))
    return {
        "rate": rate, "load_s": LOAD_S, "delay_ms": quantiles_ms(found.delays_ms), "samples": found.samples,
        "impressions": found.impressions, "expected_impressions": load.kept,
        "stall_below_s": longest_stall_s(before, after) if system.event_time else None,
    }  # fmt: skip
