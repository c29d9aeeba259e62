"""The judge of a round: what Kafka holds in the end against what the oracle makes of the load.

Rows marked late are late or not, depending on the clock: rows in the late topic are left out, and without that topic
every combination of them is tried. Every other row must be in its sample. Nothing is exempt.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from samplejoin.core.keys import encode_key
from samplejoin.core.spec import Spec
from tests.chaos.load import DEAD, STREAMS, Load, row_of, truth
from tests.core.oracle import Row, join
from tests.support.kafka import Record

EXAMPLES = 5
Cell = tuple[bytes, str, int]
"""Key, stream and slice in ms."""


@dataclass
class Outputs:
    """All records of the job's output topics, as a read_committed reader sees them; None for one it does not have."""

    samples: list[Record]
    orphan: list[Record]
    dead_letter: list[Record]
    late: list[Record] | None = None


@dataclass
class Verdict:
    """What is wrong, by kind; `examples` of each."""

    expected: int = 0
    checked: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    wrongly_late: int = 0
    orphans_wrong: int = 0
    letters_missing: int = 0
    letters_unexpected: int = 0
    #: the same again, where `at_least_once` allows it, and dead letters of records that were read again
    repeats: int = 0
    #: keys whose late rows had no topic, so that any combination of them would have done
    lenient_keys: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def red(self) -> bool:
        """Whether anything is wrong."""
        return any(
            (self.lost, self.doubled, self.wrong, self.wrongly_late, self.orphans_wrong, self.letters_missing,
             self.letters_unexpected)
        )  # fmt: skip

    def blame(self, kind: str, example: object, by: int = 1) -> None:
        """Counts something wrong."""
        setattr(self, kind, getattr(self, kind) + by)
        if sum(e.startswith(kind) for e in self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: {example}"[:1000])

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        return asdict(self)


@dataclass
class Truth:
    """The rows of a load by key, split into those in time and those marked late; and its poison."""

    rows: dict[bytes, list[Row]]
    late: dict[bytes, list[Row]]
    #: (source, reason) of each dead letter
    dead: set[tuple[str, str]]
    #: (stream, outcome) as `samplejoin_events_total` counts them
    counts: Counter[tuple[str, str]]
    events: int = 0


def truth_of(load: Load, name: str) -> Truth:
    """Returns the true result of the load of job `name`."""
    found = Truth(defaultdict(list), {}, set(), Counter())
    for event, offset in truth(load):
        found.events += 1
        stream = STREAMS[event.stream]
        topic, kind = f"{name}-{stream}", event.kind
        if kind in ("", "late", "hang"):
            found.counts[stream, "ok"] += 1
            key = encode_key((event.uid, event.mid))
            row = Row(stream, key, event.ts, (topic, event.partition, offset, 0), row_of(event))
            (found.late.setdefault(key, []) if kind == "late" else found.rows[key]).append(row)
        elif kind == "drop":
            found.counts[stream, "filtered"] += 1
        elif kind in DEAD:
            found.counts[stream, f"dead_{DEAD[kind]}"] += 1
            found.dead.add((f"{topic}/{event.partition}/{offset}", DEAD[kind]))
        else:
            found.counts[stream, "junk_key"] += 1
    return found


def judge(spec: Spec, known: Truth, outputs: Outputs, *, exactly_once: bool, calm: bool = False) -> Verdict:
    """Every sample once and as the oracle has it, every side row and dead letter where it belongs.

    `calm`: nothing was read twice, so dead letters of records are there once, too.
    """
    verdict = Verdict()
    got: defaultdict[bytes, list[Record]] = defaultdict(list)
    for record in outputs.samples:
        got[record.key or b""].append(record)
    refused = None if outputs.late is None else _cells(verdict, outputs.late, exactly_once)[0]
    if refused is not None:
        _only_late_ones(spec, verdict, known, refused)
    orphans: Counter[Cell] = Counter()
    for key in known.rows.keys() | known.late.keys():
        _judge_key(spec, verdict, known, key, got.pop(key, []), refused, exactly_once, orphans)
    for key, samples in got.items():
        verdict.blame("wrong", f"samples of key {key!r}, which has no rows", len(samples))
    _judge_orphans(verdict, known, orphans, *_cells(verdict, outputs.orphan, exactly_once))
    _judge_letters(verdict, known, outputs.dead_letter, calm)
    return verdict


def _judge_key(
    spec: Spec, verdict: Verdict, known: Truth, key: bytes, got: list[Record], refused: Counter[Cell] | None,
    exactly_once: bool, orphans: Counter[Cell],
) -> None:  # fmt: skip
    """The samples of one key: by the one set of rows that it can be, or the best of those it can be."""
    rows, late = known.rows.get(key, []), known.late.get(key, [])
    if not late:
        samples, lost_labels = join(spec, rows)
        for row in lost_labels:
            orphans[_cell(spec, row)] += 1
        choices = [samples]
    elif refused is not None:
        choices = [join(spec, rows + [row for row in late if not refused[_cell(spec, row)]])[0]]
    else:
        subsets = (chosen for n in range(len(late) + 1) for chosen in combinations(late, n))
        choices = [join(spec, [*rows, *chosen])[0] for chosen in subsets]
        verdict.lenient_keys += 1
    found = [_compare(samples, got, exactly_once, bool(late) and spec.late == "correct") for samples in choices]
    best = min(found, key=lambda v: v.lost + v.doubled + v.wrong)
    verdict.expected += best.expected
    verdict.checked += best.checked
    verdict.repeats += best.repeats
    for example in best.examples:
        kind, _, text = example.partition(": ")
        verdict.blame(kind, f"key {key!r}: {text}")


def _compare(
    expected: dict[str, tuple[int, bytes, float]], got: list[Record], exactly_once: bool, corrected: bool
) -> Verdict:
    """A key's samples against what they must be; with `corrected` the last revision of each counts."""
    verdict = Verdict(expected=len(expected), checked=len(got))
    seen: dict[str, dict[int, Record]] = {}
    for record in got:
        revisions = seen.setdefault(_header(record, "sample_id"), {})
        revision = int(_header(record, "revision"))
        before = revisions.get(revision)
        if before is None:
            revisions[revision] = record
        elif exactly_once:
            verdict.blame("doubled", f"{_header(record, 'sample_id')} revision {revision}")
        elif before.value != record.value:
            verdict.blame("wrong", f"repeated with other bytes: {before.value!r} and {record.value!r}")
        else:
            verdict.repeats += 1
    for id_ in expected.keys() - seen.keys():
        verdict.blame("lost", f"{expected[id_][1]!r}")
    for id_, revisions in seen.items():
        last = revisions[max(revisions)]
        wanted = expected.get(id_)
        says = (last.value, float(_header(last, "weight")), _header(last, "complete"), _header(last, "truncated"))
        if wanted is None or says != (wanted[1], wanted[2], "true", "false"):
            verdict.blame("wrong", f"{says} for {wanted}")
        elif max(revisions) > 0 and not corrected:
            verdict.blame("wrong", f"revision {max(revisions)} of {last.value!r}, which no late row touched")
    return verdict


def _cells(
    verdict: Verdict, records: Iterable[Record], exactly_once: bool
) -> tuple[Counter[Cell], Counter[Cell]]:  # fmt: skip
    """Rows per cell of a side output, and those that may be repeats: there again, byte for byte."""
    rows: Counter[Cell] = Counter()
    repeats: Counter[Cell] = Counter()
    seen: Counter[bytes] = Counter()
    for record in records:
        value = record.value or b""
        seen[value] += 1
        again = seen[value] > 1 and not exactly_once
        verdict.repeats += again
        body = json.loads(value)
        (repeats if again else rows)[record.key or b"", body["stream"], body["slice_ms"]] += body["rows"]
    return rows, repeats


def _only_late_ones(spec: Spec, verdict: Verdict, known: Truth, refused: Counter[Cell]) -> None:
    """No row may be called late that is not, and none twice."""
    may = Counter(_cell(spec, row) for rows in known.late.values() for row in rows)
    for cell, count in refused.items():
        if not may[cell]:
            verdict.blame("wrongly_late", cell, count)
        elif count > may[cell]:
            verdict.blame("doubled", f"late row {cell}", count - may[cell])


def _judge_orphans(
    verdict: Verdict, known: Truth, expected: Counter[Cell], got: Counter[Cell], repeats: Counter[Cell]
) -> None:  # fmt: skip
    """All orphans, each once; keys with late rows are left out, since there it depends on what was late.

    Rows of a retrying producer look like repeats of each other, so those may count or not.
    """
    for cell in expected.keys() | got.keys():
        if cell[0] not in known.late and not got[cell] <= expected[cell] <= got[cell] + repeats[cell]:
            verdict.blame("orphans_wrong", f"{cell}: {got[cell]} rows, must be {expected[cell]}")


def _judge_letters(verdict: Verdict, known: Truth, letters: list[Record], calm: bool) -> None:
    found = Counter((_header(r, "samplejoin.source"), _header(r, "samplejoin.reason")) for r in letters)
    for letter in known.dead - found.keys():
        verdict.blame("letters_missing", letter)
    for letter, times in found.items():
        if letter not in known.dead:
            verdict.blame("letters_unexpected", letter, times)
        elif times > 1 and calm:
            verdict.blame("doubled", f"dead letter {letter}", times - 1)
        else:
            verdict.repeats += times - 1


def _cell(spec: Spec, row: Row) -> Cell:
    return row.key, row.stream, row.time // spec.resolution_ms * spec.resolution_ms


def _header(record: Record, name: str) -> str:
    return (record.headers.get(name) or b"").decode()
