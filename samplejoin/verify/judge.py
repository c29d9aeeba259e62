"""Compares, one key at a time, what the inputs give with the samples topic (rules 1 to 7, 11, 14)."""

from __future__ import annotations

from collections.abc import Sequence

from samplejoin.core.identity import place
from samplejoin.core.keys import partition_of
from samplejoin.core.outcomes import Sample
from samplejoin.job.compile import Job
from samplejoin.verify import spill_rows as r
from samplejoin.verify.context import Ground, key_of, time_text
from samplejoin.verify.differences import Differences
from samplejoin.verify.expected import Expectation, KeyMade, Made, Row, without
from samplejoin.verify.key_evidence import Case
from samplejoin.verify.replay import Replayed
from samplejoin.verify.report import NOT_THERE, POSSIBLY_LATE, Deviation, Report
from samplejoin.verify.sample_claims import Claims
from samplejoin.verify.side_outputs import account, compare_late, compare_letters, compare_orphans


class Judge(Ground):
    """Compares one key after the other, and enters the findings in the report."""

    def __init__(self, job: Job, scope: r.Scope, report: Report, sources: dict[str, int], input_clock: int) -> None:
        super().__init__(job, scope, report, sources, input_clock)
        self._expectation = Expectation(job)
        self._differences = Differences(job.model)
        #: whether a sample can be dropped for its content; then it cannot show by its headers that it lacks something
        self._can_vanish = job.spec.keep_negatives < 1 or job.model.format not in ("json", "csv")
        #: flag of samples that are left out: of all other versions if generations share the topic, else of former runs
        self._others = r.OTHER_VERSION if self.shared else r.FORMER
        self._claims = Claims(job.spec, self._can_vanish or scope.letters_trimmed)

    def judge(self, key: bytes, kinds: Sequence[Sequence[Row]], replayed: Replayed | None, final: bool) -> bool:
        """Compares a key and enters the findings. `kinds`: the key's rows by kind, in the order of `spill_rows`.

        Returns True, without entering anything, if the key must be judged again with a replay of the log, which may
        explain or refute a finding. That never happens if `final`.
        """
        rows, samples, late, orphans, letters, outside = kinds
        full = self._expectation.of(key, rows) if rows else KeyMade()
        if not late and not letters and not orphans and self._plainly_right(key, full, samples):
            account(self, rows, full, (), self.clock(key))
            return False
        case, unknown = self._case(key, rows, full, late, replayed)
        case.outside = {row[1] for row in outside}
        case.letters.update(row[1] for row in letters)
        case.findings.counts["samples"] = len(samples)
        case.add_found(self._ours(case, samples))
        self._compare(case)
        compare_letters(self, case)
        compare_orphans(self, case, orphans)
        compare_late(self, case, late)
        if case.findings.replay_tells and not final and self.scope.replayable:
            return True
        if self.report.late is not None:
            self.report.late.rows += len(case.late) + unknown
            self.report.late.unexplained += unknown if self.scope.gone_to_ms is None and not self.shared else 0
        case.findings.enter(self.report)
        account(self, rows, full, case.late, case.clock)
        return False

    def _plainly_right(self, key: bytes, full: KeyMade, samples: Sequence[Row]) -> bool:
        """Returns whether each window has exactly its one right sample, as for most keys. If so, counts them."""
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
        """Returns the key's case, and how many rows the late topic names that the inputs do not have.

        The case has the results of all rows, of those that are not late, and of those that the job has merged.
        """
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
        """Returns the samples without those of another version of the job.

        If generations share the topic, all samples of other versions are left out. Otherwise only those before the
        first of this version are, which an edited job left there before its reset; but a sample that this version has
        corrected is its own.
        """
        ours = [row for row in samples if not row[r.FLAGS] & self._others]
        if not self.shared:
            corrected = {row[r.ID] for row in ours} - {row[r.ID] for row in ours if row[r.REVISION] == 0}
            ours = [row for row in samples if not row[r.FLAGS] & self._others or row[r.ID] in corrected]
        case.findings.counts["other_versions"] += len(samples) - len(ours)
        case.others = {row[r.ID] for row in samples if self.shared and row[r.FLAGS] & r.OTHER_VERSION}
        case.former = {row[r.ID] for row in samples if not self.shared and row[r.FLAGS] & r.FORMER}
        return ours

    # ---- samples ------------------------------------------------------------------------------------------------

    def _compare(self, case: Case) -> None:
        in_full = case.full.samples()
        in_base = in_full if case.base is case.full else case.base.samples()
        for id_, made in (in_base | in_full).items():
            found = case.found.pop(id_, [])
            if not found and id_ in case.former:  # it is not known where the current run began
                case.findings.counts["former"] += self.in_range(made.window)
                continue
            if not self.in_range(made.window):
                case.findings.counts["samples"] -= len(found)
                continue
            want = in_base[id_].sample if id_ in in_base else None
            self._compare_one(case, made, in_full.get(id_), want, found)
        for made in case.full.windows:
            if made.sample is None and self.in_range(made.window):
                is_open = made.window.end > case.clock  # that there is no sample proves nothing yet
                case.findings.counts["open" if is_open else "right"] += 1
                case.findings.counts["behind"] += is_open and made.window.end <= self.input_clock
        if case.log is not None:
            self._by_the_log_alone(case, case.log.samples, in_base | in_full)
        for id_, found in case.found.items():
            self._not_expected(case, id_, found)

    def _by_the_log_alone(self, case: Case, samples: dict[str, Sample], known: dict[str, Made]) -> None:
        """Compares samples that the log gives, but the inputs do not, because a row was late or dropped.

        For example, the row is the first anchor of their window. Such samples must be there too.
        """
        for id_, want in samples.items():
            end = want.slice_ms // self.spec.resolution_ms + self.spec.window
            if id_ in known or not self.scope.from_ms <= want.slice_ms < self.scope.to_ms or end > case.clock:
                continue
            found = case.found.pop(id_, [])
            there = self._revisions(case, None, want, found)
            if not there:
                self._blame(case, "lost", None, want, None, [])
                continue
            cls, fields, headers = self._judged(case, None, want, there)
            if cls is not None:
                self._blame(case, cls, None, want, there[-1], fields + headers)

    def _compare_one(self, case: Case, made: Made, whole: Made | None, want: Sample | None, found: list[Row]) -> None:
        """Compares the samples of one id. `whole`: the result of all rows. `want`: the sample without late rows."""
        there = self._revisions(case, made, want, found)
        last = there[-1] if there else None
        fields: list[str] = []
        headers: list[str] = []
        cls = "lost" if want is not None else None
        if last is not None:
            cls, fields, headers = self._judged(case, made, want, there)
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
        self, case: Case, made: Made | None, want: Sample | None, there: Sequence[Row]
    ) -> tuple[str | None, list[str], list[str]]:
        """Returns, of the last revision, (class of error or None if right, fields that differ, wrong headers)."""
        cls, fields = ("unexplained", []) if want is None else self._differences.of(want, there[-1])
        headers = self._wrong_headers(case, made, there)
        return cls or ("wrong_header" if headers else None), fields, headers

    def _wrong_headers(self, case: Case, made: Made | None, there: Sequence[Row]) -> list[str]:
        """Returns the names of wrong headers of the last revision."""
        return self._claims.wrong(case, made, there[-1], there[-2] if len(there) > 1 else None)

    def _revisions(self, case: Case, made: Made | None, want: Sample | None, found: list[Row]) -> list[Row]:
        """Returns one record of each revision found, in order, and counts doubled ones.

        Also counts errors of all revisions but the last. Their content is compared if the log gives them, their headers
        always.
        """
        logged = case.log.revisions.get(found[0][r.ID], {}) if case.log is not None and found else {}
        if len(found) < 2 and not logged:
            return found
        by_number: dict[int, list[Row]] = {}
        for row in found:
            by_number.setdefault(row[r.REVISION], []).append(row)
        last = max(by_number)
        there: list[Row] = []
        came_at = -1
        for number, rows in sorted(by_number.items()):
            says = logged.get(number)
            there.append(self._one_of(case, made, says or (want if number == last else None), rows))
            before, came_at = came_at, min(row[r.AT] for row in rows)
            if came_at < before and rows[0][r.PARTITION] == there[0][r.PARTITION]:  # a reader would keep the older one
                there[-1] = list(there[-1])
                there[-1][r.WRONG] = [*there[-1][r.WRONG], "revision"]
            if number == last:
                break
            cls, fields = (None, []) if says is None else self._differences.of(says, there[-1])
            headers = self._wrong_headers(case, made, there)
            if cls is not None or headers:
                self._blame(case, cls or "wrong_header", made, says, there[-1], fields + headers)
        renumbered = sum(number not in logged for number in by_number)  # revisions found under another number
        missing = [says for number, says in logged.items() if number < last and number not in by_number]
        for says in missing[renumbered:]:
            self._blame(case, "lost", made, says, None, ["revision"])
        return there

    def _one_of(self, case: Case, made: Made | None, want: Sample | None, rows: list[Row]) -> Row:
        """Returns the right record of one revision, or the first if none is right. Counts each of the others once."""
        if len(rows) == 1:
            return rows[0]
        classes = [None if want is None else self._differences.of(want, row)[0] for row in rows]
        good = (i for i, row in enumerate(rows) if want is not None and classes[i] is None and not row[r.WRONG])
        kept = next(good, 0)
        for i, row in enumerate(rows):
            if i == kept:
                continue
            same = (row[r.PAYLOAD], row[r.WEIGHT]) == (rows[kept][r.PAYLOAD], rows[kept][r.WEIGHT])
            if same and not self.exactly_once:
                case.findings.counts["repeats"] += 1
            else:
                cls = None if self.exactly_once else classes[i]
                self._blame(case, cls or "doubled", made, want, row, [])
        return rows[kept]

    def _excuse(self, case: Case, made: Made | None, last: Row | None) -> str | None:
        """Returns why a sample may differ from what all rows make (rule 6), or None if there is no reason."""
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
        """Returns whether the window is not due yet, or the job has not merged all rows that decide about it."""
        if last is None and made.window.end > case.clock:
            return True
        if case.merged is None:
            return False
        now = case.merged.samples().get(str(made.sample_id))
        if last is None or now is None or now.sample is None:
            return last is None and now is None
        return self._differences.of(now.sample, last)[0] is None

    def _not_expected(self, case: Case, id_: str, found: list[Row]) -> None:
        """Judges samples with an id that the inputs do not give."""
        counts = case.findings.counts
        made = case.unmade.get(id_)
        there = self._revisions(case, made, None, found)
        last = there[-1]
        if not self._wrong_headers(case, made, there) and self._excuse(case, made, last) is not None:
            return
        if case.merged is not None and id_ in case.merged.samples():
            return
        if self.scope.gone_to_ms is not None:
            counts["unverifiable"] += len(found)
        elif id_ in case.outside or all(row[r.FLAGS] & self._others for row in found):
            counts["other_versions"] += len(found)
        else:
            counts["unexplained"] += len(there) - 1
            self._blame(case, "unexplained", made, None, last, [])

    # ---- examples -----------------------------------------------------------------------------------------------

    def _blame(
        self, case: Case, cls: str, made: Made | None, want: Sample | None, row: Row | None, fields: list[str]
    ) -> None:
        """Counts an error of class `cls`, and keeps it as an example if there is room."""
        case.findings.counts[cls] += 1
        if not case.findings.has_room(cls, self.report.examples_per_class):
            return
        window = None if made is None else made.window
        slice_ms = None if window is None else window.slice * self.spec.resolution_ms
        case.findings.examples.append(
            Deviation(
                cls,
                key_of(case.key),
                str(row[r.ID]) if row is not None else want.sample_id if want is not None else None,
                None if slice_ms is None else time_text(slice_ms),
                slice_ms,
                list(dict.fromkeys(fields)),  # a field and a header can have one name
                None if want is None else self._differences.fields(want.payload),
                None if row is None else self._differences.fields(row[r.PAYLOAD]),
                case.sources(window),
                None if row is None else place(f"{self.job.model.samples_topic} {row[r.PARTITION]}", row[r.AT]),
            )
        )


def _same(a: Sample | None, b: Sample | None) -> bool:
    return a is b or (a is not None and b is not None and (a.payload, a.weight) == (b.payload, b.weight))
