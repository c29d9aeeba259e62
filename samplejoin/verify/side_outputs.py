"""Compares a key's side outputs (dead letters of samples, late and orphan rows), and accounts for its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from samplejoin.core.cells import ROWS, STREAM
from samplejoin.verify import spill_rows as r
from samplejoin.verify.context import Ground, key_of, time_text
from samplejoin.verify.expected import KeyMade, Row
from samplejoin.verify.key_evidence import Case, orphan_rows
from samplejoin.verify.report import Deviation


def account(ground: Ground, rows: Sequence[Row], full: KeyMade, late: Sequence[Row], clock: int) -> None:
    """Adds up a key's rows by outcome, as the inputs give it: every row is in exactly one place."""
    report, spec = ground.report, ground.spec
    streams = [report.streams[s.name] for s in spec.streams]
    for row in rows:
        streams[row[r.STREAM]].rows += 1
    for row in late:
        streams[row[r.STREAM]].late += 1
    for made in full.windows:
        window = made.window
        if ground.in_range(window):
            report.windows += 1
            report.made[made.outcome] += 1
            report.anchors["windows"] += 1
            shown = sum(cell[ROWS] for cell in window.anchors)
            report.anchors["rows"] += shown
            report.anchors["repeated"] += shown - 1
        for cell in window.labels:
            streams[cell[STREAM]].joined += cell[ROWS]
    for stream, slice_, count in full.orphans:
        if slice_ + spec.before < clock:
            streams[stream].orphan += count
        else:
            streams[stream].pending += count


def compare_letters(ground: Ground, case: Case) -> None:
    """Checks that every sample that cannot be made has a dead letter, and no other has one (rule 12)."""
    found, spec = Counter(case.letters), ground.spec
    counts = case.findings.letters
    counts["found"] += found.total()
    case.findings.believed |= ground.report.late is None and _may_be_dead(case)
    dead = {str(made.sample_id): made.window for made in case.base.windows if made.outcome == "dead"}
    for id_, window in dead.items():
        if not ground.in_range(window):
            continue
        there = found.pop(id_, 0)
        if window.end > case.clock and not there:
            counts["open"] += 1
            continue
        counts["expected"] += 1
        again = "repeats" if not ground.exactly_once or spec.correction else "doubled"  # a correction can fail too
        counts[again] += max(0, there - 1)
        if not there and not ground.scope.letters_trimmed and not _letter_explained(ground, case, id_, False):
            _letter_missing(ground, case, id_, window.slice)
    for id_, slice_ms in case.log.dead.items() if case.log is not None else ():
        slice_ = slice_ms // spec.resolution_ms
        if id_ in dead or id_ in case.letters or ground.scope.letters_trimmed or not ground.holds(slice_):
            continue
        if case.settled(slice_):
            counts["expected"] += 1
            _letter_missing(ground, case, id_, slice_)
    for id_, there in found.items():
        made_of_all = case.windows_by_id.get(id_)
        rightly = made_of_all is not None and (made_of_all.outcome == "dead" or not ground.in_range(made_of_all.window))
        if rightly or ground.shared or ground.scope.gone_to_ms is not None:
            continue
        if _letter_explained(ground, case, id_, True):
            continue
        counts["unexpected"] += there
        if case.findings.has_room("letters_unexpected", ground.report.examples_per_class):
            case.findings.examples.append(Deviation("letters_unexpected", key_of(case.key), id_))


def _may_be_dead(case: Case) -> bool:
    """Returns whether a sample that all rows do not give may be dead without a late row, which only the log tells."""
    return case.log is None and any(
        made.outcome != "dead" and id_ not in case.letters and case.possibly_late(made.window, lost=False)
        for id_, made in case.unmade.items()
    )


def _letter_missing(ground: Ground, case: Case, id_: str, slice_: int) -> None:
    case.findings.letters["missing"] += 1
    if case.findings.has_room("letters_missing", ground.report.examples_per_class):
        made = case.windows_by_id.get(id_)
        slice_ms, sources = slice_ * ground.spec.resolution_ms, case.sources(made.window if made else None)
        case.findings.examples.append(
            Deviation("letters_missing", key_of(case.key), id_, time_text(slice_ms), slice_ms, sources=sources)
        )


