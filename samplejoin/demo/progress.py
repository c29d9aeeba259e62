"""The progress of a running job, from its replay and its worker's metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from samplejoin.demo.process import MetricsReading
from samplejoin.demo.replay import Replay
from samplejoin.job.model import JobModel

State = Literal["starting", "joining", "closing the last windows", "done"]


@dataclass
class Progress:
    """One job's figures. Times are epoch milliseconds of event time, unless they say otherwise."""

    name: str
    total: int
    labels: tuple[str, ...]
    state: State = "starting"
    sent: int = 0
    read: int = 0
    open_keys: int = 0
    samples: int = 0
    positives: int = 0
    late: int = 0
    dead: int = 0
    clock_ms: int | None = None
    #: how far the clock is behind what has been sent, in seconds of the replay
    delay_s: float | None = None
    #: per stream: rows read, samples with one, rows in a sample, rows without a window
    rows: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    joined_rows: dict[str, int] = field(default_factory=dict)
    orphans: dict[str, int] = field(default_factory=dict)

    def update(self, model: JobModel, replay: Replay, reading: MetricsReading | None) -> bool:
        """Takes new figures; without a reading the worker's figures stay. Returns whether the job is done."""
        self.sent = replay.sent
        if reading is None:
            return self.done
        for stream in model.streams:
            self.rows[stream] = int(reading.total("samplejoin_events_total", stream, "ok"))
        for stream in self.labels:
            self.joined[stream] = int(reading.total("samplejoin_joined_samples_total", stream))
            self.joined_rows[stream] = int(reading.total("samplejoin_joined_rows_total", stream))
            self.orphans[stream] = int(reading.total("samplejoin_orphan_rows_total", stream))
        self.read = sum(self.rows.values())
        self.open_keys = int(reading.total("samplejoin_state_keys"))
        self.positives = int(reading.total("samplejoin_samples_total", "positive"))
        self.samples = self.positives + int(reading.total("samplejoin_samples_total", "negative"))
        self.late = int(reading.total("samplejoin_late_rows_total"))
        self.dead = int(reading.total("samplejoin_dead_letters_total"))
        self._clock(model, replay, reading)
        return self.done

    def _clock(self, model: JobModel, replay: Replay, reading: MetricsReading) -> None:
        clock_s = reading.lowest("samplejoin_clock_seconds")
        if clock_s is None or reading.count("samplejoin_clock_seconds") < model.partitions:
            return
        self.clock_ms = round(clock_s * 1000)
        wanted_ms = replay.time_ms - model.largest_lateness_ms
        self.delay_s = max(0.0, (wanted_ms - self.clock_ms) / 1000 / replay.compress)
        self.state = "closing the last windows" if replay.ended else "joining"
        if replay.ended and self.clock_ms >= wanted_ms and not self.open_keys:
            self.state = "done"

    @property
    def repeated(self) -> int:
        """Number of anchors in the window of an earlier one of their key, which are part of its sample (rule 3)."""
        anchors = sum(rows for stream, rows in self.rows.items() if stream not in self.labels)
        return max(0, anchors - self.samples - self.dead)

    @property
    def done(self) -> bool:
        """Whether every window is closed."""
        return self.state == "done"

    def ratio(self, stream: str) -> float | None:
        """Returns the share of samples that a label stream joined, None before the first sample."""
        return self.joined.get(stream, 0) / self.samples if self.samples else None
