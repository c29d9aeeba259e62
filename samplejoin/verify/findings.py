"""What one key's comparison found, kept apart until it is known to stand: a replay may still explain it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from samplejoin.verify.report import ERRORS, Deviation, Report


@dataclass
class Findings:
    """Counts by the names of `Report`; `letters`, `orphans` and `late` by those of their parts."""

    counts: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    orphans: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    excuses: list[str] = field(default_factory=list)
    examples: list[Deviation] = field(default_factory=list)
    #: something was believed that a replay of the log can prove
    believed: bool = False

    def has_room(self, cls: str, most: int) -> bool:
        """Whether another example of that class is wanted."""
        return sum(example.cls == cls for example in self.examples) < most

    @property
    def replay_tells(self) -> bool:
        """Whether there is an error that late or dropped rows could explain (a sample that is there twice is none), or
        something that was believed."""
        return (
            self.believed
            or any(self.counts[name] for name in ERRORS if name != "doubled")
            or bool(self.letters["missing"] or self.letters["unexpected"])
            or bool(self.orphans["missing"] or self.orphans["unexplained"])
        )

    def enter(self, report: Report) -> None:
        """Adds all of it to the report."""
        for name, count in self.counts.items():
            setattr(report, name, getattr(report, name) + count)
        for name, count in self.letters.items():
            setattr(report.letters, name, getattr(report.letters, name) + count)
        if report.orphans is not None:
            for name, count in self.orphans.items():
                setattr(report.orphans, name, getattr(report.orphans, name) + count)
        if report.late is not None:
            for name, count in self.late.items():
                setattr(report.late, name, getattr(report.late, name) + count)
        for reason in self.excuses:
            report.excuse(reason)
        for example in self.examples:
            report.blame(example)
