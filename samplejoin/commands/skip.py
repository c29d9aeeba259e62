"""`samplejoin skip JOB TOPIC/PARTITION/OFFSET…`: makes workers pass over a record that none of them survives."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import socket
import time
from dataclasses import asdict
from pathlib import Path

import click

from samplejoin.admin.job_config import config_of
from samplejoin.commands.shared import clear_errors, confirm
from samplejoin.core.skipped_offsets import Skip
from samplejoin.core.user_errors import counted
from samplejoin.engine.skip_topic import SkipList, refuse_wrong, write

_PLACE = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d{1,9})/(?P<first>\d{1,18})(-(?P<last>\d{1,18}))?")


def _places(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, int, int, int]]:
    found = []
    for value in values:
        place = _PLACE.fullmatch(value)
        if place is None:
            raise click.BadParameter(f"{value!r}: write TOPIC/PARTITION/OFFSET or TOPIC/PARTITION/FIRST-LAST")
        first = int(place["first"])
        last = int(place["last"] or first)
        if last < first:
            raise click.BadParameter(f"{value!r}: the last offset lies before the first")
        found.append((place["topic"], int(place["partition"]), first, last))
    return found


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("places", nargs=-1, callback=_places, metavar="[TOPIC/PARTITION/OFFSET[-LAST]]...")
@click.option("--reason", default="", help="Why they are skipped; is kept with them. Required.")
@click.option("--yes", is_flag=True, help="Ask no questions.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set generation=2")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def skip(
    job: Path, places: list[tuple[str, int, int, int]], reason: str, yes: bool, sets: tuple[str, ...], output: str
) -> None:
    """Have a job pass over input records that no worker survives; without arguments, list those it passes over.

    Workers apply it when they start, running ones within ten seconds. A skipped record gives no row and no dead
    letter. Who skipped it, when and why is kept in the topic NAME-skips. Exit code 1 if nothing was done, 2 if the
    job file is wrong.
    """
    if places and not reason.strip():
        raise click.UsageError("say why: --reason TEXT")
    if output == "json" and places and not yes:
        raise click.UsageError("-o json does not ask: pass --yes")
    by, now_ms = f"{getpass.getuser()}@{socket.gethostname()}", int(time.time() * 1000)
    skips = [Skip(*place, reason.strip(), by, now_ms) for place in places]
    with clear_errors():
        config = asyncio.run(config_of(job, sets))
        if skips:
            asyncio.run(refuse_wrong(config, skips))
            if output == "text":
                records = sum(each.last - each.first + 1 for each in skips)
                click.echo(
                    f"job {config.topics.prefix} passes over {counted(records, 'offset')}, for good: {_named(skips)}"
                )
            confirm(yes)
            asyncio.run(write(config, skips))
        else:
            known = SkipList(config, _not_ours)
            asyncio.run(known.read())
            skips = known.skips
    if output == "json":
        click.echo(json.dumps([asdict(each) for each in skips], indent=2))
    elif places:
        click.echo("written: workers pass over them when they start; running ones within ten seconds")
    elif not skips:
        click.echo(f"job {config.topics.prefix}: nothing is skipped")
    else:
        for each in skips:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each.at_ms / 1000))
            click.echo(f"{each.place}  {at}  {each.by}  {each.reason}")


def _not_ours(topic: str, partition: int, offset: int, why: Exception) -> None:
    click.echo(f"topic {topic} partition {partition} offset {offset} is passed over: {why}", err=True)


def _named(skips: list[Skip]) -> str:
    return ", ".join(each.place for each in skips)
