"""Renders a report as text."""

from __future__ import annotations

import json

from samplejoin.core.user_errors import counted
from samplejoin.core.values import Value
from samplejoin.verify.report import ERRORS, Deviation, Report

MEANS = {
    "right": "the sample, or its absence, is exactly as the inputs give it",
    "exempt": "touched by a late row, complete: false or truncated: true",
    "open": "not due yet",
    "former": "with a sample of another version of the job only: not judged",
    "repeats": "the same sample again, as at_least_once allows",
    "other_versions": "samples of another version of the job: left out",
    "unverifiable": "samples that may come from deleted input: left out",
    "lost": "expected, and not there",
    "doubled": "the same sample_id and revision again",
    "wrong_label": "the label differs",
    "wrong_field": "another field differs",
    "wrong_weight": "the weight differs",
    "wrong_header": "the sample is right, but not its headers or its partition",
    "unexplained": "a sample_id that the inputs do not give",
}


def text_of(report: Report) -> list[str]:
    """Returns the report as lines; the last one is the verdict."""
    first = [*report.first_of_all, ""] if report.first_of_all else []
    lines = [*first, f"job {report.job}, generation {report.generation}, {report.guarantee}"]
    if report.from_ or report.to:
        lines.append(f"anchors from {report.from_ or 'the beginning'} to {report.to or 'the end'}")
    if report.share != 1.0:
        lines.append(f"one key in {round(1 / report.share)}")
    read = report.read
    lines.append(f"read: {read['records']:,.0f} records, {read['bytes'] / 1e6:,.1f} MB")
    for topic, records in sorted(report.skipped.items()):
        lines.append(
            f"skipped: {counted(records, 'record')} of {topic}, by `samplejoin skip`: nothing is expected of them"
        )
    lines += ["", *_streams(report), "", *_windows(report), "", *_sides(report)]
    lines += [f"note: {note}" for note in report.notes]
    for example in report.errors:
        lines += ["", *_example(example)]
    return [*lines, "", report.verdict]


def _streams(report: Report) -> list[str]:
    lines = []
    for name, stream in report.streams.items():
        left_out = {
            "filtered": stream.filtered,
            "junk key": stream.junk_key,
            "before start": stream.before_start,
            "after until": stream.after_until,
            **{f"dead ({r})": n for r, n in sorted(stream.dead.items())},
        }
        lines.append(
            f"{name} ({stream.role}): {counted(stream.records, 'record')}, {counted(stream.ok, 'row')}"
            + _named(left_out)
        )
        if stream.role == "label":
            parts = {"joined": stream.joined, "orphaned": stream.orphan, "waiting": stream.pending}
            lines.append(f"  labels: {counted(stream.rows, 'row')} = {_sum(parts)}" + _late(stream.late))
        else:
            lines.append(f"  anchors: {counted(stream.rows, 'row')}" + _late(stream.late))
    made = {name.replace("_", "-"): count for name, count in report.made.items()}
    anchors = report.anchors
    lines.append(
        f"windows: {anchors['windows']:,} of {counted(anchors['rows'], 'anchor')}, {anchors['repeated']:,} repeated"
    )
    lines.append(f"  by the inputs: {_sum(made)}")
    return lines


def _late(late: int) -> str:
    return f", of these {late:,} late" if late else ""


def _windows(report: Report) -> list[str]:
    lines = [f"compared: {counted(report.windows, 'window')}, {counted(report.samples, 'sample')}"]
    for name, means in MEANS.items():
        count = getattr(report, name)
        if count or name in ("right", *ERRORS):
            lines.append(f"  {name.replace('_', ' '):15}{count:>12,}  {means}")
    if report.exempt:
        share = 100 * report.exempt_share
        lines.append(f"exempt: {report.exempt:,} of {counted(report.windows, 'window')} ({share:.3f} %)")
        lines += [f"  {reason}: {count:,}" for reason, count in sorted(report.exempt_reasons.items())]
    if report.behind:
        lines.append(f"behind: {counted(report.behind, 'open window')} could be closed by what the inputs hold")
    return lines


def _sides(report: Report) -> list[str]:
    letters = report.letters
    bad = {"missing": letters.missing, "unexpected": letters.unexpected, "doubled": letters.doubled}
    extra = {"again": letters.repeats, "not due": letters.open, "for future times": letters.future}
    lines = [f"dead letters: {letters.expected:,} expected, {letters.found:,} there{_named(extra)}{_named(bad)}"]
    if report.orphans is not None:
        o = report.orphans
        bad = {"missing": o.missing, "unexplained": o.unexplained, "exempt": o.exempt}
        sum_ = f"{o.expected + o.late:,} by the inputs - {o.late:,} late = " if o.late else ""
        lines.append(f"orphan rows: {sum_}{o.expected:,} expected, {o.found:,} there{_named(bad)}")
    if report.late is not None:
        bad = {"missing": report.late.missing, "unexplained": report.late.unexplained}
        lines.append(f"late rows: {report.late.rows:,}{_named(bad)}")
    if report.corrections is not None:
        lines.append(
            f"corrections: {counted(report.corrections, 'sample')} with a later revision, by rows that were late"
        )
    if report.replay.used:
        lines.append(
            f"replayed: {counted(report.replay.entries, 'entry', 'entries')} of the repartition log "
            f"for {counted(report.replay.keys, 'key')}: only the log tells which rows were late or over a limit"
        )
    return lines


def _example(example: Deviation) -> list[str]:
    lines = [example.cls.replace("_", " ")]
    named = {
        "key": None if example.key is None else json.dumps(example.key, ensure_ascii=False, default=str),
        "sample_id": example.sample_id,
        "window": example.window,
        "differs": ", ".join(example.fields) or None,
        "expected": _shown(example.expected, example.fields),
        "found": _shown(example.found, example.fields),
        "found at": example.at,
        "inputs": ", ".join(example.sources) or None,
    }
    return lines + [f"  {name:10}{value}" for name, value in named.items() if value is not None]


def _shown(value: Value, fields: list[str]) -> str | None:
    """Returns a sample's fields as JSON, only those that differ if they are named."""
    if isinstance(value, dict) and any(name in value for name in fields):
        value = {name: value[name] for name in fields if name in value}
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)[:1000]


def _sum(parts: dict[str, int]) -> str:
    return " + ".join(f"{count:,} {name}" for name, count in parts.items())


def _named(parts: dict[str, int]) -> str:
    return "".join(f", {count:,} {name}" for name, count in parts.items() if count)
