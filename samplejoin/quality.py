"""The share of records and samples that became dead letters lately, with the last error (rule 12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_ERROR_CHARS = 200
SAMPLES = ""
"""Stands beside the streams' names, none of which is empty."""


class Quality:
    """Judges what has become of records and windows lately: older counts weigh half as much at every look.

    `names` says what a step is called in the job file: `label`, `format`.
    """

    def __init__(self, metrics: Any, error_rate: float, names: Mapping[str, str]) -> None:
        self.metrics, self.error_rate, self.names = metrics, error_rate, names
        #: what is wrong, as of the last look
        self.warnings: list[str] = []
        self._before: dict[tuple[str, tuple[str, ...]], float] = {}
        #: stream, or SAMPLES -> outcome -> how many lately
        self._recent: dict[str, dict[str, float]] = {}
        #: stream, or SAMPLES -> reason -> function and error of the last dead letter; the latest reason stands last
        self._errors: dict[str, dict[str, tuple[str, str]]] = {}

    def record_failed(self, stream: str, reason: str, function: str, error: str) -> None:
        """A record of the stream has become a dead letter."""
        errors = self._errors.setdefault(stream, {})
        errors.pop(reason, None)
        errors[reason] = function, error[:MAX_ERROR_CHARS]

    def sample_failed(self, step: str, error: str) -> None:
        """A window's sample has become a dead letter at that step: aggregate, label, format or sample_too_large."""
        self.record_failed(SAMPLES, step, self.names.get(step, step), error)

    def look(self) -> list[str]:
        """Sets the gauges of shares; returns a line for each share over `error_rate` that something new has come to."""
        moved: set[str] = set()
        for counts in self._recent.values():
            for outcome in counts:
                counts[outcome] /= 2
        for (name, labels), value in self.metrics.totals.items():
            delta = value - self._before.get((name, labels), 0)
            self._before[name, labels] = value
            if delta and name == "events":
                self._add(labels[0], labels[1], delta)
                moved.add(labels[0])
            elif delta and name in ("samples", "revisions"):
                self._add(SAMPLES, labels[0], delta)
                moved.add(SAMPLES)
        said = {subject: self._judge(subject, counts) for subject, counts in self._recent.items()}
        self.warnings = [warning for warning in said.values() if warning]
        self._set_join_ratios()
        return [warning for subject, warning in said.items() if warning and subject in moved]

    def _add(self, subject: str, outcome: str, by: float) -> None:
        counts = self._recent.setdefault(subject, {})
        counts[outcome] = counts.get(outcome, 0) + by

    def _judge(self, subject: str, counts: dict[str, float]) -> str:
        everything = sum(counts.values())
        dead = {outcome: value for outcome, value in counts.items() if outcome.startswith("dead")}
        share = sum(dead.values()) / everything if everything else 0.0
        if subject == SAMPLES:
            self.metrics.set("sample_error_ratio", (), share)
            what = f"samples: {share:.1%} of the closed windows are"
        else:
            self.metrics.set("error_ratio", (subject,), share)
            what = f"stream {subject}: {share:.1%} of its records are"
        if share <= self.error_rate:
            return ""
        reasons = sorted(dead, key=lambda outcome: -dead[outcome])
        last = self._last_error(subject, [outcome.removeprefix("dead_") for outcome in reasons])
        return f"{what} dead letters (error_rate: {self.error_rate:.1%}){last}"

    def _last_error(self, subject: str, reasons: list[str]) -> str:
        """The last error for the most frequent reason; of samples, whose outcomes name none, the last of all."""
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
