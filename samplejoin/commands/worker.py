"""`samplejoin worker JOB`: the same worker as `SAMPLEJOIN_JOB=JOB faust -A samplejoin worker`."""

from __future__ import annotations

from pathlib import Path

import click

from samplejoin.commands.shared import clear_errors
from samplejoin.worker.settings import worker_settings

LEVELS = ["debug", "info", "warning", "error"]


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set streams.click.topic=c2")
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="info", show_default=True)
@click.option("--web-port", type=click.IntRange(1, 65535), help="Port of /metrics, /livez, /readyz, /status.json.")
@click.option("--drain", is_flag=True, help="Join what the inputs hold now, commit, and end: before `migrate`.")
def worker(job: Path, sets: tuple[str, ...], loglevel: str, web_port: int | None, drain: bool) -> None:
    """Run the job in the file JOB until it is stopped: SIGTERM or Ctrl-C end it within 10 seconds.

    Exit code 2 if the job file or the environment is wrong, 1 if the worker had to stop.
    """
    if web_port is not None:
        sets = (*sets, f"web_port={web_port}")
    from samplejoin.worker.faust_app import make_app, run  # takes a second: not before a usage error

    with clear_errors():
        settings = worker_settings(job=job, drain=True) if drain else worker_settings(job=job)
        app = make_app(job, settings, sets)
    run(app, loglevel.upper())
