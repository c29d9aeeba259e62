"""`samplejoin migrate JOB`: moves the open keys of a drained generation to another one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from samplejoin.admin.job_config import config_of
from samplejoin.admin.migrate import MigrationPlan, migrate_state, partitions_of, plan_migration
from samplejoin.commands.shared import clear_errors, confirm


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--from-generation", "generation", type=click.IntRange(1, 9999), required=True, help="The drained generation."
)
@click.option("--dry-run", is_flag=True, help="Only look whether it can be done.")
@click.option("--yes", is_flag=True, help="Ask no questions.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set partitions=8")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def migrate(job: Path, generation: int, dry_run: bool, yes: bool, sets: tuple[str, ...], output: str) -> None:
    """Move the open keys of a drained generation to the one of JOB, which may have another number of partitions.

    JOB has the new `generation` and `partitions`; all else is unchanged. Before it run samplejoin worker --drain with
    the old job file. Exit code 1 if nothing was done, 2 if the job file is wrong.
    """
    if output == "json" and not (yes or dry_run):
        raise click.UsageError("-o json does not ask: pass --yes, or --dry-run to see what would be done")
    with clear_errors():
        new = asyncio.run(config_of(job, sets))
        old = asyncio.run(config_of(job, [*sets, f"generation={generation}"]))
        if old.group == new.group:
            raise click.BadParameter(
                f"the job file says generation: {generation} itself; set generation: {generation + 1} in the job file",
                param_hint="--from-generation",
            )
        partitions = asyncio.run(partitions_of(old))
        old = asyncio.run(config_of(job, [*sets, f"generation={generation}", f"partitions={partitions}"]))
        plan = asyncio.run(plan_migration(old, new))
        if output == "text":
            click.echo("\n".join(_text(plan)))
        keys = None
        if not dry_run:
            confirm(yes)
            keys = asyncio.run(migrate_state(plan))
    _say_done(plan, keys, output)


def _text(plan: MigrationPlan) -> list[str]:
    old, new = plan.old, plan.new
    return [
        f"job {new.spec.name}: from group {old.group} with {old.partitions} join partitions, which stands at a cut,",
        f"  to group {new.group} with {new.partitions}",
        f"Group {old.group} is deleted, so that it cannot run next to the new one. Its topics stay.",
    ]


def _say_done(plan: MigrationPlan, keys: int | None, output: str) -> None:
    if output == "json":
        result = {
            "done": keys is not None,
            "from": plan.old.group,
            "to": plan.new.group,
            "open_keys": keys,
            "partitions": plan.new.partitions,
        }
        click.echo(json.dumps(result, indent=2))
    elif keys is None:
        click.echo("nothing was done (--dry-run)")
    else:
        click.echo(f"{keys} open keys moved: start the workers of generation {plan.new.group}")
