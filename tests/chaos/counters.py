"""The counters of all workers of a round without faults, against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.chaos.jobs import Variant
from tests.chaos.judge import Truth, Verdict
from tests.integration.support import Worker

Figures = Counter[tuple[str, ...]]
"""Metric name and label values -> the sum over all workers."""


def of(workers: Iterable[Worker]) -> Figures:
    """What the workers have counted."""
    found: Figures = Counter()
    for worker in workers:
        for line in worker.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            if name.startswith("samplejoin_") and name.endswith("_total"):
                named = dict(part.split("=", 1) for part in labels.rstrip("}").split(",") if part)
                named.pop("pipeline", None)
                key = (name.removeprefix("samplejoin_").removesuffix("_total"),)
                found[key + tuple(v.strip('"') for _, v in sorted(named.items()))] += int(float(value))
    return found


def differences(figures: Figures, known: Truth, verdict: Verdict, variant: Variant) -> list[str]:
    """What does not agree: events by stream and outcome, dead letters, samples, refused or skipped blocks."""
    wanted: Figures = Counter()
    # labels in the order of their names: outcome before stream
    for (stream, outcome), count in known.counts.items():
        wanted["events", outcome, stream] = count
    for _, reason in known.dead:
        wanted["dead_letters", reason] += 1
    names = {"events", "dead_letters", "skipped_entries", "gap_refused", "straddle_refused", "truncated_rows"}
    found = Counter({key: count for key, count in figures.items() if key[0] in names and count})
    said = [
        f"counter {key}: {found[key]}, must be {wanted[key]}"
        for key in sorted(wanted.keys() | found.keys())
        if found[key] != wanted[key]
    ]
    sent = figures["samples", "positive"] + figures["samples", "negative"]
    if not sent <= verdict.checked <= sent + figures["late_corrections",]:
        said.append(f"counter samples: {sent}, {verdict.checked} were written")
    closed, dropped = figures["windows_closed",], figures["samples", "down-sampled"]
    if variant.late != "correct" and closed != sent + dropped:
        said.append(f"counter windows_closed: {closed}, but {sent} samples and {dropped} down-sampled")
    return said
