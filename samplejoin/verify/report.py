"""The result of a verification: counts by class, examples, and the verdict. The names are those of `-o json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from samplejoin.core.user_errors import counted
from samplejoin.core.values import Fields

ERRORS = ("lost", "doubled", "wrong_label", "wrong_field", "wrong_weight", "wrong_header", "unexplained")
LATE = "late row"
LATE_IN_ORDER = "late row, in order in its partition"
POSSIBLY_LATE = "possibly late row"
TRUNCATED = "truncated: true"
INCOMPLETE = "complete: false"
NOT_THERE = "truncated or not complete, and filtered or down-sampled"


@dataclass
class StreamCounts:
    """Counts of a stream's records and rows by outcome. `joined`, `orphan` and `pending` are of label streams only."""

    role: str
    records: int = 0
    ok: int = 0
    filtered: int = 0
    junk_key: int = 0
    before_start: int = 0
    after_until: int = 0
    dead: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    late: int = 0
    joined: int = 0
    orphan: int = 0
    pending: int = 0


@dataclass
class Letters:
    """Counts of dead letters against those that cleaning and finishing give."""

    expected: int = 0
    found: int = 0
    repeats: int = 0
    open: int = 0
    future: int = 0
    missing: int = 0
    unexpected: int = 0
    doubled: int = 0


@dataclass
class Orphans:
    """Counts of rows in the orphan topic against those that no window holds. `late` ones are not expected there."""

    late: int = 0
    expected: int = 0
    found: int = 0
    missing: int = 0
    unexplained: int = 0
    exempt: int = 0


@dataclass
class LateRows:
    """Counts of rows in the late topic. `unexplained`: not in the inputs. `missing`: late by the log, but not there."""

    rows: int = 0
    unexplained: int = 0
    missing: int = 0


@dataclass
class ReplayCounts:
    """The replay of the repartition log: of how many keys, and whether the log was complete."""

    used: bool = False
    keys: int = 0
    complete: bool = False
    entries: int = 0


@dataclass
class Deviation:
    """One error, with what is needed to investigate it."""

    cls: str
    key: object = None
    sample_id: str | None = None
    window: str | None = None
    window_ms: int | None = None
    fields: list[str] = field(default_factory=list)
    expected: object = None
    found: object = None
    #: topic/partition/offset of the input records concerned
    sources: list[str] = field(default_factory=list)
    #: topic/partition/offset of the record that was found
    at: str | None = None

    def as_dict(self) -> Fields:
        """Returns the object for JSON, where `cls` is named `class`."""
        fields = asdict(self)
        return {"class": fields.pop("cls"), **fields}


