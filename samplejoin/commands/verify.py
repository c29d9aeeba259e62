"""`samplejoin verify JOB`: proves on a job's own topics that nothing was lost, doubled or wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from aiokafka.errors import KafkaError

from samplejoin.core.user_errors import said
from samplejoin.core.values import Fields
from samplejoin.errors import SamplejoinError
from samplejoin.job.event_times import read_iso
from samplejoin.job.open_job import open_job
from samplejoin.printable import without_controls
from samplejoin.verify.kafka import TopicReader
from samplejoin.verify.render import text_of
from samplejoin.verify.report import Report
from samplejoin.verify.run import Options, Shown
from samplejoin.verify.run import verify as verify_job

CANNOT = 2
NOT_JUDGED = 3
STOPPED = 130
MOST_SHARES = 1_000_000


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return read_iso(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; a time such as 2026-01-31T12:00:00Z") from error


def _share(ctx: click.Context, param: click.Parameter, value: str) -> int:
    one, _, number = value.partition("/")
    if one.strip() != "1" or not number.strip().isdecimal() or not 1 <= int(number[:99]) <= MOST_SHARES:
        raise click.BadParameter(f"{value!r} is not a valid share such as 1/64; 1/{MOST_SHARES} is the smallest")
    return int(number)


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--from", "from_ms", callback=_time, metavar="TIME", help="Windows whose anchor is at this time or later."
)
@click.option("--to", "to_ms", callback=_time, metavar="TIME", help="Windows whose anchor is before this time.")
@click.option("--sample", "one_in", callback=_share, default="1/1", metavar="1/N", help="Only one key in N.")
@click.option("--examples", type=click.IntRange(0, 1000), default=5, help="How many of each kind of error to show.")
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="For temporary files, up to 200 bytes an event. Default: the system's temporary directory.",
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set generation=1")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def verify(
    job: Path,
    from_ms: int | None,
    to_ms: int | None,
    one_in: int,
    examples: int,
    work_dir: Path | None,
    sets: tuple[str, ...],
    output: str,
) -> None:
    """Read a job's inputs and outputs, and reconcile them; nothing is written.

    Exit code 0 if everything is explained; 1 if anything is lost, doubled, wrong or unexplained; 2 if the job file is
    wrong, or nothing could be verified or compared; 3 if nothing is wrong but most windows are still open.
    """
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise click.BadParameter("must be after --from", param_hint="--to")
    options = Options(from_ms, to_ms, one_in, examples, work_dir)
    with _clear_errors():
        report = asyncio.run(_run(job, sets, options))
    shown = json.dumps(report.as_dict(), indent=2, default=str) if output == "json" else "\n".join(text_of(report))
    click.echo(without_controls(shown))
    raise SystemExit(_exit_code(report))


def _exit_code(report: Report) -> int:
    if report.wrong:
        return 1
    if not report.compared:
        return CANNOT
    return 0 if report.judged else NOT_JUDGED


async def _run(path: Path, sets: tuple[str, ...], options: Options) -> Report:
    job, connection = await open_job(path, sets, lambda connection: TopicReader(connection).partitions())
    with _progress() as shown:
        return await verify_job(job, connection, options, shown)


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except SamplejoinError as error:
        click.echo(str(error), err=True)
        raise SystemExit(CANNOT) from None
    except (KafkaError, OSError) as error:
        click.echo(f"the topics cannot be read: {said(error)}", err=True)
        raise SystemExit(CANNOT) from None
    except KeyboardInterrupt:
        click.echo("stopped: nothing is verified", err=True)
        raise SystemExit(STOPPED) from None


@contextmanager
def _progress() -> Iterator[Shown]:
    """Shows a progress bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, done, whole: None
        return
    with Progress(console=console, transient=True) as bar:
        tasks: Fields = {}

        def shown(what: str, done: int, whole: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=whole)
            bar.update(tasks[what], completed=done, total=whole)

        yield shown
