"""`samplejoin plan JOB --rate 500k`: estimates workers, partitions, disk, memory, traffic and recovery for a load."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from samplejoin.admin.capacity import CapacityPlan, Load, plan_capacity
from samplejoin.admin.capacity_figures import CPU_US_PER_EVENT, EVENT_BYTES, EVENTS_PER_KEY, REPLICAS
from samplejoin.commands.shared import clear_errors
from samplejoin.errors import RefusedError
from samplejoin.job.load import load_job
from samplejoin.job.model import JobModel
from samplejoin.job.units import format_duration, parse_duration
from samplejoin.worker.settings import worker_settings

RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([km]?)", re.ASCII | re.IGNORECASE)
UNITS = {"": 1, "k": 1000, "m": 1_000_000}
MOST_EVENTS_PER_S = 1_000_000_000


def _rate(_: click.Context, __: click.Parameter, value: str) -> float:
    match = RATE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a valid rate; events per second of all inputs: 20000, 500k, 1.5m")
    rate = float(match[1]) * UNITS[match[2].lower()]
    if not 1 <= rate <= MOST_EVENTS_PER_S:
        raise click.BadParameter(f"{value} is out of range; from 1 to {MOST_EVENTS_PER_S // 1_000_000}m events/s")
    return rate


def _window(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            parse_duration(value)
        except RefusedError as error:
            raise click.BadParameter(f"{error}; {error.hint}") from error
    return value


def _number(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value):  # every FloatRange accepts it
        raise click.BadParameter("nan is not a number")
    return value


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--rate", callback=_rate, required=True, metavar="RATE", help="Rows per second of all inputs: 20000, 500k, 1.5m."
)
@click.option("--window", callback=_window, metavar="DURATION", help="A window other than the job file's: 20m.")
@click.option(
    "--event-bytes",
    type=click.IntRange(1, 1 << 20),
    default=EVENT_BYTES,
    show_default=True,
    help="Bytes of an event as JSON, of the fields that the job uses.",
)
@click.option(
    "--events-per-key",
    type=click.FloatRange(1, 1e6),
    default=EVENTS_PER_KEY,
    show_default=True,
    callback=_number,
    help="Events of all inputs that one window holds.",
)
@click.option(
    "--keep-busy",
    type=click.FloatRange(0.1, 0.95),
    default=0.7,
    show_default=True,
    callback=_number,
    help="Share of its core that a worker may use; the rest is for catching up.",
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set standby_replicas=1")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def plan(
    job: Path,
    rate: float,
    window: str | None,
    event_bytes: int,
    events_per_key: float,
    keep_busy: float,
    sets: tuple[str, ...],
    output: str,
) -> None:
    """Estimate what JOB needs at a given rate, from figures that were measured on one machine.

    Asks no broker. Exit code 2 if the job file is wrong.
    """
    with clear_errors():
        model = load_job(job, [*sets, *([f"window={window}"] if window is not None else [])])
        load = Load(rate, event_bytes, events_per_key, keep_busy)
        found = plan_capacity(model, load, worker_settings(job=job).session_timeout_ms)
    if output == "json":
        click.echo(json.dumps({**asdict(found), "cpu_us_per_event": CPU_US_PER_EVENT, "load": asdict(load)}, indent=2))
    else:
        click.echo("\n".join(_text(model, load, found)))


def _text(model: JobModel, load: Load, plan: CapacityPlan) -> list[str]:
    corrected = f", correction {format_duration(model.correction_ms)}" if model.correction_ms else ""
    return [
        f"{model.name}: {load.events_per_s:,.0f} events/s, window {format_duration(model.window_ms)}{corrected}, "
        f"{plan.open_keys / 1e6:,.1f} million open keys",
        *(f"  {name:<12}{text}" for name, text in _rows(load, plan)),
        *(["in the job file:"] if plan.notes else []),
        *(f"  {note}" for note in plan.notes),
        f"assumed: {CPU_US_PER_EVENT:g} us of a core an event, {load.event_bytes} bytes an event, "
        f"{load.events_per_key:g} events a key, {model.replication_factor or REPLICAS} replicas, keys spread evenly.",
        "An estimate, from runs of two workers on one machine. `python -m bench.cost` measures on yours.",
    ]


def _rows(load: Load, plan: CapacityPlan) -> Iterator[tuple[str, str]]:
    a_job = ""
    if plan.jobs > 1:
        a_job = " a job"
        yield "jobs", f"{plan.jobs}, each with a part of the keys, in input topics of its own"
    yield "workers", f"{plan.workers_per_job}{a_job}, of one core each, {load.keep_busy * 100:.0f} % busy"
    yield "partitions", f"{plan.join_partitions_per_job} of the join{a_job}"
    yield "inputs", f"{plan.input_partitions_per_job} or more partitions of each busy topic{a_job}"
    yield "disk", f"{_size(plan.disk_bytes_per_worker)} a worker, {_size(plan.disk_bytes)} in all"
    yield "memory", f"{_size(plan.memory_bytes_per_worker)} a worker: the least for its container, or limits.memory"
    yield "read", f"{_size(plan.input_bytes_per_s)}/s of inputs, uncompressed"
    yield (
        "written",
        (
            f"{_size(plan.repartition_bytes_per_s)}/s repartition, {_size(plan.changelog_bytes_per_s)}/s changelog, "
            f"{_size(plan.samples_bytes_per_s)}/s samples"
        ),
    )
    yield "commits", f"{plan.transactions_per_s:,} transactions/s"
    standby = "" if plan.standby_s is None else f", {_time(plan.standby_s)} with its standby"
    yield "recovery", f"{_time(plan.same_disk_s)} on the same disk, {_time(plan.empty_disk_s)} on an empty one{standby}"
    yield "brokers", f"{plan.brokers}, with {_size(plan.broker_disk_bytes)} for 24 h of repartition and the changelog"


def _size(size_bytes: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.{0 if size_bytes >= 10 * factor else 1}f} {unit}"
    return f"{size_bytes / 1000:.0f} kB"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
