"""CPU-seconds per million events of this project's workers, on a preloaded Kafka; checks the samples against the truth.

python -m bench.cost [--impressions 1000000] [--workers 1] [--profile out.raw]; beside peers: python -m bench
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.generate import PARTITIONS, preload, truth
from bench.processes import Process, SystemFailed
from bench.run import measure
from bench.systems import Run, System, ours
from tests.support.kafka import KafkaServer, create_topics

PROFILE_S = 20


def profile(processes: list[Process], path: str) -> None:
    """Has py-spy sample the first worker's stacks."""
    subprocess.Popen(
        ["py-spy", "record", "-p", str(processes[0].pid), "-d", str(PROFILE_S), "-o", path, "-f", "raw"]
    )  # fmt: skip


def main() -> None:
    """Preloads, runs, checks, prints one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--impressions", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--profile")
    options = parser.parse_args()
    expected = truth(options.impressions, 70_000)
    root = Path(tempfile.mkdtemp(prefix="samplejoin-bench-"))
    system = System("samplejoin", lambda run: ours(run, options.workers), event_time=True, quiet_s=4.0)
    try:
        with KafkaServer() as kafka:
            create_topics(kafka.bootstrap, {"imp": PARTITIONS, "act": PARTITIONS})
            events = preload(kafka.bootstrap, options.impressions)
            run = Run("cost", kafka.bootstrap, root / "run")
            on_start = (lambda processes: profile(processes, options.profile)) if options.profile else None
            figures = measure(system, run, events, expected, on_start)
        print(json.dumps({
            "events": events, "workers": options.workers, "cpu_s_per_million": figures["cpu_s_per_million"],
            "right": figures["right"], "reached": {"samples": figures["samples"], "clicks": figures["clicks"]},
            "expected": {"samples": expected.samples, "clicks": expected.clicks},
            "cpu_s": figures["cpu_s"], "startup_cpu_s": figures["startup_cpu_s"],
            "wall_s": figures["from_start_s"], "peak_mb": figures["largest_process_mb"],
        }))  # fmt: skip
    except SystemFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
