"""Functions shared by commands that work on a job: plain error messages, and a question before a change."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from aiokafka.errors import KafkaError

from samplejoin.connection_errors import why_away
from samplejoin.core.user_errors import said
from samplejoin.engine.clients import is_away
from samplejoin.engine.transaction import CommitFailed
from samplejoin.errors import SamplejoinError
from samplejoin.job.errors import JobError

WRONG_JOB = 2


def confirm(yes: bool) -> None:
    """Asks for confirmation on a terminal; without a terminal `yes` must be true. Ends the command otherwise."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException("nothing was done: pass --yes, since standard input is not a terminal")
    click.confirm("Do that?", abort=True)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Prints errors without a traceback and exits: 2 for the job file and the environment, 1 for all else."""
    since = time.monotonic()
    try:
        yield
    except JobError as error:
        click.echo(str(error), err=True)
        raise SystemExit(WRONG_JOB) from None
    except KafkaError as error:
        raise click.ClickException(_away(error, since) if is_away(error) else said(error)) from None
    except (SamplejoinError, CommitFailed, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None


def _away(error: KafkaError, since: float) -> str:
    """Returns a message with the addresses that were tried; the client's own error has them as Python data."""
    tried = ", ".join(f"{host}:{port}" for host, port in re.findall(r"\('([^']+)', (\d+),", str(error)))
    return f"no broker answers at {tried or 'the addresses in `brokers`'}: {why_away(error, since)}"
