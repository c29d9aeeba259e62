"""One key at a time: what the inputs give against what stands in the samples topic (rules 1 to 7, 11, 14)."""

from __future__ import annotations

from collections.abc import Sequence

from samplejoin.core.identity import place
from samplejoin.core.keys import partition_of
from samplejoin.core.outcomes import Sample
from samplejoin.job.compile import Job
from samplejoin.verify import rows as r
from samplejoin.verify.case import Case
from samplejoin.verify.claims import Claims
from samplejoin.verify.differences import Differences
from samplejoin.verify.expected import Expectation, KeyMade, Made, Row, without
from samplejoin.verify.ground import Ground, key_of, time_text
from samplejoin.verify.replay import Replayed
from samplejoin.verify.report import NOT_THERE, POSSIBLY_LATE, Example, Report
from samplejoin.verify.sides import account, compare_letters, compare_orphans


class Judge(Ground):
    """Compares keys, one after the other."""

    def __init__(self, job: Job, scope: r.Scope, report: Report, sources: dict[str, int], input_clock: int) -> None:
        super().__init__(job, scope, report, sources, input_clock)
        self._expectation = Expectation(job)
        self._differences = Differences(job.model)
        self._claims = Claims(job.spec)
        #: a sample that is dropped for what it holds is not there to say that it lacks something
        self._can_vanish = job.spec.keep_negatives < 1 or job.model.format not in ("json", "csv")

    def judge(self, key: bytes, kinds: Sequence[Sequence[Row]], replayed: Replayed | None, final: bool) -> bool:
        """Compares a key and enters what it found; unless `final`, what a replay may explain or refute enters nothing.

        True if the key must be judged again, with what the replay gives of it.
        """
        rows, samples, late, orphans, letters, outside = kinds
        full = self._expectation.of(key, rows) if rows else KeyMade()
        if not late and not letters and not orphans and self._plainly_right(key, full, samples):
            account(self, rows, full, (), self.clock(key))
            return False
        case, unknown = self._case(key, rows, full, late, replayed)
        case.outside = {row[1] for row in outside}
        case.findings.counts["samples"] = len(samples)
        case.add_found(self._ours(case, samples))
        self._compare(case)
        compare_letters(self, case, letters)
        compare_orphans(self, case, orphans)
        if case.findings.replay_tells and not final and self.scope.replayable:
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
            if row[r.FLAGS] or row[r.REVISION] or row[r.WRONG] or row[r.WEIGHT] != repr(want.weight):
                return False
        shown = sum(self.in_range(made.window) for made in full.windows)
        self.report.samples += shown
        self.report.right += shown
        return True

    def _case(
        self, key: bytes, rows: Sequence[Row], full: KeyMade, late: Sequence[Row], replayed: Replayed | None
    ) -> tuple[Case, int]:
        """With what the rows give without the late ones, and without those the job has not merged yet."""
        case = Case(self.spec, self.names, key, rows, full, full, self.clock(key), replayed=replayed)
        unknown = 0
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

    def _ours(self, case: Case, samples: Sequence[Row]) -> list[Row]:
        """Without those of another version, where another generation writes to the same topic."""
        if not self.shared:
            return list(samples)
        ours = [row for row in samples if not row[r.FLAGS] & r.OTHER_VERSION]
        case.findings.counts["other_versions"] += len(samples) - len(ours)
        return ours

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
        if case.log is not None:
            self._by_the_log_alone(case, case.log.samples, in_base | in_full)
        for id_, found in case.found.items():
            self._not_expected(case, id_, found)

    def _by_the_log_alone(self, case: Case, samples: dict[str, Sample], known: dict[str, Made]) -> None:
        """Samples that there are only because a row was late or dropped, their window's first anchor for instance: they
        must be there."""
        for id_, want in samples.items():
            end = want.slice_ms // self.spec.resolution_ms + self.spec.window
            if id_ in known or not self.scope.from_ms <= want.slice_ms < self.scope.to_ms or end > case.clock:
                continue
            found = case.found.pop(id_, [])
            last = self._look_at_all(case, None, want, found)
            if last is None:
                self._blame(case, "lost", None, want, None, [])
                continue
            cls, fields, headers = self._judged(case, None, want, last, found)
            if cls is not None:
                self._blame(case, cls, None, want, last, fields + headers)

    def _compare_one(self, case: Case, made: Made, whole: Made | None, want: Sample | None, found: list[Row]) -> None:
        """One sample id: `whole` is what all rows make of it, `want` what those make that were not late."""
        last = self._look_at_all(case, made, want, found)
        fields: list[str] = []
        headers: list[str] = []
        cls = "lost" if want is not None else None
        if last is not None:
            cls, fields, headers = self._judged(case, made, want, last, found)
        if cls is None:
            reason = None if last is None else self._claims.reason(last)
            if reason is None and whole is not None and _same(whole.sample, want):
                case.findings.counts["right"] += 1
                return
            reason = reason or case.late_reason
        else:
            reason = None if headers else self._excuse(case, made, last)
        if reason is not None:
            case.findings.excuses += [reason] if whole is not None else []
        elif not headers and self._still_open(case, made, last):
            case.findings.counts["open"] += 1
            case.findings.counts["behind"] += last is None and made.window.end <= self.input_clock
        else:
            self._blame(case, str(cls), made, want, last, fields + headers)

    def _judged(
        self, case: Case, made: Made | None, want: Sample | None, row: Row, found: list[Row]
    ) -> tuple[str | None, list[str], list[str]]:
        """A found sample's class, None if it is right, the fields that differ, and the headers that are wrong."""
        cls, fields = ("unexplained", []) if want is None else self._differences.of(want, row)
        headers = [n for n in self._claims.wrong(case, made, row, found) if n not in fields]
        return cls or ("wrong_header" if headers else None), fields, headers

    def _look_at_all(self, case: Case, made: Made | None, want: Sample | None, found: list[Row]) -> Row | None:
        """Counts repeats, and earlier revisions that the log does not give; returns the last revision."""
        if len(found) < 2:
            return found[0] if found else None
        seen: dict[int, Row] = {}
        for row in found:
            first = seen.setdefault(row[r.REVISION], row)
            if first is row:
                continue
            if not self.exactly_once and (row[r.PAYLOAD], row[r.WEIGHT]) == (first[r.PAYLOAD], first[r.WEIGHT]):
                case.findings.counts["repeats"] += 1
                continue
            if self.exactly_once or want is None:
                self._blame(case, "doubled", made, want, row, [])
            cls, fields = (None, []) if want is None else self._differences.of(want, row)
            if cls is not None:
                self._blame(case, cls, made, want, row, fields)
        last = max(seen)
        for number, row in seen.items() if case.log is not None else ():
            says = case.log.revisions.get((row[r.ID], number)) if case.log is not None else None
            if number != last and says is not None:
                cls, fields, headers = self._judged(case, made, says, row, found)
                if cls is not None:
                    self._blame(case, cls, made, says, row, fields + headers)
        return seen[last]

    def _excuse(self, case: Case, made: Made | None, last: Row | None) -> str | None:
        """Why a sample may differ from what all rows make (rule 6), None if nothing says so."""
        window = None if made is None else made.window
        claimed = None if last is None or made is None else self._claims.reason(last)
        if case.log is not None:
            says = case.log.samples.get(str(made.sample_id) if made and last is None else last[r.ID] if last else "")
            if last is None:
                lacks = not case.log.late and self._claims.may_lack(case, window)
                return None if says is not None else NOT_THERE if lacks else case.late_reason
            same = says is not None and self._differences.of(says, last)[0] is None
            return (claimed or case.late_reason) if same else None
        if case.replayed is not None:
            return None
        if claimed is not None:
            case.findings.believed = True
            return claimed
        if not self.scope.replayable:
            if case.possibly_late(window, lost=last is None):
                return POSSIBLY_LATE
            if last is None and self._can_vanish and self._claims.may_lack(case, window):
                return NOT_THERE
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
        last = self._look_at_all(case, None, None, found)
        assert last is not None
        made = case.unmade.get(id_)
        if not self._claims.wrong(case, made, last, found) and self._excuse(case, made, last) is not None:
            return
        if case.merged is not None and id_ in case.merged.samples():
            return
        if self.scope.gone_to_ms is not None:
            counts["unverifiable"] += len(found)
        elif id_ in case.outside or all(row[r.FLAGS] & r.OTHER_VERSION for row in found):
            counts["other_versions"] += len(found)
        else:
            counts["unexplained"] += len(found) - 1
            self._blame(case, "unexplained", made, None, last, [])

    # ---- examples -----------------------------------------------------------------------------------------------

    def _blame(
        self, case: Case, cls: str, made: Made | None, want: Sample | None, row: Row | None, fields: list[str]
    ) -> None:
        """Counts an error, and keeps it as an example if there is room."""
        case.findings.counts[cls] += 1
        if not case.findings.has_room(cls, self.report.examples_per_class):
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
                case.sources(window),
                None if row is None else place(f"{self.job.model.samples_topic} {row[r.PARTITION]}", row[r.AT]),
            )
        )


def _same(a: Sample | None, b: Sample | None) -> bool:
    return a is b or (a is not None and b is not None and (a.payload, a.weight) == (b.payload, b.weight))
