"""Prometheus metrics of a worker. Names and units follow Prometheus' conventions; docs/metrics.md lists all of them."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

COUNTERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "records": ("samplejoin_records", ("topic",), "Records read and cleaned."),
    "events": ("samplejoin_events", ("stream", "outcome"), "Records and rows by their outcome in cleaning."),
    "samples": ("samplejoin_samples", ("outcome",), "Closed windows by outcome; each has exactly one."),
    "revisions": ("samplejoin_revisions", ("outcome",), "Corrections by outcome: sent, filtered, down-sampled, dead."),
    "windows": ("samplejoin_windows_closed", (), "Windows that the clock has closed."),
    "joined_rows": ("samplejoin_joined_rows", ("stream",), "Rows that became part of a sample."),
    "folded_rows": ("samplejoin_folded_rows", ("stream",), "Rows that count once with others of the same id."),
    "joined_samples": ("samplejoin_joined_samples", ("stream",), "Samples with at least one row of the stream."),
    "late_rows": ("samplejoin_late_rows", ("stream",), "Rows behind the clock on arrival, whatever their outcome."),
    "late_dropped_rows": ("samplejoin_late_dropped_rows", ("stream",), "Late rows that no open window took."),
    "late_corrections": ("samplejoin_late_corrections", (), "Late rows that caused a correction of a sent sample."),
    "orphan_dropped_rows": ("samplejoin_orphan_rows", ("stream",), "Label rows that no window held."),
    "cut_rows": (
        "samplejoin_cut_rows",
        ("stream",),
        "Label rows that no window held, so near `start` or `until` that another generation may have joined them.",
    ),
    "cut_side_rows": (
        "samplejoin_cut_side_rows",
        ("stream",),
        "Records of late and orphan rows sent without their fields, which were over 1000 KiB.",
    ),
    "truncated_rows": ("samplejoin_truncated_rows", ("stream",), "Label rows dropped by limits.rows or limits.key."),
    "dead_letters": ("samplejoin_dead_letters", ("reason",), "Records and samples that could not be used."),
    "skipped_records": ("samplejoin_skipped_records", ("topic",), "Records passed over by `samplejoin skip`."),
    "skipped_entries": ("samplejoin_skipped_entries", ("source",), "Blocks that were merged before (replays)."),
    "rewound_entries": (
        "samplejoin_rewound_entries",
        ("source",),
        "Blocks and ticks so far behind that somebody must have moved the offsets back by hand.",
    ),
    "gap_refused": (
        "samplejoin_gap_refused",
        ("source",),
        "Blocks and ticks refused because rows before them are missing.",
    ),
    "straddle_refused": ("samplejoin_straddle_refused", ("source",), "Blocks refused for a partly merged cell."),
    "refused_records": (
        "samplejoin_refused_records",
        ("topic",),
        "Records in the job's internal topics that none of its workers wrote.",
    ),
    "commits": ("samplejoin_commits", (), "Commits of join partitions."),
    "changelog_rows": ("samplejoin_changelog_rows", (), "Keys put or deleted by commits."),
    "far_times": ("samplejoin_far_times", ("stream",), "Runs with times decades before their records' timestamps."),
    "rebalances": ("samplejoin_rebalances", (), "Assignments taken away from this worker."),
}
GAUGES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "state_keys": ("samplejoin_state_keys", ("partition",), "Keys of a join partition held in memory."),
    "remembered_keys": (
        "samplejoin_remembered_keys",
        ("partition",),
        "Keys with nothing open, remembered for corrections.",
    ),
    "clock_ms": ("samplejoin_clock_seconds", ("partition",), "The clock of a join partition, event time."),
    "watermark_delay": ("samplejoin_watermark_delay_seconds", ("partition",), "How late the clock is, in seconds."),
    "held_by": (
        "samplejoin_clock_held_by",
        ("partition", "stream", "source", "why"),
        "1 for the source that the clock waits for, and why: unread, empty, reading or silent.",
    ),
    "source_lag": ("samplejoin_consumer_lag_records", ("topic", "partition"), "Records not yet read."),
    "join_lag": ("samplejoin_join_lag_records", ("partition",), "Blocks not yet stepped."),
    "last_event": ("samplejoin_last_event_timestamp_seconds", ("topic", "partition"), "Highest event time read."),
    "last_commit_seconds": ("samplejoin_last_commit_timestamp_seconds", ("partition",), "Time of the last commit."),
    "left_out": ("samplejoin_left_out_sources", ("partition",), "Sources that max_wait leaves out of the clock."),
    "null_fields": ("samplejoin_null_fields", ("stream", "field"), "1 for a field that none of the first rows had."),
    "error_ratio": ("samplejoin_error_ratio", ("stream",), "Share of a stream's records that became dead letters."),
    "sample_error_ratio": ("samplejoin_sample_error_ratio", (), "Share of closed windows that became dead letters."),
    "join_ratio": ("samplejoin_join_ratio", ("stream",), "Share of this worker's samples that the stream joined."),
}
HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "clean_seconds": ("samplejoin_clean_run_seconds", ("topic",), "Cleaning one run of up to 2000 records."),
    "recovery_seconds": ("samplejoin_recovery_seconds", (), "Recovering one join partition."),
    "loop_stall_seconds": ("samplejoin_event_loop_stall_seconds", (), "Delay of the event loop's timed calls."),
}
BUCKETS = {"loop_stall_seconds": (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)}


class Metrics:
    """The worker's metrics, each with the job's name as the label `pipeline`, in a registry of their own."""

    def __init__(self, pipeline: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.pipeline = pipeline
        self._counters = {k: self._make(Counter, *v) for k, v in COUNTERS.items()}
        self._gauges = {k: self._make(Gauge, *v) for k, v in GAUGES.items()}
        self._histograms = {
            k: self._make(Histogram, *v, buckets=BUCKETS.get(k, Histogram.DEFAULT_BUCKETS))
            for k, v in HISTOGRAMS.items()
        }
        build = Gauge("samplejoin_build_info", "The version that runs.", ("version",), registry=self.registry)
        build.labels(version).set(1)
        #: running totals by (name, labels), for the status line
        self.totals: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(self, name: str, labels: tuple[str, ...], by: float = 1) -> None:
        """Increases a counter."""
        self._counters[name].labels(self.pipeline, *labels).inc(by)
        self.totals[name, labels] = self.totals.get((name, labels), 0) + by

    def set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Sets a gauge."""
        self._gauges[name].labels(self.pipeline, *labels).set(value)

    def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Adds a value to a histogram."""
        self._histograms[name].labels(self.pipeline, *labels).observe(value)

    def forget(self, name: str) -> None:
        """Removes all series of a gauge, so that none remains of partitions that moved to another worker."""
        self._gauges[name].clear()

    def total(self, name: str, *labels: str) -> float:
        """Returns the sum of a counter over all series whose labels end with `labels`."""
        return sum(
            v for (n, given), v in self.totals.items() if n == name and given[len(given) - len(labels) :] == labels
        )

    def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _make(self, kind: Any, name: str, labels: tuple[str, ...], help_: str, **options: Any) -> Any:
        return kind(name, help_, ("pipeline", *labels), registry=self.registry, **options)
