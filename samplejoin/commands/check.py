"""`samplejoin check JOB`: checks a job before it runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samplejoin.admin.job_check import CheckReport, check_job
from samplejoin.core.user_errors import counted
from samplejoin.printable import printable, without_controls

if TYPE_CHECKING:
    from samplejoin.offline.trial import Tried

SAMPLES_SHOWN = 3
ROWS_SHOWN = 5


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--records",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Sample records to try: lines like {"stream": "click", "record": {...}}.',
)
@click.option("--broker/--no-broker", default=None, help="Require a broker, or ask none. Default: ask if there is one.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set streams.click.topic=c2")
@click.option("--acls", is_flag=True, help="Print only the access rights a worker needs, as calls of kafka-acls.sh.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def check(
    job: Path, records: Path | None, broker: bool | None, sets: tuple[str, ...], acls: bool, strict: bool, output: str
) -> None:
    """Check a job file, its functions, its topics and its cluster; try it on sample records.

    Exit code 1 if there is a problem. What may be intended, such as a function that filters all records, is only a
    warning.
    """
    report = asyncio.run(check_job(job, records, broker, sets))
    report.strict = strict
    if not acls:
        report.rights = []
    if acls and report.rights and output == "text":
        click.echo("\n".join(report.rights))
        for problem in report.problems:
            click.echo(printable(str(problem)), err=True)
    else:
        click.echo(report.as_json() if output == "json" else without_controls("\n".join(_text(report))))
    raise SystemExit(0 if report.ok else 1)


def _text(report: CheckReport) -> list[str]:
    lines = [printable(str(problem)) for problem in report.problems]
    lines += [f"warning: {printable(warning)}" for warning in report.warnings]
    for tried in report.records:
        lines += _record_text(tried)
    lines += [f"sample: {sample}" for sample in report.samples[:SAMPLES_SHOWN]]
    if len(report.samples) > SAMPLES_SHOWN:
        lines.append(f"... {len(report.samples)} samples in all")
    lines += report.orphans[:SAMPLES_SHOWN]
    if len(report.orphans) > SAMPLES_SHOWN:
        lines.append(f"... {len(report.orphans)} orphans in all")
    lines += [f"note: {note}" for note in report.notes]
    if report.ok:
        lines.append(f"{report.job}: ok")
        lines += [f"  {key}: {_shown(value)}" for key, value in report.summary.items()]
    else:
        wrong = len(report.problems) + sum(tried.error is not None for tried in report.records)
        wrong += len(report.warnings) if report.strict else 0
        lines.append(f"{report.job}: {counted(wrong, 'problem')}")
    return lines


def _record_text(tried: Tried) -> list[str]:
    head = f"record {tried.line} {tried.stream}:"
    if tried.error is not None:
        return [f"{head} {printable(tried.error)}", *(["  " + line for line in (tried.traceback or "").splitlines()])]
    if tried.filtered:
        return [f"{head} filtered"]
    rows = [
        f"{head} {time} {json.dumps(row, default=repr, ensure_ascii=False)}{f', left out: {why}' if why else ''}"
        for time, row, why in zip(tried.times, tried.rows, tried.dropped, strict=True)
    ]
    more = len(rows) - ROWS_SHOWN
    return rows if more <= 0 else [*rows[:ROWS_SHOWN], f"{head} ... {counted(more, 'more row', 'more rows')}"]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "".join(f"\n    {name}: {text}" for name, text in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