def compare_late(ground: Ground, case: Case, found: Sequence[Row]) -> None:
    """Checks, if the log was replayed, that the late topic holds every row that the job sent there (rule 5)."""
    if ground.report.late is None or case.log is None or ground.scope.late_trimmed:
        return
    there: Counter[tuple[str, int]] = Counter()
    for row in found:
        there[row[r.SIDE_STREAM], row[r.SIDE_SLICE_MS]] += row[r.SIDE_ROWS]
    for (stream, slice_ms), rows in case.log.aside.items():
        slice_, missing = slice_ms // ground.spec.resolution_ms, rows - there[stream, slice_ms]
        if missing <= 0 or not ground.holds(slice_) or not case.settled(slice_):
            continue
        case.findings.late["missing"] += missing
        if case.findings.has_room("late_missing", ground.report.examples_per_class):
            said = {"stream": stream, "rows": rows}, {"stream": stream, "rows": rows - missing}
            case.findings.examples.append(
                Deviation(
                    "late_missing",
                    key_of(case.key),
                    None,
                    time_text(slice_ms),
                    slice_ms,
                    ["rows"],
                    *said,
                    case.sources(None),
                )
            )


def compare_orphans(ground: Ground, case: Case, found: Sequence[Row]) -> None:
    """Checks that the orphan topic holds the label rows that no window holds, each once (rule 4).

    With `at_least_once`, a row found again can be a repeat, or an equal row of a producer that retries. Both are right.
    """
    if ground.report.orphans is None:
        return
    res_ms, spec = ground.spec.resolution_ms, ground.spec
    most: Counter[tuple[int, int]] = Counter()
    least: Counter[tuple[int, int]] = Counter()
    others: Counter[tuple[int, int]] = Counter()
    told: set[object] = set()
    for row in found:
        cell = ground.streams.get(row[r.SIDE_STREAM], -1), row[r.SIDE_SLICE_MS] // res_ms
        most[cell] += row[r.SIDE_ROWS]
        if ground.exactly_once or row[r.SIDE_DIGEST] not in told:
            told.add(row[r.SIDE_DIGEST])
            least[cell] += row[r.SIDE_ROWS]
            others[cell] += row[r.SIDE_ROWS] if row[r.SIDE_FLAGS] & r.OTHER_VERSION else 0
    expected, of_all = orphan_rows(spec, case.base), orphan_rows(spec, case.full)
    for cell in least:  # another version of the job may have had orphans of its own
        too_many = max(0, least[cell] - expected[cell])
        least[cell] -= too_many if ground.shared else min(others[cell], too_many)
    counts = case.findings.orphans
    for cell, rows in of_all.items():
        if ground.holds(cell[1]) and cell[1] + spec.before < case.clock:
            counts["late"] += max(0, rows - expected[cell])
    for stream, slice_ in most | expected:
        cell = stream, slice_
        want = expected[cell]
        is_there = max(least[cell], min(want, most[cell]))
        due = slice_ + spec.before < case.clock
        if not ground.holds(slice_) or (not due and not is_there):
            continue
        counts["expected"] += want
        counts["found"] += is_there
        if want != is_there:
            _orphan_wrong(ground, case, cell, want, is_there)


def _orphan_wrong(ground: Ground, case: Case, cell: tuple[int, int], want: int, there: int) -> None:
    counts, (stream, slice_) = case.findings.orphans, cell
    slice_ms = slice_ * ground.spec.resolution_ms
    name = ground.spec.streams[stream].name if stream >= 0 else "?"
    replayed = case.log
    if (replayed is not None and replayed.orphans[name, slice_ms] == there) or _cut(case):
        counts["exempt"] += abs(want - there)
        return
    if case.merged_orphans is not None and case.merged_orphans[cell] == there:
        return
    if not ground.scope.replayable and case.disordered:
        counts["exempt"] += abs(want - there)
        return
    missing = there < want
    if (not missing and ground.scope.gone_to_ms is not None) or (missing and ground.scope.orphans_trimmed):
        return
    cls = "missing" if missing else "unexplained"
    counts[cls] += abs(want - there)
    if not case.findings.has_room(f"orphans_{cls}", ground.report.examples_per_class):
        return
    sources = case.sources(None)
    said = {"stream": name, "rows": want}, {"stream": name, "rows": there}
    case.findings.examples.append(
        Deviation(f"orphans_{cls}", key_of(case.key), None, time_text(slice_ms), slice_ms, ["rows"], *said, sources)
    )


def _cut(case: Case) -> bool:
    """Returns whether limits may have dropped label cells, which are in no topic (rule 11). A log tells exactly."""
    if case.log is None and case.overfull:
        case.findings.believed = True
        return True
    return False


def _letter_explained(ground: Ground, case: Case, id_: str, there: bool) -> bool:
    """Returns whether late or dropped rows explain that a sample's dead letter is, or is not, there."""
    if case.log is not None:
        return there == (id_ in case.log.dead)
    return not ground.scope.replayable and (case.disordered or bool(case.overfull))
