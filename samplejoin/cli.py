"""The command line: `samplejoin COMMAND`. Each command is a module, which is loaded only when the command is used."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import NamedTuple

import click

import samplejoin


class _Command(NamedTuple):
    """A command's module, and its line in `--help`, which is printed without loading the module."""

    module: str
    help: str
    extra: str | None = None


COMMANDS = {
    "init": _Command("samplejoin.commands.init", "Make a small project: job file, functions, tests, a Kafka."),
    "check": _Command("samplejoin.commands.check", "Check a job file, its functions and its topics."),
    "plan": _Command("samplejoin.commands.plan", "Estimate what a load needs: workers, partitions, disk, memory."),
    "worker": _Command("samplejoin.commands.worker", "Run a job until it is stopped."),
    "status": _Command("samplejoin.commands.status", "Say whether a job is well and, if not, why nothing comes out."),
    "verify": _Command("samplejoin.commands.verify", "Prove that no sample was lost, doubled or wrong."),
    "skip": _Command("samplejoin.commands.skip", "Make a job skip records that no worker survives."),
    "reset": _Command("samplejoin.commands.reset", "Reset a stopped job."),
    "migrate": _Command(
        "samplejoin.commands.migrate", "Move the open keys of a job to a different number of partitions."
    ),
    "demo": _Command("samplejoin.commands.demo", "Join real events into labelled samples, and watch.", "demo"),
    "broker": _Command("samplejoin.commands.broker", "Run a broker in memory, to try a job without Kafka.", "demo"),
    "produce": _Command("samplejoin.commands.records", "Send lines to a topic, for trying a job."),
    "consume": _Command("samplejoin.commands.records", "Print what a topic holds."),
    "schema": _Command("samplejoin.commands.schema", "Print the JSON Schema of job files, for editors."),
    "version": _Command("samplejoin.commands.version", "Print the version."),
}


class _Commands(click.Group):
    """A group that imports a command only when it runs: help is fast, and `check` does not load Faust."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = COMMANDS.get(cmd_name)
        if known is None:
            return None
        try:
            command: click.Command = getattr(import_module(known.module), cmd_name)
        except ImportError as error:
            if known.extra is None or (error.name or "").partition(".")[0] == "samplejoin":
                raise
            raise click.ClickException(f"{error}: run `make {known.extra}` in a clone") from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(samplejoin.__version__, message="samplejoin %(version)s")
def main() -> None:
    """Joins impressions with their clicks and other labels into training samples, from Kafka to Kafka."""
    # Commands print what matters, so the client's log lines are only noise. A worker's logging sets its own level.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    main(prog_name="samplejoin")
