"""One key at a time: what the inputs give against what stands in the samples topic (rules 1 to 7, 14)."""

from __future__ import annotations

from collections.abc import Sequence

from samplejoin.core.keys import partition_of
from samplejoin.core.outcomes import Sample
from samplejoin.job.compile import Job
from samplejoin.verify import rows as r
from samplejoin.verify.case import Case, place
from samplejoin.verify.differences import Differences
from samplejoin.verify.expected import Expectation, KeyMade, Made, Row, without
from samplejoin.verify.ground import Ground, key_of, time_text
from samplejoin.verify.replay import Replayed
from samplejoin.verify.report import POSSIBLY_LATE, Example, Report
from samplejoin.verify.sides import account, compare_letters, compare_orphans


class Judge(Ground):
    """Compares keys, one after the other."""

    def __init__(self, job: Job, scope: r.Scope, report: Report, sources: dict[str, int], input_clock: int) -> None:
        super().__init__(job, scope, report, sources, input_clock)
        self._expectation = Expectation(job)
        self._differences = Differences(job.model)

    def judge(self, key: bytes, kinds: Sequence[Sequence[Row]], replayed: Replayed | None, final: bool) -> bool:
        """Compares a key and enters what it found; unless `final`, an error that a replay may explain enters nothing.

        True if the key must be judged again, with what the replay gives of it.
        """
        rows, samples, late, orphans, letters, outside = kinds
        full = self._expectation.of(key, rows) if rows else KeyMade()
        if not late and not letters and not orphans and self._plainly_right(key, full, samples):
            account(self, rows, full, (), self.clock(key))
            return False
        case, unknown = self._case(key, rows, full, late, replayed)
        case.add_found(samples)
        case.outside = {row[1] for row in outside}
        case.findings.counts["samples"] = len(samples)
        self._compare(case)
        compare_letters(self, case, letters)
        compare_orphans(self, case, orphans)
        if case.findings.explicable and not final and self.scope.replayable:
            return True
        if self.report.late is not None:
            self.report.late.rows += len(case.late) + unknown
            self.report.late.unexplained += unknown if self.scope.gone_to_ms is None and not self.shared else 0
        case.findings.enter(self.report)
        account(self, rows, full, case.late, case.clock)
        return False

    def _plainly_right(self, key: bytes, full: KeyMade, samples: Sequence[Row]) -> bool:
        """Most keys: every window has its one sample, first revision, exactly so. Counts them; False: look closely."""
        if len(samples) != len(full.windows) or full.orphans:
            return False
        for made, row in zip(full.windows, samples, strict=True):
            want = made.sample
            if want is None or row[r.ID] != want.sample_id or row[r.PAYLOAD] != want.payload:
                return False
            if row[r.FLAGS] or row[r.REVISION] or float(row[r.WEIGHT] or 0) != want.weight:
                return False
        shown = sum(self.in_range(made.window) for made in full.windows)
        self.report.samples += shown
        self.report.right += shown
        return True

    def _case(
        self, key: bytes, rows: Sequence[Row], full: KeyMade, late: Sequence[Row], replayed: Replayed | None
    ) -> tuple[Case, int]:
        """With what the rows give without the late ones, and without those the job has not merged yet."""
        case, unknown = Case(key, rows, full, full, self.clock(key), replayed=replayed), 0
        if late:
            told = late if self.exactly_once else list({row[r.SIDE_DIGEST]: row for row in late}.values())
            kept, case.late, unknown = without(rows, told, self.numbers, self.streams, self.spec.resolution_ms)
            case.base = self._expectation.of(key, kept)
        covered = self.scope.covered.get(partition_of(key, self.scope.partitions))
        if covered is not None:
            merged = [row for row in rows if row[r.OFFSET] <= covered.get(self.names[row[r.SOURCE]], -1)]
            if len(merged) < len(rows):
                case.merged, case.merged_rows = self._expectation.of(key, merged), merged
        return case, unknown

    # ---- samples ------------------------------------------------------------------------------------------------

    def _compare(self, case: Case) -> None:
        in_full = case.full.samples()
        in_base = in_full if case.base is case.full else case.base.samples()
        for id_, made in (in_base | in_full).items():
            found = case.found.pop(id_, [])
            if not self.in_range(made.window):
                case.findings.counts["samples"] -= len(found)
                continue
            want = in_base[id_].sample if id_ in in_base else None
            self._compare_one(case, made, in_full.get(id_), want, found)
        for made in case.full.windows:
            if made.sample is None and self.in_range(made.window):
                case.findings.counts["right"] += 1
        if (log := case.log_excuses()) is not None:
            self._by_the_log_alone(case, log.samples, in_base | in_full)
        for id_, found in case.found.items():
            self._not_expected(case, id_, found)

    def _by_the_log_alone(self, case: Case, samples: dict[str, Sample], known: dict[str, Made]) -> None:
        """Samples that there are only because a row was late, their window's first anchor, say: they must be there."""
        for id_, want in samples.items():
            end = want.slice_ms // self.spec.resolution_ms + self.spec.window
            if id_ in known or not self.scope.from_ms <= want.slice_ms < self.scope.to_ms or end > case.clock:
                continue
            found = case.found.pop(id_, [])
            self._look_for_repeats(case, None, want, found)
            last = max(found, key=lambda row: int(row[r.REVISION]), default=None)
            cls, fields = ("lost", []) if last is None else self._differences.of(want, last)
            if cls is not None:
                case.findings.counts[cls] += 1
                self._blame(case, cls, None, want, last, fields)

    def _compare_one(self, case: Case, made: Made, whole: Made | None, want: Sample | None, found: list[Row]) -> None:
        """One sample id: `whole` is what all rows make of it, `want` what those make that were not late."""
        self._look_for_repeats(case, made, want, found)
        counts, last = case.findings.counts, max(found, key=lambda row: int(row[r.REVISION]), default=None)
        reason = None if last is None else _flag(last)
        fields: list[str] = []
        cls = "lost" if want is not None else None
        if last is not None:
            cls, fields = ("unexplained", []) if want is None else self._differences.of(want, last)
        if reason is None and cls is None:
            if whole is not None and _same(whole.sample, want):
                counts["right"] += 1
                return
            reason = case.late_reason(self.numbers)
        reason = reason or self._excuse(case, made, cls, last)
        if reason is not None:
            case.findings.excuses += [reason] if whole is not None else []
        elif self._still_open(case, made, last):
            counts["open"] += 1
            counts["behind"] += last is None and made.window.end <= self.input_clock
        else:
            counts[str(cls)] += 1
            self._blame(case, str(cls), made, want, last, fields)

    def _look_for_repeats(self, case: Case, made: Made | None, want: Sample | None, found: list[Row]) -> None:
        if len(found) < 2 and not (found and found[0][r.REVISION]):
            return
        seen: dict[int, Row] = {}
        for row in found:
            first = seen.setdefault(row[r.REVISION], row)
            if first is row:
                continue
            if not self.exactly_once and (row[r.PAYLOAD], row[r.WEIGHT]) == (first[r.PAYLOAD], first[r.WEIGHT]):
                case.findings.counts["repeats"] += 1
                continue
            if self.exactly_once or want is None:
                case.findings.counts["doubled"] += 1
                self._blame(case, "doubled", made, want, row, [])
            cls, fields = (None, []) if want is None else self._differences.of(want, row)
            if cls is not None:
                case.findings.counts[cls] += 1
                self._blame(case, cls, made, want, row, fields)
        if any(revision and not self.spec.correction for revision in seen):
            case.findings.counts["unexplained"] += 1
            self._blame(case, "unexplained", made, want, found[-1], ["revision"])

    def _excuse(self, case: Case, made: Made | None, cls: str | None, last: Row | None) -> str | None:
        """Why a sample may differ from what all rows make (rule 6), None if nothing says so."""
        replayed = case.log_excuses()
        if replayed is not None:
            id_ = made.sample_id if made is not None and last is None else last[r.ID] if last is not None else None
            says = replayed.samples.get(str(id_))
            if last is None:
                return case.late_reason(self.numbers) if says is None else None
            if says is not None and says.revision == last[r.REVISION] and self._differences.of(says, last)[0] is None:
                return case.late_reason(self.numbers)
        if not self.scope.replayable:
            window = None if made is None else made.window
            if case.possibly_late(self.spec, window, lost=last is None):
                return POSSIBLY_LATE
        return None

    def _still_open(self, case: Case, made: Made, last: Row | None) -> bool:
        """Whether the window is not due yet, or the job has not yet merged rows that decide."""
        if last is None and made.window.end > case.clock:
            return True
        if case.merged is None:
            return False
        now = case.merged.samples().get(str(made.sample_id))
        if last is None or now is None or now.sample is None:
            return last is None and now is None
        return self._differences.of(now.sample, last)[0] is None

    def _not_expected(self, case: Case, id_: str, found: list[Row]) -> None:
        """Samples with an id that the inputs do not give."""
        counts = case.findings.counts
        self._look_for_repeats(case, None, None, found)
        last = max(found, key=lambda row: int(row[r.REVISION]))
        if self._excuse(case, None, "unexplained", last) is not None:
            return
        if case.merged is not None and id_ in case.merged.samples():
            return
        if self.scope.gone_to_ms is not None:
            counts["unverifiable"] += len(found)
        elif id_ in case.outside or all(row[r.FLAGS] & r.OTHER_VERSION for row in found):
            counts["other_versions"] += len(found)
        else:
            counts["unexplained"] += len(found)
            self._blame(case, "unexplained", None, None, last, [])

    # ---- examples -----------------------------------------------------------------------------------------------

    def _blame(
        self, case: Case, cls: str, made: Made | None, want: Sample | None, row: Row | None, fields: list[str]
    ) -> None:
        if len(case.findings.examples) >= self.report.examples_per_class:
            return
        window = None if made is None else made.window
        slice_ms = None if window is None else window.slice * self.spec.resolution_ms
        case.findings.examples.append(
            Example(
                cls,
                key_of(case.key),
                str(row[r.ID]) if row is not None else want.sample_id if want is not None else None,
                None if slice_ms is None else time_text(slice_ms),
                slice_ms,
                fields,
                None if want is None else self._differences.fields(want.payload),
                None if row is None else self._differences.fields(row[r.PAYLOAD]),
                case.sources(self.names, self.spec, window),
                None if row is None else place(f"{self.job.model.samples_topic} {row[r.PARTITION]}", row[r.AT]),
            )
        )


def _flag(row: Row) -> str | None:
    if row[r.FLAGS] & r.INCOMPLETE:
        return "complete: false"
    return "truncated: true" if row[r.FLAGS] & r.TRUNCATED else None


def _same(a: Sample | None, b: Sample | None) -> bool:
    return a is b or (a is not None and b is not None and (a.payload, a.weight) == (b.payload, b.weight))