@dataclass
class Report:
    """All counts. `windows` and `samples` count those of the range and share that were compared."""

    job: str
    generation: int = 1
    guarantee: str = "exactly_once"
    examples_per_class: int = 5
    from_: str | None = None
    to: str | None = None
    share: float = 1.0
    windows: int = 0
    samples: int = 0
    right: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_label: int = 0
    wrong_field: int = 0
    wrong_weight: int = 0
    wrong_header: int = 0
    unexplained: int = 0
    exempt: int = 0
    open: int = 0
    behind: int = 0
    #: windows that have only a sample which another version of the job made before the first of this version
    former: int = 0
    repeats: int = 0
    other_versions: int = 0
    unverifiable: int = 0
    #: topic -> records skipped by `samplejoin skip`, of which nothing is expected
    skipped: dict[str, int] = field(default_factory=dict)
    exempt_reasons: dict[str, int] = field(default_factory=dict)
    #: short fingerprint of the job file, and fingerprint -> number of samples
    fingerprint: str = ""
    versions: dict[str, int] = field(default_factory=dict)
    streams: dict[str, StreamCounts] = field(default_factory=dict)
    anchors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("rows", "windows", "repeated"), 0))
    made: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("samples", "filtered", "down_sampled", "dead"), 0)
    )
    letters: Letters = field(default_factory=Letters)
    orphans: Orphans | None = None
    late: LateRows | None = None
    #: samples of a revision above 0; None unless `late: correct`
    corrections: int | None = None
    replay: ReplayCounts = field(default_factory=ReplayCounts)
    read: dict[str, float] = field(default_factory=lambda: {"records": 0, "bytes": 0, "seconds": 0.0})
    notes: list[str] = field(default_factory=list)
    errors: list[Deviation] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, int]:
        """Returns the number of errors by class, without classes that have none."""
        found = {name: getattr(self, name) for name in ERRORS}
        found |= {f"letters_{name}": getattr(self.letters, name) for name in ("missing", "unexpected", "doubled")}
        if self.orphans is not None:
            found |= {"orphans_missing": self.orphans.missing, "orphans_unexplained": self.orphans.unexplained}
        if self.late is not None:
            found |= {"late_missing": self.late.missing, "late_unexplained": self.late.unexplained}
        return {name: count for name, count in found.items() if count}

    @property
    def ok(self) -> bool:
        """Returns whether there was something to compare, most of it was judged, and nothing is wrong."""
        return not self.wrong and self.compared and self.judged

    @property
    def judged(self) -> bool:
        """Returns whether at least half of the windows could be judged, as neither open nor of another version."""
        return 2 * self.unjudged <= self.windows

    @property
    def unjudged(self) -> int:
        """Returns the number of windows that could not be judged."""
        return self.open + self.former

    @property
    def compared(self) -> bool:
        """Returns whether there was anything to compare."""
        return bool(self.windows or self.samples)

    @property
    def exempt_share(self) -> float:
        """Returns the share of exempt windows among all windows."""
        return self.exempt / self.windows if self.windows else 0.0

    @property
    def verdict(self) -> str:
        """Returns the verdict as one line."""
        open_ = self._open_text
        if self.wrong:
            what = ", ".join(_wrong_text(name, count) for name, count in self.wrong.items())
            return f"NOT ok: {what}" + (f"; not judged: {open_}" if open_ else "")
        if not self.compared:
            looked = "" if (self.from_, self.to, self.share) == (None, None, 1.0) else " in the compared range"
            return f"nothing was compared: the inputs give no window, and the samples topic has no sample{looked}"
        part = "" if self.share == 1.0 else f" in the share of {self.share:.3g} that was compared"
        right = f"nothing is lost, doubled or wrong in {counted(self.windows - self.unjudged, 'window')}{part}"
        if self.judged:
            return f"ok: {right}" + (f"; not judged: {open_}" if open_ else "")
        return f"NOT JUDGED: {open_}{self._why_open}; {right}"

    @property
    def _open_text(self) -> str:
        """Returns in words which windows are not judged; empty if there are none."""
        parts, whole = [], counted(self.windows, "window")
        if self.open:
            parts.append(f"{self.open:,} of {whole} {'is' if self.open == 1 else 'are'} still open")
        if self.former:
            has = "has only a sample" if self.former == 1 else "have only samples"
            parts.append(f"{self.former:,} of {whole} {has} of another version of the job")
        return ", ".join(parts)

    @property
    def _why_open(self) -> str:
        return f" ({self.behind:,} of them behind: the job has not caught up)" if self.behind else ""

    @property
    def first_of_all(self) -> list[str]:
        """Returns the lines that must be read before any count."""
        others = sum(count for version, count in self.versions.items() if version != self.fingerprint)
        lines = []
        if others:
            lines.append(
                f"{others:,} of {counted(sum(self.versions.values()), 'sample')} "
                f"{'was' if others == 1 else 'were'} made by another version of the job"
            )
        if not self.judged:
            lines.append(f"{self._open_text}{self._why_open}: not judged")
        return lines

    def excuse(self, reason: str) -> None:
        """Counts an exempt window by its reason (rule 6)."""
        self.exempt += 1
        self.exempt_reasons[reason] = self.exempt_reasons.get(reason, 0) + 1

    def blame(self, example: Deviation) -> None:
        """Keeps an example if there is room for its class. The caller counts the error."""
        if sum(e.cls == example.cls for e in self.errors) < self.examples_per_class:
            self.errors.append(example)

    def as_dict(self) -> Fields:
        """Returns the object that `-o json` prints."""
        fields = asdict(self)
        for hidden in ("examples_per_class", "errors"):
            del fields[hidden]
        fields["from"] = fields.pop("from_")
        return {
            "ok": self.ok,
            "judged": self.judged,
            "verdict": self.verdict,
            "first_of_all": self.first_of_all,
            **fields,
            "exempt_share": self.exempt_share,
            "errors": [e.as_dict() for e in self.errors],
        }


def _wrong_text(name: str, count: int) -> str:
    """Returns a class of errors in words: `2 lost`, `1 letter missing`, `2 letters missing`."""
    what, _, how = name.partition("_")
    if what in ("letters", "orphans"):
        return f"{counted(count, what.removesuffix('s'))} {how}"
    return f"{count:,} {name.replace('_', ' ')}"
