"""The findings of one key's comparison, kept separately from the report because a replay may still explain them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from samplejoin.verify.report import ERRORS, Deviation, Report


@dataclass
class Findings:
    """Counts by the field names of `Report`; `letters`, `orphans` and `late` by the field names of its parts."""

    counts: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    orphans: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    excuses: list[str] = field(default_factory=list)
    examples: list[Deviation] = field(default_factory=list)
    #: whether something was taken on trust that a replay of the log can prove
    believed: bool = False

    def has_room(self, cls: str, most: int) -> bool:
        """Returns whether there is room for another example of that class; `most` are kept."""
        return sum(example.cls == cls for example in self.examples) < most

    @property
    def replay_tells(self) -> bool:
        """Returns whether a replay of the log can change the result: something was taken on trust, or there is an error
        that late or dropped rows could explain. A doubled sample is not such an error."""
        return (
            self.believed
            or any(self.counts[name] for name in ERRORS if name != "doubled")
            or bool(self.letters["missing"] or self.letters["unexpected"])
            or bool(self.orphans["missing"] or self.orphans["unexplained"])
        )

    def enter(self, report: Report) -> None:
        """Adds all findings to the report."""
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
