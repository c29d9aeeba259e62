"""CPU-seconds per million events of this project's workers, on a preloaded Kafka; checks the samples against the truth.

python -m bench.cost [--impressions 1000000] [--workers 1] [--profile out.svg]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.generate import preload, truth
from tests.support.kafka import KafkaServer, consume_all, create_topics

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system seconds of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Peak resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def committed(bootstrap: str) -> int:
    """Samples on the topic so far, by its end offsets."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "count", "isolation.level": "read_committed"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition("samples", p), timeout=10)[1] for p in range(4))
    finally:
        consumer.close()


def run(bootstrap: str, workers: int, expected: int, root: Path, profile: str | None) -> dict[str, float]:
    """Runs the workers until no sample has come for three seconds after the expected number; measures."""
    processes = []
    for i in range(workers):
        env = {
            **os.environ, "BENCH_BROKERS": bootstrap, "SAMPLEJOIN_JOB": str(HERE / "job" / "job.yaml"),
            "SAMPLEJOIN_STATE_DIR": str(root / f"state{i}"), "SAMPLEJOIN_WEB_PORT": str(7100 + i),
        }  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "samplejoin", "worker", "-l", "info"],
                env=env,
                stderr=(root / f"worker{i}.log").open("w"),
                stdout=subprocess.DEVNULL,
            )
        )
    started = time.monotonic()
    time.sleep(2.0)
    base = [cpu_s(p.pid) for p in processes]
    if profile:
        subprocess.Popen(["py-spy", "record", "-p", str(processes[0].pid), "-d", "20", "-o", profile, "-f", "raw"])
    seen, last = 0, started
    while time.monotonic() - last < (4 if seen >= expected else 60):
        time.sleep(0.25)
        now = committed(bootstrap)
        if now != seen:
            seen, last = now, time.monotonic()
    cpu = sum(cpu_s(p.pid) for p in processes)
    memory = max(rss_mb(p.pid) for p in processes)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(20)
    return {"cpu_s": cpu, "startup_cpu_s": sum(base), "wall_s": last - started, "peak_mb": memory}


def main() -> None:
    """Preloads, runs, checks, prints one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--impressions", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--profile")
    options = parser.parse_args()
    expected = truth(options.impressions, 70_000)
    root = Path(tempfile.mkdtemp(prefix="samplejoin-bench-"))
    try:
        with KafkaServer() as kafka:
            create_topics(kafka.bootstrap, {"imp": 4, "act": 4, "samples": 4})
            events = preload(kafka.bootstrap, options.impressions)
            figures = run(kafka.bootstrap, options.workers, expected["samples"], root, options.profile)
            samples = [json.loads(r.value) for r in consume_all(kafka.bootstrap, "samples")]
            reached = {"samples": len(samples), "clicks": sum(s["clicks"] for s in samples)}
            per_million = (figures["cpu_s"] - figures["startup_cpu_s"]) / events * 1e6
            print(json.dumps({
                "events": events, "workers": options.workers, "cpu_s_per_million": round(per_million, 2),
                "right": reached == expected, "reached": reached, "expected": expected,
                **{k: round(v, 2) for k, v in figures.items()},
            }))  # fmt: skip
            if reached != expected:
                print((root / "worker0.log").read_text()[-3000:], file=sys.stderr)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
