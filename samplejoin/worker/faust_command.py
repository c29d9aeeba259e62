"""What Faust's own command, `faust -A samplejoin …`, means for a job: its options and its lists.

Faust's consumer, tables and web pages are off, so some of it has no meaning here: that is said, and ends the command.
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

#: options that cannot be honoured, for any command, and for a worker
REFUSED = {
    "datadir": "the state is kept in `state_dir` of the job file: set it there, or SAMPLEJOIN_STATE_DIR",
}
REFUSED_BY_A_WORKER = {
    "quiet": "what a worker has to say stands in its log: use --loglevel error, or --logfile",
    "json": "set SAMPLEJOIN_LOG_FORMAT=json for a log of JSON lines",
    "debug": "use --loglevel debug; a function that blocks the worker is named without it",
    "loop": "a worker runs on asyncio's own event loop",
    "blocking_timeout": "a function that blocks the worker for over a second is named without it",
    "console_port": "there is no debugger console",
    "web_host": "no page refers to the worker's name: --web-bind sets the address that the web port is bound to",
    "web_transport": "the web port is a TCP port: set --web-bind and --web-port",
}
#: Faust's commands that have nothing to work on
NO_USE = {
    "send": "the agents read blocks of records from the job's topics: send records to those, with any Kafka producer",
    "reset": "use `samplejoin reset JOB`, which also deletes what the state came from",
    "clean-versions": "no directories of former versions are kept; `samplejoin reset JOB` deletes a job's state",
    "livecheck": "use `samplejoin verify JOB`, which reconciles all samples with the input",
    "completion": "for the shell's completion: _SAMPLEJOIN_COMPLETE=bash_source samplejoin",
    "model": "rows are plain dicts, there are no Faust models",
}


def refuse(context: click.Context | None) -> None:
    """Raises click.ClickException for a command of Faust's, or an option given to it, that has no meaning here."""
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
    """Raises click.ClickException for one that Faust, which changes to it twice, would not find."""
    for option, value in pairwise([part for each in arguments for part in each.split("=", 1)]):
        if option in ("-W", "--workdir") and not Path(value).is_absolute():
            raise click.ClickException(
                f"--workdir {value}: give an absolute path, {Path(value).name} is looked for twice"
            )


def log_level(context: click.Context | None, level: object) -> Any:
    """The level to log at: Faust's command says WARN unless told otherwise, a worker's lines of start and status are
    for everybody."""
    return level if level and (_given(context, "loglevel") or str(level).upper() not in ("WARN", "30")) else "INFO"


def _given(context: click.Context | None, option: str) -> bool:
    """Whether an option stands on the command line, before Faust's command or after it."""
    while context is not None:
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


def show_what_is_there() -> None:
    """Has Faust's lists show the job's agents and its table, which Faust does not run as its own."""
    WorkerCommand.on_worker_created = _no_banner  # type: ignore[method-assign,assignment]
    AgentsCommand._maybe_topic = _reads  # type: ignore[method-assign,assignment]
    TablesCommand.run = _tables  # type: ignore[method-assign,assignment]
    ModelsCommand.run = _models  # type: ignore[method-assign,assignment]


def _no_banner(command: object, worker: object) -> None:
    """The banner names Faust's own broker and stores, not this job's."""


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
