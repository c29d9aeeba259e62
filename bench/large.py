"""State larger than memory: all keys open at once, memory and page cache limited by a cgroup; ours and Flink.

python -m bench.large [--impressions 10000000] [--systems ours,flink-rocksdb] [--set limits.cache_keys=150000]
[--limit-mb 3000]; it needs the right to create cgroups.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.generate import PARTITIONS, Shape, preload, truth
from bench.processes import Command, SystemFailed
from bench.run import measure
from bench.systems import SYSTEMS, Run, overlay
from tests.support.kafka import KafkaServer, KafkaUnavailableError, create_topics

#: all impressions lie within so much event time, less than window and `KEPT_OPEN`: no window ends before the last one
SPAN_MS = 100_000
KEPT_OPEN = {"SAMPLEJOIN_STREAMS__IMPRESSION__LATENESS": "60s"}
#: of the peers' windows: about as long as reading takes at this rate
PEERS_EVENTS_PER_S = 30_000
CGROUPS = Path("/sys/fs/cgroup")
V1, V2 = CGROUPS / "memory", CGROUPS


class Limited(NamedTuple):
    """A system's memory limits: its own settings, and the kernel's limit, page cache included."""

    settings: dict[str, str]
    arguments: tuple[str, ...]
    limit_mb: int


LIMITS = {
    # 1,000,000 keys in memory, 64 MB of block cache, memtables of at most 192 MB
    "ours": Limited({"SAMPLEJOIN_LIMITS__CACHE_KEYS": "250000", **KEPT_OPEN}, (), 2_000),
    # block cache and memtables; 4 GB of heap besides, most of it timers
    "flink-rocksdb": Limited({}, ("taskmanager.memory.managed.size=256m",), 5_500),
}


def group_of(name: str, limit_mb: int) -> Path:
    """Creates a memory cgroup. Raises OSError if that is not possible."""
    v2 = (V2 / "cgroup.controllers").exists()
    folder = (V2 if v2 else V1) / f"samplejoin-{name}"
    folder.mkdir(exist_ok=True)
    (folder / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit_mb << 20))
    return folder


def inside(
    folder: Path, commands: Callable[[Run], list[Command]], arguments: tuple[str, ...]
) -> Callable[[Run], list[Command]]:
    """Returns the same commands, each of which enters the cgroup before it begins."""
    enter = ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
    return lambda run: [Command([*enter, *argv, *arguments], environment) for argv, environment in commands(run)]


def main() -> None:
    """Preloads the topics, runs each system once and prints a JSON line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--impressions", type=int, default=10_000_000)
    parser.add_argument("--systems", default=",".join(LIMITS), help=f"a list with commas: {', '.join(LIMITS)}")
    parser.add_argument("--limit-mb", type=int, help="of memory and page cache, instead of the system's own")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of our job file")
    options = parser.parse_args()
    names = options.systems.split(",")
    if unknown := [name for name in names if name not in LIMITS]:
        parser.error(f"--systems: no limits are known for {', '.join(unknown)}; there are {', '.join(LIMITS)}")
    limits = {name: LIMITS[name]._replace(limit_mb=options.limit_mb or LIMITS[name].limit_mb) for name in names}
    shape = Shape(impressions_per_ms=max(1, options.impressions // SPAN_MS))
    window_ms = 1000 * int(options.impressions * 1.3 / PEERS_EVENTS_PER_S)
    try:
        groups = {name: group_of(name, limits[name].limit_mb) for name in names}
    except OSError as error:
        sys.exit(f"no limit for memory: {error}; run it as root, where {CGROUPS} can be written")
    root = Path(tempfile.mkdtemp(prefix="samplejoin-large-"))
    try:
        with KafkaServer() as kafka, ProcessPoolExecutor(1) as other:
            expected = other.submit(truth, options.impressions, 70_000, shape)
            create_topics(kafka.bootstrap, {"imp": PARTITIONS, "act": PARTITIONS})
            events = preload(kafka.bootstrap, options.impressions, shape)
            for name, folder in groups.items():
                settings, arguments, limit_mb = limits[name]
                settings = {"WINDOW_MS": str(window_ms), **settings, **overlay(options.set)}
                system, run = SYSTEMS[name], Run(f"large-{name}", kafka.bootstrap, root / name, settings=settings)
                limited = system._replace(commands=inside(folder, system.commands, arguments))
                try:
                    figures = measure(limited, run, events, expected.result())
                except SystemFailed as error:
                    figures = {"error": str(error)}
                print(
                    json.dumps({"system": name, "limit_mb": limit_mb, "cores": os.cpu_count(), **figures}), flush=True
                )
    except KafkaUnavailableError as error:
        sys.exit(str(error))
    finally:
        for folder in groups.values():
            with contextlib.suppress(OSError):  # the kernel may still count a process in
                folder.rmdir()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
