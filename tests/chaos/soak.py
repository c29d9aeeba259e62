"""`python -m tests.chaos.soak --minutes 60 --rate 13000`: a steady load for long; memory, files, threads, loop watched.

Events carry the time at which they are produced, so windows close while the load goes on. Nothing is broken on
purpose: figures that drift, a loop that stands still, or a rebalance are the faults looked for.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.integration.support import Worker
from tests.support.kafka import KafkaServer, create_topics

JOB = """\
name: soak
brokers: {brokers}
streams:
  impression: {{role: anchor, topic: imp, time: ts}}
  action: {{role: label, topic: act, time: ts}}
key: [uid, mid]
window: 60s
lateness: 5s
sample:
  pos: impression.pos
  feat: impression.feat
  imps: {{from: impression, agg: count}}
  clicks: {{from: action.click, agg: count}}
  last_ts: {{from: action.ts, agg: max}}
outputs: {{samples: {{topic: samples, compression: none}}}}
partitions: 4
"""
KEEP_S = 600
SAMPLE_S = 5.0
#: a worker fills its caches for a few windows first
SETTLED = 0.2


class Sight(NamedTuple):
    """One look at a worker."""

    at_s: float
    rss_mb: float
    files: int
    threads: int
    rebalances: float
    keys: float


class Load(threading.Thread):
    """Produces impressions and actions of the present, `rate` a second, and deletes what is older than ten minutes."""

    def __init__(self, bootstrap: str, rate: int) -> None:
        super().__init__(name="load", daemon=True)
        self.rate, self.sent, self.over = rate, 0, threading.Event()
        self._brokers = bootstrap
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4",
                                   "queue.buffering.max.messages": 1_000_000})  # fmt: skip
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._random = random.Random(1)
        self._recent: list[tuple[str, str]] = []

    def run(self) -> None:
        began, trimmed = time.monotonic(), time.monotonic()
        while not self.over.is_set():
            behind = (time.monotonic() - began) * self.rate - self.sent
            if behind < 200:
                time.sleep(0.01)
                continue
            self._chunk(200)
            self._producer.poll(0)
            if time.monotonic() - trimmed > 30:
                trimmed = time.monotonic()
                self._trim()
        self._producer.flush()

    def _chunk(self, count: int) -> None:
        r, now_ms = self._random, int(time.time() * 1000)
        partition = (self.sent // count) % 4
        for _ in range(count):
            self.sent += 1
            if self._recent and r.random() < 0.23:
                uid, mid = self._recent[r.randrange(len(self._recent))]
                body: dict[str, Any] = {"uid": uid, "mid": mid, "ts": now_ms, "click": int(r.random() < 0.3) or None}
                self._producer.produce("act", orjson.dumps(body), partition=partition)
                continue
            uid, mid = f"u{int(400_000 * r.random() ** 3)}", f"m{int(2_000_000 * r.random() ** 3)}"
            if len(self._recent) < 20_000:
                self._recent.append((uid, mid))
            else:
                self._recent[r.randrange(20_000)] = (uid, mid)
            feat = [r.randrange(1_000_000) for _ in range(8)]
            body = {"uid": uid, "mid": mid, "ts": now_ms, "pos": r.randrange(30), "feat": feat}
            self._producer.produce("imp", orjson.dumps(body), partition=partition)

    def _trim(self) -> None:
        """Keeps the disk small: inputs and samples of the last minutes are enough."""
        then_ms = int((time.time() - KEEP_S) * 1000)
        consumer = Consumer({"bootstrap.servers": self._brokers, "group.id": "soak-trim"})
        try:
            then = [TopicPartition(t, p, then_ms) for t in ("imp", "act", "samples") for p in range(4)]
            found = [tp for tp in consumer.offsets_for_times(then, timeout=10) if tp.offset > 0]
        finally:
            consumer.close()
        for deleted in self._admin.delete_records(found).values() if found else ():
            deleted.result()


def see(worker: Worker, began: float) -> Sight:
    """How large a worker is now."""
    proc = Path("/proc") / str(worker.running().pid)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
    return Sight(
        round(time.monotonic() - began, 1), int(status["VmRSS"].split()[0]) / 1024, len(list((proc / "fd").iterdir())),
        int(status["Threads"]), worker.metric("samplejoin_rebalances_total"), worker.metric("samplejoin_state_keys"),
    )  # fmt: skip


def stalls(worker: Worker) -> dict[str, int]:
    """How often the loop woke later than so many seconds."""
    text = worker.get("/metrics")[1]  # once: the counts must be of one moment
    found = re.findall(r'^samplejoin_event_loop_stall_seconds_bucket\{le="([^"]+)".* ([0-9.e+]+)$', text, re.MULTILINE)
    upto = {le: float(count) for le, count in found}
    return {f"{le} s": int(upto["+Inf"] - upto[le]) for le in ("0.05", "0.1", "0.2", "0.5", "1.0")}


def drift(sights: list[Sight], what: str) -> tuple[float, float]:
    """Means of the first and the last quarter, once settled."""
    values = [float(getattr(s, what)) for s in sights[int(len(sights) * SETTLED) :]]
    quarter = max(1, len(values) // 4)
    return sum(values[:quarter]) / quarter, sum(values[-quarter:]) / quarter


def soak(minutes: float, rate: int, workers: int, root: Path) -> dict[str, Any]:
    """Runs it; the figures per worker."""
    with KafkaServer() as kafka:
        create_topics(kafka.bootstrap, {"imp": 4, "act": 4, "samples": 4})
        home = World(root, kafka.bootstrap)
        running = [Worker(home, n, SAMPLEJOIN_SESSION_TIMEOUT_MS="10000").start() for n in range(workers)]
        load = Load(kafka.bootstrap, rate)
        try:
            for worker in running:
                worker.wait_ready()
            load.start()
            began = time.monotonic()
            sights: dict[int, list[Sight]] = {n: [] for n in range(workers)}
            while time.monotonic() - began < minutes * 60:
                time.sleep(SAMPLE_S)
                for worker in running:
                    if worker.running().poll() is not None:
                        sys.exit(f"worker {worker.number} has ended by itself:\n{worker.log_tail()}")
                    sights[worker.number].append(see(worker, began))
                print(json.dumps({w.number: sights[w.number][-1]._asdict() for w in running}), file=sys.stderr)
            return {
                "minutes": minutes, "events_per_second": round(load.sent / (time.monotonic() - began)),
                "events": load.sent, "behind_s": max(w.metric("samplejoin_watermark_delay_seconds") for w in running),
                "workers": [figures(w, sights[w.number]) for w in running],
            }  # fmt: skip
        finally:
            load.over.set()
            for worker in running:
                worker.close()


def figures(worker: Worker, sights: list[Sight]) -> dict[str, Any]:
    """What became of one worker."""
    means = {what: [round(v, 1) for v in drift(sights, what)] for what in ("rss_mb", "files", "threads", "keys")}
    return {
        **means, "peak_rss_mb": round(max(s.rss_mb for s in sights)), "loop_later_than": stalls(worker),
        "rebalances": sights[-1].rebalances - sights[0].rebalances,
    }  # fmt: skip


class World:
    """Where the workers find their job."""

    def __init__(self, root: Path, bootstrap: str) -> None:
        self.name, self.root, self.job_file = "soak", root, root / "job.yaml"
        self.job_file.write_text(JOB.format(brokers=bootstrap))


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=13_000, help="events per second")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="samplejoin-soak-"))
    try:
        print(json.dumps(soak(options.minutes, options.rate, options.workers, root), indent=2))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
