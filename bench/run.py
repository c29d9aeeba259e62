"""One run of one system on existing topics: started, watched to its last sample, stopped, measured, judged."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from bench.generate import PARTITIONS, Truth
from bench.judge import quantiles_ms, read_samples, verdict
from bench.processes import Process, SystemFailed
from bench.stalls import longest_stall_s, stalls
from bench.systems import Run, System
from tests.support.kafka import create_topics

LOOK_S = 0.25
#: every so many looks the files are looked at too
DISK_LOOKS = 20
#: without a new sample though some are missing: the system has got stuck, or has lost them
STUCK_S = 120.0
#: where all windows end behind the last event, no sample comes before all are read: at this rate at least
SLOWEST_EVENTS_PER_S = 10_000
#: what belongs to the last sample: its commit, its deletes
TAIL_S = 3.0
ASSIGNED = re.compile(rb'^.*"assigned (?!nothing).*$', re.MULTILINE)


class Samples:
    """The number of records in the samples topic, for progress only: it counts transaction markers too."""

    def __init__(self, run: Run) -> None:
        self._topic = run.out
        self._consumer = Consumer({"bootstrap.servers": run.bootstrap, "group.id": f"{run.id}-watch"})
        self._seen = 0

    def written(self) -> int:
        """Returns the number of records; the last one if the broker does not answer yet for a new topic."""
        partitions = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        with suppress(KafkaException):
            self._seen = sum(self._consumer.get_watermark_offsets(each, timeout=10)[1] for each in partitions)
        return self._seen

    def close(self) -> None:
        self._consumer.close()


@contextmanager
def started(system: System, run: Run) -> Iterator[list[Process]]:
    """Starts the system's processes on topics of this run; at the end stops them and deletes topics and files."""
    run.folder.mkdir(parents=True)
    create_topics(run.bootstrap, {run.out: PARTITIONS}, {"message.timestamp.type": "LogAppendTime"})
    if system.topics:
        create_topics(run.bootstrap, {f"{run.id}-{name}": PARTITIONS for name in system.topics})
    processes: list[Process] = []
    try:
        if system.first is not None:
            Process(system.first(run), run.folder / "first.log").finish()
        for number, command in enumerate(system.commands(run)):
            processes.append(Process(command, run.folder / f"process-{number}.log"))
        yield processes
    finally:
        for process in processes:
            process.stop()
        _delete_topics(run)
        shutil.rmtree(run.folder, ignore_errors=True)


def measure(
    system: System, run: Run, events: int, truth: Truth, on_start: Callable[[list[Process]], None] | None = None
) -> dict[str, Any]:
    """Runs the system on all `events` of the run's inputs; its figures. Raises SystemFailed."""
    with started(system, run) as processes:
        if on_start is not None:
            on_start(processes)
        expected, stuck_s = truth.samples if system.event_time else truth.keys, STUCK_S + events / SLOWEST_EVENTS_PER_S
        disk_mb = watch(run, processes, expected, system.quiet_s, stuck_s)
        begins = {process: began_s(process, run.folder) for process in processes}
        stood_s = longest_stall_s([{}] * len(processes), map(stalls, processes)) if system.event_time else None
        for process in processes:
            process.stop()
        found = read_samples(run.bootstrap, run.out)
        if not found.samples:
            raise SystemFailed(f"{run.id} has sent no sample; its log ends with:\n{processes[0].log_tail()}")
        end_s = found.last_ms / 1000
        span_s = end_s - min(begins.values())
        startup_cpu_s = sum(process.cpu_s_at(began) for process, began in begins.items())
        total_cpu_s = sum(process.cpu_s_at(end_s + TAIL_S) for process in processes)
        from_start_s = end_s - processes[0].seen[0][0]
    return {
        "events": events, "event_time": system.event_time,
        "cpu_s_per_million": round((total_cpu_s - startup_cpu_s) / events * 1e6, 2),
        "events_per_s": round(events / max(span_s - system.window_s, 0.1)),
        "events_per_s_of_span": round(events / span_s),
        "span_s": round(span_s, 2), "from_start_s": round(from_start_s, 2),
        "cpu_s": round(total_cpu_s, 2), "startup_cpu_s": round(startup_cpu_s, 2),
        "peak_mb": round(sum(process.peak_mb for process in processes)),
        "largest_process_mb": round(max(process.peak_mb for process in processes)),
        "disk_mb": round(disk_mb), "stall_below_s": stood_s, "delay_ms": quantiles_ms(found.delays_ms),
        **verdict(found, truth, system.event_time),
    }  # fmt: skip


def watch(run: Run, processes: list[Process], expected: int, quiet_s: float, stuck_s: float = STUCK_S) -> float:
    """Watches the processes until no sample has come for a while. Returns the most MB of state and checkpoints on disk.

    Raises SystemFailed if a process ends.
    """
    samples = Samples(run)
    seen, changed, looks = 0, time.monotonic(), 0
    disk_mb = 0.0
    try:
        while time.monotonic() - changed < (quiet_s if seen >= expected else stuck_s):
            time.sleep(LOOK_S)
            for process in processes:
                process.look()
            if looks % DISK_LOOKS == 0:
                disk_mb = max(disk_mb, folder_mb(run.folder))
            looks += 1
            if (now := samples.written()) != seen:
                seen, changed = now, time.monotonic()
    finally:
        samples.close()
    return disk_mb


def folder_mb(folder: Path) -> float:
    """Returns the size of the files below a folder; a file that is deleted meanwhile counts as 0."""
    size_bytes = 0
    for file in folder.rglob("*"):
        try:
            size_bytes += file.stat().st_size
        except FileNotFoundError:
            continue
    return size_bytes / 1e6


def began_s(process: Process, folder: Path) -> float:
    """Returns when it began to work, in seconds since the epoch: the time before is start-up.

    The jobs of floor and peers write a file at their first event. A worker of ours logs when inputs are assigned to
    it, which is a little earlier. A system without such a time counts as working from its start.
    """
    first = folder / f"first-{process.pid}"
    if first.exists():
        return first.stat().st_mtime
    said = ASSIGNED.search(process.log.read_bytes())
    return datetime.fromisoformat(json.loads(said[0])["timestamp"]).timestamp() if said else process.seen[0][0]


def _delete_topics(run: Run) -> None:
    """Deletes all topics whose names contain the run's name, to save disk space."""
    admin = AdminClient({"bootstrap.servers": run.bootstrap, "log_level": 4})
    names = [name for name in admin.list_topics(timeout=30).topics if run.id in name]
    for deleted in admin.delete_topics(names).values() if names else ():
        deleted.result()
