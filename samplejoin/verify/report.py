"""What a verification found: counts by class, examples, and the verdict. The names are those of `-o json`."""

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
    """What became of a stream's records and rows. `joined`, `orphan` and `pending` are of label streams."""

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
    """Dead letters against what cleaning and finishing say."""

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
    """Rows of the orphan topic against those that no window holds; the `late` ones are not expected there."""

    late: int = 0
    expected: int = 0
    found: int = 0
    missing: int = 0
    unexplained: int = 0
    exempt: int = 0


@dataclass
class LateRows:
    """Rows of the late topic; `unexplained`: not in the inputs; `missing`: late by the replayed log, and not there."""

    rows: int = 0
    unexplained: int = 0
    missing: int = 0


@dataclass
class ReplayCounts:
    """The replay of the repartition log: for how many keys, and whether the log was still whole."""

    used: bool = False
    keys: int = 0
    complete: bool = False
    entries: int = 0


@dataclass
class Deviation:
    """One thing that is wrong, with what is needed to look at it."""

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
        """For JSON: `cls` is `class` there."""
        fields = asdict(self)
        return {"class": fields.pop("cls"), **fields}


@dataclass
class Report:
    """All counts. `windows` and `samples` are of the range and share that was looked at."""

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
    #: windows of which there is only a sample that another version of the job has made before this one's first
    former: int = 0
    repeats: int = 0
    other_versions: int = 0
    unverifiable: int = 0
    #: records that `samplejoin skip` has had passed over, by topic: nothing is expected of them
    skipped: dict[str, int] = field(default_factory=dict)
    exempt_reasons: dict[str, int] = field(default_factory=dict)
    #: of the job file; and the samples by theirs
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
        """The errors by class, those that there are."""
        found = {name: getattr(self, name) for name in ERRORS}
        found |= {f"letters_{name}": getattr(self.letters, name) for name in ("missing", "unexpected", "doubled")}
        if self.orphans is not None:
            found |= {"orphans_missing": self.orphans.missing, "orphans_unexplained": self.orphans.unexplained}
        if self.late is not None:
            found |= {"late_missing": self.late.missing, "late_unexplained": self.late.unexplained}
        return {name: count for name, count in found.items() if count}

    @property
    def ok(self) -> bool:
        """Whether everything is explained, and there was something to explain, most of it judged."""
        return not self.wrong and self.compared and self.judged

    @property
    def judged(self) -> bool:
        """Whether at least half of the windows could be judged: the others are still open, or another version's."""
        return 2 * self.unjudged <= self.windows

    @property
    def unjudged(self) -> int:
        """Windows of which nothing could be said."""
        return self.open + self.former

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare."""
        return bool(self.windows or self.samples)

    @property
    def exempt_share(self) -> float:
        """Of all windows."""
        return self.exempt / self.windows if self.windows else 0.0

    @property
    def verdict(self) -> str:
        """One line."""
        open_ = self._open_text
        if self.wrong:
            what = ", ".join(_wrong_text(name, count) for name, count in self.wrong.items())
            return f"NOT ok: {what}" + (f"; not judged: {open_}" if open_ else "")
        if not self.compared:
            looked = "" if (self.from_, self.to, self.share) == (None, None, 1.0) else " where it was looked"
            return f"nothing was compared: the inputs give no window, and the samples topic has no sample{looked}"
        part = "" if self.share == 1.0 else f" in the share of {self.share:.3g} that was looked at"
        right = f"nothing is lost, doubled or wrong in {counted(self.windows - self.unjudged, 'window')}{part}"
        if self.judged:
            return f"ok: {right}" + (f"; not judged: {open_}" if open_ else "")
        return f"NOT JUDGED: {open_}{self._why_open}; {right}"

    @property
    def _open_text(self) -> str:
        """Of the windows that are not judged; empty if there are none."""
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
        """What must be known before any count is read."""
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
        """Counts an exempt window (rule 6)."""
        self.exempt += 1
        self.exempt_reasons[reason] = self.exempt_reasons.get(reason, 0) + 1

    def blame(self, example: Deviation) -> None:
        """Keeps an example of its class, if there is room; the caller counts."""
        if sum(e.cls == example.cls for e in self.errors) < self.examples_per_class:
            self.errors.append(example)

    def as_dict(self) -> Fields:
        """The object that `-o json` prints."""
        fields = asdict(self)
        for hidden in ("examples_per_class", "errors"):
            del fields[hidden]
        fields["from"] = fields.pop("from_")
        return {
            "ok": self.ok, "judged": self.judged, "verdict": self.verdict, "first_of_all": self.first_of_all,
            **fields, "exempt_share": self.exempt_share,
            "errors": [e.as_dict() for e in self.errors],
        }  # fmt: skip


def _wrong_text(name: str, count: int) -> str:
    """`2 lost`; `1 letter missing`, `2 letters missing`."""
    what, _, how = name.partition("_")
    if what in ("letters", "orphans"):
        return f"{counted(count, what.removesuffix('s'))} {how}"
    return f"{count:,} {name.replace('_', ' ')}"
