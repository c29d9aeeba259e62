"""Adapts Faust's own command, `faust -A samplejoin …`, to a job: its options and its lists.

Faust's consumer, tables and web pages are disabled. Options and commands that need them end with an error.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from faust.cli.agents import agents as AgentsCommand
from faust.cli.models import models as ModelsCommand
from faust.cli.tables import tables as TablesCommand
from faust.cli.worker import worker as WorkerCommand

#: options that cannot be honoured by any command, and by a worker, each with what to do instead
REFUSED = {
    "datadir": "the state directory is `state_dir` in the job file: set it there, or set SAMPLEJOIN_STATE_DIR",
}
REFUSED_BY_A_WORKER = {
    "quiet": "a worker writes only to its log: use --loglevel error, or --logfile",
    "json": "set SAMPLEJOIN_LOG_FORMAT=json for a log of JSON lines",
    "debug": "use --loglevel debug; a function that blocks the worker is named at any level",
    "loop": "a worker runs on asyncio's own event loop",
    "blocking_timeout": "a function that blocks the worker for over a second is always named in the log",
    "console_port": "there is no debugger console",
    "web_host": "no page shows the worker's host name: use --web-bind for the address that the web port is bound to",
    "web_transport": "the web port is a TCP port: set --web-bind and --web-port",
}
#: Faust's commands that have nothing to work on, each with what to do instead
NO_USE = {
    "send": "the agents read the job's topics: send records to those, with any Kafka producer",
    "reset": "use `samplejoin reset JOB`, which also deletes the internal topics that the state comes from",
    "clean-versions": "no directories of former versions are kept; `samplejoin reset JOB` deletes a job's state",
    "livecheck": "use `samplejoin verify JOB`, which reconciles all samples with the input",
    "completion": "for the shell's completion: _SAMPLEJOIN_COMPLETE=bash_source samplejoin",
    "model": "rows are plain dicts, there are no Faust models",
}


def refuse(context: click.Context | None) -> None:
    """Raises click.ClickException for a Faust command, or an option given to it, that has no meaning for a job."""
    if context is None or context.command is None:
        return
    command = context.info_name or ""
    if command in NO_USE:
        raise click.ClickException(f"faust {command} has no use here: {NO_USE[command]}")
    refused = REFUSED | (REFUSED_BY_A_WORKER if command == "worker" else {})
    for option, why in refused.items():
        if _given(context, option):
            raise click.ClickException(f"--{option.replace('_', '-')} has no meaning here: {why}")


def refuse_relative_workdir(arguments: list[str]) -> None:
    """Raises click.ClickException for a relative --workdir, which Faust would not find: it changes to it twice."""
    for option, value in pairwise([part for each in arguments for part in each.split("=", 1)]):
        if option in ("-W", "--workdir") and not Path(value).is_absolute():
            raise click.ClickException(
                f"--workdir {value} is relative, and Faust changes to it twice: give an absolute path"
            )


def log_level(context: click.Context | None, level: object) -> Any:
    """Returns the level to log at: INFO where the command line gives none, although Faust's own default is WARN.

    A worker's start and status lines must be visible.
    """
    return level if level and (_given(context, "loglevel") or str(level).upper() not in ("WARN", "30")) else "INFO"


def _given(context: click.Context | None, option: str) -> bool:
    """Returns whether an option is given on the command line, before Faust's command or after it."""
    while context is not None:
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


def show_what_is_there() -> None:
    """Makes Faust's lists show the job's agents and its table, which Faust does not run as its own."""
    WorkerCommand.on_worker_created = _no_banner  # type: ignore[method-assign,assignment]
    AgentsCommand._maybe_topic = _reads  # type: ignore[method-assign,assignment]
    TablesCommand.run = _tables  # type: ignore[method-assign,assignment]
    ModelsCommand.run = _models  # type: ignore[method-assign,assignment]


def _no_banner(command: object, worker: object) -> None:
    """Prints no banner, because it would name Faust's own broker and stores, not the job's."""


def _reads(command: Any, agent: Any) -> str:
    app = command.app
    return ", ".join(app.config.spec.topics()) if agent.name.endswith("clean") else str(app.config.topics.repartition)


async def _tables(command: Any) -> None:
    config = command.app.config
    text = f"Open keys of {config.partitions} join partitions, in {config.state_dir}/{config.topics.prefix}"
    rows = [(config.topics.changelog.removesuffix("-changelog") + "-partial-samples", text)]
    command.say(command.tabulate(rows, title=command.title, headers=["name", "help"]))


async def _models(command: Any, **_: Any) -> None:
    command.say("no models: rows are plain dicts")
