"""Measures how fast a worker recovers, by the size of its state: on the same disk, on an empty one, and as a standby.

python -m bench.recovery [--impressions 2000000]: every key stays open, so the state holds everything read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.generate import preload
from bench.processes import cpu_s, rss_mb
from bench.systems import BENCH
from tests.support.kafka import KafkaServer, create_topics

WINDOW = "12h"
RECOVERED = re.compile(r"join partition (\d+) recovered in ([\d.]+) s: position (\d+), (\d+) rows replayed")


class Worker:
    """A worker process of the benchmark's job, with a window that never ends."""

    def __init__(self, root: Path, number: int, bootstrap: str, standbys: int) -> None:
        self.state, self.log, self.port = root / f"state{number}", root / f"worker{number}.log", 7200 + number
        self._env = {
            **os.environ, "BENCH_BROKERS": bootstrap, "SAMPLEJOIN_JOB": str(BENCH / "job" / "job.yaml"),
            "SAMPLEJOIN_STATE_DIR": str(self.state), "SAMPLEJOIN_WEB_PORT": str(self.port),
            "SAMPLEJOIN_WINDOW": WINDOW, "SAMPLEJOIN_STANDBY_REPLICAS": str(standbys),
        }  # fmt: skip

    def start(self) -> Worker:
        self.started, self._seen = time.monotonic(), len(self.text())
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "faust", "-A", "samplejoin", "worker", "-l", "info"]
            self.process = subprocess.Popen(command, env=self._env, stderr=log, stdout=subprocess.DEVNULL)
        return self

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def recoveries(self) -> list[tuple[int, float, int, int]]:
        """Returns (partition, seconds, position, rows) of this start."""
        return [(int(p), float(s), int(at), int(n)) for p, s, at, n in RECOVERED.findall(self.text()[self._seen :])]

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return -1.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    def wait(self, done: Any) -> float:
        """Waits, and returns the seconds from the start until `done`."""
        while not done():
            if self.process.poll() is not None:
                raise SystemExit(self.text()[-3000:])
            time.sleep(0.05)
        return time.monotonic() - self.started

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def back(worker: Worker, partitions: int) -> dict[str, float]:
    """Starts a worker and waits until all partitions are recovered."""
    worker.start()
    worker.wait(lambda: worker.recoveries())
    total_s = worker.wait(lambda: len(worker.recoveries()) >= partitions)
    rows = sum(n for _, _, _, n in worker.recoveries())
    span_s = max(s for _, s, _, _ in worker.recoveries())
    return {
        "seconds_from_start": round(total_s, 2), "recovery_s": span_s, "rows": rows,
        "cpu_s": round(cpu_s(worker.process.pid), 2), "peak_mb": round(rss_mb(worker.process.pid)),
    }  # fmt: skip


def size_mb(path: Path) -> float:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e6


def measure(kafka: Any, root: Path, impressions: int) -> dict[str, Any]:
    """Fills a state, then recovers it in each way."""
    create_topics(kafka.bootstrap, {"imp": 4, "act": 4, "samples": 4})
    events = preload(kafka.bootstrap, impressions)
    first, second = (Worker(root, n, kafka.bootstrap, standbys=1) for n in (0, 1))
    first.start()
    first.wait(lambda: first.metric("samplejoin_changelog_rows_total") > 0)
    first.wait(
        lambda: first.metric("samplejoin_consumer_lag_records") + first.metric("samplejoin_join_lag_records") == 0
    )
    time.sleep(3)  # the last commits
    first.end()
    found: dict[str, Any] = {"events": events, "state_mb": round(size_mb(first.state))}
    found["same_disk"] = back(first, 4)
    second.start()
    followed_s = second.wait(lambda: "recovered" in second.text() and second.text().count("standing by") >= 2)
    settled_cpu_s = -1.0
    while (now_cpu_s := cpu_s(second.process.pid)) > settled_cpu_s + 0.5:  # it is still reading the changelog
        settled_cpu_s = now_cpu_s
        time.sleep(4)
    found["standing_by_s"] = round(followed_s, 1)
    count = len(second.recoveries())
    first.end(signal.SIGKILL)
    killed = time.monotonic()
    while len(second.recoveries()) < count + 2:
        time.sleep(0.05)
    taken = second.recoveries()[count:]
    found["standby"] = {
        "seconds_from_kill": round(time.monotonic() - killed, 2), "recovery_s": max(s for _, s, _, _ in taken),
        "rows": sum(n for _, _, _, n in taken),
    }  # fmt: skip
    second.end()
    shutil.rmtree(first.state)
    found["empty_disk"] = back(first, 4)
    first.end()
    empty = found["empty_disk"]
    empty["rows_per_cpu_s"] = round(empty["rows"] / empty["cpu_s"])
    empty["s_per_gb"] = round(empty["recovery_s"] / found["state_mb"] * 1000, 1)
    return found


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--impressions", type=int, default=2_000_000)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="samplejoin-recovery-"))
    try:
        with KafkaServer() as kafka:
            print(json.dumps(measure(kafka, root, options.impressions), indent=2))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
