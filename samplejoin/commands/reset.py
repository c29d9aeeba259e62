"""`samplejoin reset JOB`: deletes a stopped job's state, so that it starts from the beginning."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from samplejoin.admin.job_config import config_of
from samplejoin.admin.reset import ResetPlan, To, plan_reset, reset_job
from samplejoin.commands.shared import clear_errors, confirm
from samplejoin.engine.config import EngineConfig
from samplejoin.job.event_times import read_iso

WHAT_COMES = (
    "Samples that were sent stay. Input that is read again gives the same samples again, with the same ids and bytes. "
    "Input that is not read again, and windows that are open now, give no samples."
)


def _to(_: click.Context, __: click.Parameter, value: str | None) -> To | None:
    if value is None or value in ("earliest", "latest", "committed"):
        return value  # type: ignore[return-value]  # mypy does not narrow by `in`
    try:
        return read_iso(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or earliest, latest, committed") from error


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    callback=_to,
    metavar="earliest|latest|TIME|committed",
    help="Where the new run starts. Default: the job's `start`.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Ask no questions.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set state_dir=/data")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def reset(job: Path, to: To | None, dry_run: bool, yes: bool, sets: tuple[str, ...], output: str) -> None:
    """Reset a stopped job within its generation: delete its group, internal topics and local state.

    Input and output topics stay. Workers on other machines detect that their state directories are stale. Exit code 1
    if nothing was done, 2 if the job file is wrong.
    """
    if output == "json" and not (yes or dry_run):
        raise click.UsageError("-o json does not ask: pass --yes, or --dry-run to see what would be done")
    with clear_errors():
        config = asyncio.run(config_of(job, sets))
        plan = asyncio.run(plan_reset(config, to))
        if output == "text":
            click.echo("\n".join(_text(plan)))
        if not dry_run:
            confirm(yes)
            asyncio.run(reset_job(config, plan, to))
    _say_done(config, plan, dry_run, output)


def _text(plan: ResetPlan) -> list[str]:
    return [
        f"job {plan.job}, group {plan.group}",
        f"  topics to delete: {', '.join(plan.topics) or 'none'}",
        f"  state directory to delete: {plan.state_dir or 'none here'}",
        f"  the next run starts at: {plan.start}",
        WHAT_COMES,
    ]


def _say_done(config: EngineConfig, plan: ResetPlan, dry_run: bool, output: str) -> None:
    if output == "json":
        result: dict[str, object] = {"done": not dry_run, **asdict(plan)}
        click.echo(json.dumps(result, indent=2))
    elif dry_run:
        click.echo("nothing was done (--dry-run)")
    else:
        click.echo(f"group {config.group} starts from the beginning")
