"""CPU-seconds per million events of this project's workers, on a preloaded Kafka; checks the samples against the truth.

python -m bench.cost [--impressions 1000000] [--workers 1] [--profile out.raw]; next to peers: python -m bench

Special loads: many open keys (`--per-ms 100 --set streams.impression.lateness=60s`: of ten million impressions
all are open at once), a hot key (`--hot 0.5`), settings of the job (`--set limits.cache_keys=250000`), a slow function
(`--slow-us 20`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.generate import PARTITIONS, Shape, preload, truth
from bench.processes import Process, SystemFailed
from bench.run import measure
from bench.systems import Run, System, ours, overlay
from tests.support.kafka import KafkaServer, create_topics

PROFILE_S = 20


def profile(processes: list[Process], path: str) -> None:
    """Runs py-spy on the first worker to sample its stacks."""
    subprocess.Popen(
        ["py-spy", "record", "-p", str(processes[0].pid), "-d", str(PROFILE_S), "-o", path, "-f", "raw"]
    )  # fmt: skip


def settings_of(options: argparse.Namespace) -> dict[str, str]:
    """Returns the environment that applies the changes to the job."""
    settings = {"BENCH_SLOW_US": str(options.slow_us)}
    if options.slow_us:
        settings |= {
            "SAMPLEJOIN_STREAMS__IMPRESSION__CLEAN": "slow:clean_impression",
            "SAMPLEJOIN_STREAMS__ACTION__CLEAN": "slow:clean_action",
        }
    return settings | overlay(options.set)


def main() -> None:
    """Preloads the topics, runs the workers, checks the samples and prints one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--impressions", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--profile")
    parser.add_argument("--per-ms", type=int, default=10, help="impressions per millisecond of event time (10)")
    parser.add_argument("--hot", type=float, default=0.0, help="share of all events that have one key (0)")
    parser.add_argument("--slow-us", type=int, default=0, help="what cleaning an event costs besides (0)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the job file")
    options = parser.parse_args()
    shape = Shape(options.per_ms, options.hot)
    expected = truth(options.impressions, 70_000, shape)
    root = Path(tempfile.mkdtemp(prefix="samplejoin-bench-"))
    system = System("samplejoin", lambda run: ours(run, options.workers), event_time=True, quiet_s=4.0)
    try:
        with KafkaServer() as kafka:
            create_topics(kafka.bootstrap, {"imp": PARTITIONS, "act": PARTITIONS})
            events = preload(kafka.bootstrap, options.impressions, shape)
            run = Run("cost", kafka.bootstrap, root / "run", settings=settings_of(options))
            on_start = (lambda processes: profile(processes, options.profile)) if options.profile else None
            figures = measure(system, run, events, expected, on_start)
        print(json.dumps({
            "events": events, "workers": options.workers, "cpu_s_per_million": figures["cpu_s_per_million"],
            "right": figures["right"], "reached": {"samples": figures["samples"], "clicks": figures["clicks"]},
            "expected": {"samples": expected.samples, "clicks": expected.clicks},
            "cpu_s": figures["cpu_s"], "startup_cpu_s": figures["startup_cpu_s"],
            "wall_s": figures["from_start_s"], "peak_mb": figures["largest_process_mb"],
            "disk_mb": figures["disk_mb"], "stall_below_s": figures["stall_below_s"],
        }))  # fmt: skip
    except SystemFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
