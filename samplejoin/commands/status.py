"""`samplejoin status JOB`: whether a job is well and, if not, why nothing comes out."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from samplejoin.admin.job_config import config_of
from samplejoin.admin.job_status import JobStatus, job_status
from samplejoin.commands.shared import clear_errors
from samplejoin.core.user_errors import counted
from samplejoin.core.values import Fields
from samplejoin.engine.config import EngineConfig
from samplejoin.printable import without_controls

NOT_WELL = 3
MOST_SHOWN = 12


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--workers", metavar="HOST:PORT,…", help="The workers' web ports, where the published ones are wrong.")
@click.option("--watch", is_flag=True, help="Ask again every two seconds, until Ctrl-C.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set generation=2")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def status(job: Path, workers: str | None, watch: bool, sets: tuple[str, ...], output: str) -> None:
    """Say whether a job is well and, if not, why nothing comes out.

    Asks Kafka, and each worker at the web address that it publishes. The first line is the answer. Exit code 0 if the
    job is well, 3 if it is not, 1 if Kafka cannot be asked, 2 if the job file is wrong.
    """
    if watch and output == "json":
        raise click.UsageError("--watch draws on the terminal; leave out -o json")
    addresses = [each.strip() for each in (workers or "").split(",") if each.strip()]
    with clear_errors():
        config = asyncio.run(config_of(job, sets))
        if watch:
            _watch(config, addresses)
            return
        found = asyncio.run(job_status(config, addresses))
    shown = json.dumps(asdict(found), indent=2) if output == "json" else text_of(found)
    click.echo(without_controls(shown))
    raise SystemExit(0 if found.well else NOT_WELL)


def _watch(config: EngineConfig, addresses: list[str]) -> None:
    from rich.live import Live
    from rich.text import Text

    try:
        with Live(Text("asking …"), auto_refresh=False) as live:
            while True:
                text = without_controls(text_of(asyncio.run(job_status(config, addresses))))
                live.update(Text(f"{time.strftime('%H:%M:%S')}  {text}"), refresh=True)
                time.sleep(2.0)
    except KeyboardInterrupt:
        return


def text_of(found: JobStatus) -> str:
    """The status as lines of text, the verdict first."""
    kafka = found.kafka
    lines = [f"{found.job}: {found.verdict}", ""]
    for worker in found.workers:
        lines += _worker(worker.name, worker.web, worker.page, worker.why_not)
    if not found.workers:
        lines.append(f"workers: none found; members of the group: {', '.join(kafka.members) or 'none'}")
    lines.append("")
    for topic in kafka.inputs:
        lines.append(f"input {topic.topic}: {counted(topic.partitions, 'partition')}, {topic.lag} records to read")
    lines.append(f"join: {kafka.join_lag} entries to step, clock of the last commits {_moment(kafka.clock_ms)}")
    lines.append(f"newest sample: {_moment(kafka.last_sample_ms)}")
    for reason, count in kafka.dead.by_reason.items():
        lines.append(f"dead letters, {reason}: {count} among the newest; {kafka.dead.examples[reason]}")
    if kafka.edited:
        lines.append(f"job file: {kafka.edited} since the state was made")
    return "\n".join(lines)


def _worker(name: str, web: str, page: Fields | None, why_not: str) -> list[str]:
    if page is None:
        return [f"worker {name} ({web}) does not answer: {why_not}"]
    joins, sources = page["joins"], page["sources"]
    lines = [
        f"worker {name} ({web}), {page.get('version', '')}: {counted(len(sources), 'source')}, "
        f"{counted(len(joins), 'join partition')}, lag {page['lag']}, {page['open_keys']} open keys, "
        f"clock {page['clock']}"
    ]
    lines += [f"  problem: {problem}" for problem in page["problems"]]
    lines += [f"  warning: {warning}" for warning in page["warnings"]]
    late = [source for source in sources if source["lag"]]
    for source in sorted(late, key=lambda each: -int(each["lag"]))[:MOST_SHOWN]:
        read = _moment(source["read_time_ms"])
        lines.append(f"  source {source['topic']}/{source['partition']}: lag {source['lag']}, read up to {read}")
    return lines


def _moment(time_ms: int | None) -> str:
    if not time_ms:
        return "not known"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_ms / 1000))
    except (OverflowError, ValueError, OSError):  # of a record with a time in another unit
        return f"{time_ms} ms"
