"""`python -m bench`: this project, its floor and its peers do the same join on the same Kafka, in turns."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from bench.generate import PARTITIONS, preload, truth
from bench.live import SETTINGS, measure_delay
from bench.plot import plot_costs
from bench.processes import SystemFailed
from bench.run import measure
from bench.systems import BUILT, SYSTEMS, Run, overlay
from bench.table import Result, by_system, costs_table, delays_table, ratios_table
from tests.support.kafka import KafkaServer, KafkaUnavailableError, create_topics

SHORT, LONG = 1_000_000, 5_000_000
WINDOW_MS = 70_000
#: of the highest rate that was measured
LIVE_SHARE = 0.7


def options_of(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line. Ends the program on a mistake."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each system (3)")
    parser.add_argument("--systems", help=f"a list with commas (all, with --delay ours): {', '.join(SYSTEMS)}")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--long", action="store_true", help="6.5 million events instead of 1.3")
    size.add_argument("--impressions", type=int, help="for a trial; 0.3 actions come with each")
    parser.add_argument("--delay", action="store_true", help="measure sample delays, at 70 %% of the rate found before")
    parser.add_argument("--rate", type=int, help="with --delay: this rate instead, in events per second")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="with --delay: of our job file")
    parser.add_argument("--out", type=Path, help="folder of the results (build/bench, with --long build/bench/long)")
    options = parser.parse_args(argv)
    options.systems = options.systems.split(",") if options.systems else ["ours"] if options.delay else list(SYSTEMS)
    if unknown := [name for name in options.systems if name not in SYSTEMS]:
        parser.error(f"--systems: there is no {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    if any(number is not None and number < 1 for number in (options.rounds, options.impressions, options.rate)):
        parser.error("--rounds, --impressions and --rate must be at least 1")
    if (options.rate or options.set) and not options.delay:
        parser.error("--rate and --set go with --delay")
    options.impressions = options.impressions or (LONG if options.long else SHORT)
    options.out = options.out or (BUILT / "long" if options.long else BUILT)
    return options


def missing(systems: Iterable[str]) -> list[str]:
    """Returns the parts of the peers that are not installed."""
    return [f"{name} needs {needs}" for name in systems if (needs := SYSTEMS[name].needs) and not needs.exists()]


def order(systems: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """(round, system), each round beginning one system later, so that no system is favoured by its place."""
    for number in range(rounds):
        first = number % len(systems)
        for name in [*systems[first:], *systems[:first]]:
            yield number + 1, name


def run_rounds(kafka: KafkaServer, options: argparse.Namespace, root: Path) -> list[Result]:
    """Does all runs and writes each to runs.jsonl as it ends."""
    expected = truth(options.impressions, WINDOW_MS)
    create_topics(kafka.bootstrap, {"imp": PARTITIONS, "act": PARTITIONS})
    events = preload(kafka.bootstrap, options.impressions)
    results: list[Result] = []
    with (options.out / "runs.jsonl").open("w") as file:
        for number, name in order(options.systems, options.rounds):
            result: Result = {"system": name, "round": number, "impressions": options.impressions}
            run = Run(f"bench-{number}-{name}", kafka.bootstrap, root / f"{number}-{name}")
            try:
                result |= measure(SYSTEMS[name], run, events, expected)
            except SystemFailed as error:
                result |= {"error": str(error)}
            results.append(result)
            _write(result, file)
    return results


def run_delays(kafka: KafkaServer, options: argparse.Namespace, root: Path) -> list[Result]:
    """Measures the delays of each system at a share of its rate in runs.jsonl."""
    results: list[Result] = []
    rates = rates_of(options)
    with (options.out / "delays.jsonl").open("w") as file:
        for name, rate in rates.items():
            topics = f"live-{name}-imp", f"live-{name}-act"
            run = Run(f"live-{name}", kafka.bootstrap, root / f"live-{name}", *topics, SETTINGS | overlay(options.set))
            result: Result = {"system": name} | measure_delay(SYSTEMS[name], run, rate)
            results.append(result)
            _write(result, file)
    return results


def rates_of(options: argparse.Namespace) -> dict[str, int]:
    """Returns the events per second for each system. Raises SystemExit if a system has not been measured."""
    if options.rate:
        return dict.fromkeys(options.systems, options.rate)
    file = options.out / "runs.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    runs = by_system(results)
    if unknown := [name for name in options.systems if not runs.get(name)]:
        sys.exit(f"{file} has no rate of {', '.join(unknown)}: run `python -m bench` without --delay first")
    return {
        name: int(LIVE_SHARE * statistics.median(run["events_per_s_of_span"] for run in runs[name]))
        for name in options.systems
    }


def report(results: list[Result], impressions: int, out: Path) -> str:
    """Writes table and picture; returns the table."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    rounds = max(result["round"] for result in results)
    title = f"{impressions:,} impressions and their actions, {rounds} round{'s' if rounds > 1 else ''}"
    machine = f"{os.cpu_count()} cores, {memory_gb:.0f} GB, Python {sys.version.split()[0]}"
    head = f"{datetime.now(UTC):%Y-%m-%d}; {title}; {machine}; median (lowest-highest)."
    text = "\n\n".join(part for part in (head, costs_table(results), ratios_table(results)) if part)
    (out / "table.md").write_text(text + "\n")
    if any(by_system(results).values()):
        try:
            plot_costs(results, title, out / "costs.svg")
        except ImportError:
            print("no picture: matplotlib is missing (pip install 'samplejoin[bench]')", file=sys.stderr)
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """Does the runs that the command line asks for, and prints the table."""
    options = options_of(argv)
    if lacking := missing(options.systems):
        sys.exit("\n".join(lacking) + "\n`make bench` sets it up; --systems leaves systems out")
    options.out.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="samplejoin-bench-"))
    try:
        with KafkaServer() as kafka:
            if options.delay:
                text = delays_table(run_delays(kafka, options, root))
                (options.out / "delays.md").write_text(text + "\n")
            else:
                text = report(run_rounds(kafka, options, root), options.impressions, options.out)
    except KafkaUnavailableError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(text)


def _write(result: dict[str, Any], file: TextIO) -> None:
    line = json.dumps(result)
    print(line, file=file, flush=True)
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
