"""`samplejoin worker JOB`: the same worker as `SAMPLEJOIN_JOB=JOB faust -A samplejoin worker`."""

from __future__ import annotations

from pathlib import Path

import click
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from samplejoin.engine.config import WorkerError
from samplejoin.job.errors import JobError
from samplejoin.settings import WorkerSettings

LEVELS = ["debug", "info", "warning", "error"]
WRONG_JOB = 2


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set streams.click.topic=c2")
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="info", show_default=True)
@click.option("--web-port", type=click.IntRange(1, 65535), help="Port of /metrics, /livez and /readyz.")
def worker(job: Path, sets: tuple[str, ...], loglevel: str, web_port: int | None) -> None:
    """Run the job in the file JOB until it is stopped: SIGTERM or Ctrl-C end it within 10 seconds.

    Exit code 2 if the job file is wrong, 1 if the worker had to stop.
    """
    overrides = dict(_pair(text) for text in sets)
    if web_port is not None:
        overrides["web_port"] = str(web_port)
    from samplejoin.worker import make_app, run  # takes a second, which a usage error should not

    try:
        app = make_app(job, WorkerSettings(job=job), overrides)
    except JobError as error:
        click.echo(str(error), err=True)
        raise SystemExit(WRONG_JOB) from None
    except ValidationError as error:
        _refuse_settings(error)
    except (KafkaError, WorkerError, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None
    run(app, loglevel.upper())


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
    return name, value


def _refuse_settings(error: ValidationError) -> None:
    """The worker's own environment variables, without their values."""
    for each in error.errors(include_url=False, include_input=False):
        name = "_".join(map(str, each["loc"])).upper()
        click.echo(f"environment SAMPLEJOIN_{name}: {each['msg']}", err=True)
    raise SystemExit(WRONG_JOB)
