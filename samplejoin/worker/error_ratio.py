"""The share of recent records and samples that became dead letters, with the last error (rule 12)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from samplejoin.core.spec import Stream

MAX_ERROR_CHARS = 200
SAMPLES = ""
"""Key of the samples among the names of streams, none of which is empty."""


class Quality:
    """Computes the share of dead letters among recent records and windows. Each update halves the older counts.

    Records are counted, not rows, because one record can have thousands of rows. `names` maps a step (`label`,
    `format`) to its value in the job file.
    """

    def __init__(
        self, metrics: Any, error_rate: float, names: Mapping[str, str], streams: Iterable[Stream] = ()
    ) -> None:
        self.metrics, self.error_rate, self.names = metrics, error_rate, names
        #: topic -> the streams that read each of its records
        self._readers: dict[str, list[str]] = {}
        for stream in streams:
            for topic in stream.topics:
                self._readers.setdefault(topic, []).append(stream.name)
        #: warnings as of the last update
        self.warnings: list[str] = []
        self._before: dict[tuple[str, tuple[str, ...]], float] = {}
        #: stream, or SAMPLES -> recent records or windows
        self._recent: defaultdict[str, float] = defaultdict(float)
        #: stream, or SAMPLES -> reason, or outcome -> recent dead letters
        self._dead: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        #: dead letters of records since the last update, by stream and reason
        self._new: Counter[tuple[str, str]] = Counter()
        #: stream, or SAMPLES -> reason -> function and error of the last dead letter; the latest reason comes last
        self._errors: dict[str, dict[str, tuple[str, str]]] = {}

    def record_failed(self, stream: str, reason: str, function: str, error: str) -> None:
        """Counts a record of the stream that became a dead letter, and keeps its error."""
        self._new[stream, reason] += 1
        self._keep(stream, reason, function, error)

    def _keep(self, stream: str, reason: str, function: str, error: str) -> None:
        errors = self._errors.setdefault(stream, {})
        errors.pop(reason, None)
        errors[reason] = function, error[:MAX_ERROR_CHARS]

    def sample_failed(self, step: str, error: str) -> None:
        """Keeps the error of a dead sample. `step`: aggregate, label, format or sample_too_large."""
        self._keep(SAMPLES, step, self.names.get(step, step), error)

    def update(self) -> list[str]:
        """Sets the gauges; returns a warning for each share over `error_rate` whose records or windows are new."""
        moved: set[str] = set()
        for counts in (self._recent, *self._dead.values()):
            for counted in counts:
                counts[counted] /= 2
        for (name, labels), value in self.metrics.totals.items():
            delta = value - self._before.get((name, labels), 0)
            self._before[name, labels] = value
            if delta and name == "records":
                for stream in self._readers.get(labels[0], ()):
                    self._recent[stream] += delta
                    moved.add(stream)
            elif delta and name in ("samples", "revisions"):
                self._recent[SAMPLES] += delta
                moved.add(SAMPLES)
                if labels[0].startswith("dead"):
                    self._dead[SAMPLES][labels[0]] += delta
        for (stream, reason), count in self._new.items():
            self._dead[stream][reason] += count
        self._new.clear()
        said = {subject: self._judge(subject, everything) for subject, everything in self._recent.items()}
        self.warnings = [warning for warning in said.values() if warning]
        self._set_join_ratios()
        return [warning for subject, warning in said.items() if warning and subject in moved]

    def _judge(self, subject: str, everything: float) -> str:
        dead = self._dead[subject]
        share = min(1.0, sum(dead.values()) / everything) if everything else 0.0
        if subject == SAMPLES:
            self.metrics.set("sample_error_ratio", (), share)
            what = f"samples: {share:.1%} of the closed windows are"
        else:
            self.metrics.set("error_ratio", (subject,), share)
            what = f"stream {subject}: {share:.1%} of its records are"
        if share <= self.error_rate:
            return ""
        last = self._last_error(subject, sorted(dead, key=lambda reason: -dead[reason]))
        return f"{what} dead letters (error_rate: {self.error_rate:.1%}){last}"

    def _last_error(self, subject: str, reasons: list[str]) -> str:
        """Returns the last error of the most frequent reason; for samples, whose outcomes have none, the latest."""
        errors = self._errors.get(subject, {})
        for reason in reasons if subject != SAMPLES else reversed(errors):
            if reason in errors:
                function, error = errors[reason]
                at = reason if function == reason else f"{reason} ({function})"
                return f", most at {at}; the last error: {error}"
        return ""

    def _set_join_ratios(self) -> None:
        samples = self.metrics.total("samples", "positive") + self.metrics.total("samples", "negative")
        for (name, labels), value in list(self.metrics.totals.items()):
            if name == "joined_samples" and samples:
                self.metrics.set("join_ratio", labels, value / samples)
