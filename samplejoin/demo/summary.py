"""Prints the summary at the end: ratios, delays, arms, a few finished samples, what to do next."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.json import JSON
from rich.table import Table

from samplejoin.core.values import Fields
from samplejoin.demo.data import Dataset
from samplejoin.demo.progress import Progress
from samplejoin.demo.samples import DemoSample
from samplejoin.demo.screen import percent

SHOWN = 2
NEXT = """\
Next, in a clone after `. .venv/bin/activate`:
  samplejoin init myjob        a project of your own: job file, functions, a test
  samplejoin check job.yaml    what is wrong with a job before it runs
  samplejoin worker job.yaml   the worker that ran here, against your Kafka
  examples/, docs/             the jobs of this demo; what a join means here, and every setting"""


def print_summary(console: Console, example: Dataset, progress: Progress, samples: Sequence[DemoSample]) -> None:
    """Prints one job's results."""
    fields = [sample.fields for sample in samples]
    console.print()
    console.rule(f"[bold]{progress.name}", align="left")
    console.print(example.title, highlight=False)
    console.print(
        f"{progress.read:,} events read, {progress.samples:,} samples, {progress.positives:,} of them positive, "
        f"{progress.late:,} late rows, {progress.dead:,} dead letters"
    )
    if progress.repeated:
        anchors = " or ".join(stream for stream in progress.rows if stream not in progress.labels)
        console.print(
            f"{progress.repeated:,} {anchors} events came within the window of an earlier one of the same key: "
            "they are part of its sample"
        )
    console.print(_labels(example, progress, fields))
    if example.arms is not None:
        console.print(_arms(example.arms, fields))
    console.print(example.note, highlight=False)
    console.print(f"\nFinished samples, {SHOWN} of {len(samples):,}:")
    for each in _chosen(fields):
        console.print(JSON.from_data(each, indent=None), soft_wrap=not console.is_terminal)


def print_next(console: Console) -> None:
    """Prints what to do after the demo."""
    console.print()
    console.print(NEXT, highlight=False, markup=False, soft_wrap=True)


def quantiles(values: Iterable[float]) -> tuple[float, float, float] | None:
    """Returns median, 90 % quantile and maximum, None if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    tenths = statistics.quantiles(ordered, n=10, method="inclusive") if len(ordered) > 1 else ordered * 9
    return tenths[4], tenths[8], ordered[-1]


def _labels(example: Dataset, progress: Progress, fields: Sequence[Fields]) -> Table:
    table = Table()
    for name in ("label", "events", "joined", "orphans", "samples", "join ratio", "delay p50", "p90", "max"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for stream in progress.labels:
        delays = [f[example.delays[stream]] for f in fields if f[example.delays[stream]] is not None]
        found = quantiles(delays)
        table.add_row(
            stream,
            *(f"{counts.get(stream, 0):,}" for counts in (progress.rows, progress.joined_rows, progress.orphans)),
            f"{progress.joined.get(stream, 0):,}",
            percent(progress.ratio(stream)),
            *(["-"] * 3 if found is None else [f"{value:,.1f} s" for value in found]),
        )
    return table


def _arms(arm: str, fields: Sequence[Fields]) -> Table:
    table = Table()
    for name in (arm, "samples", "positive", "ratio"):
        table.add_column(name, justify="left" if name == arm else "right")
    for value in sorted({f[arm] for f in fields}):
        labels = [f["label"] for f in fields if f[arm] == value]
        table.add_row(value, f"{len(labels):,}", f"{sum(labels):,}", percent(sum(labels) / len(labels)))
    return table


def _chosen(fields: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Returns a positive and a negative sample, as far as there are any."""
    positives = [f for f in fields if f["label"]]
    negatives = [f for f in fields if not f["label"]]
    return [*positives[: SHOWN - 1], *negatives][:SHOWN]
