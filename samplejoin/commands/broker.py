"""`samplejoin broker`: runs a broker in this process, to try a job without installing Kafka."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from samplejoin.commands.shared import clear_errors
from samplejoin.demo.broker import PARTITIONS, EmbeddedBroker, need_librdkafka
from samplejoin.demo.errors import DemoError
from samplejoin.demo.port_forwarder import serve
from samplejoin.engine.config import Topics
from samplejoin.job.load import load_job
from samplejoin.job.model import JobModel


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), default=9092, show_default=True, help="On localhost.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another value: --set partitions=4")
def broker(job: Path, port: int, sets: tuple[str, ...]) -> None:
    """Run a broker with all topics of JOB until Ctrl-C, to try the job. Records are in memory and are lost at the end.

    It is the mock cluster of librdkafka. It has no real transactions: start the worker with
    --set guarantee=at_least_once. Topics always have four partitions.
    """
    with clear_errors():
        model = load_job(job, sets)
    try:
        need_librdkafka("`samplejoin broker`")
        topics = topics_of(model)
        asyncio.run(_run(topics, port, job, Path(model.state_dir) / model.prefix))
    except DemoError as error:
        raise click.ClickException(str(error)) from None


def topics_of(model: JobModel) -> list[str]:
    """Returns all topics of the job: inputs, outputs, internal. Raises DemoError if the broker cannot provide them."""
    if model.partitions != PARTITIONS:
        raise DemoError(
            f"this broker's topics have {PARTITIONS} partitions: set partitions: {PARTITIONS} in the job file"
        )
    for name, stream in model.streams.items():
        if stream.pattern is not None:
            raise DemoError(f"streams.{name}.pattern: name a topic instead; this broker has only topics that JOB names")
    inputs = [topic for stream in model.streams.values() for topic in stream.topic_names]
    outputs = model.output_topics()
    own = Topics(model.prefix, outputs["samples"], outputs.get("late"), outputs.get("orphan"), outputs["dead_letter"])
    return [*dict.fromkeys(inputs), *own.written, own.skips]  # this broker cannot be asked to create topics later


async def _run(topics: list[str], port: int, job: Path, state: Path) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    embedded = EmbeddedBroker()
    embedded.create(topics)
    server = await serve(port, embedded.bootstrap)
    click.echo(
        f"broker on localhost:{port}, topics {', '.join(topics)}; Ctrl-C ends it and loses all: stop the workers too"
    )
    if state.is_dir() and any(each.is_dir() for each in state.iterdir()):  # a waiting worker has only its lock
        click.echo(f"{state} holds the state of an earlier broker: delete it, else the worker refuses to start")
    click.echo(f"Next, in another terminal: samplejoin worker {job} --set guarantee=at_least_once")
    click.echo("A sample comes when its window has closed: for a first look add --set window=10s --set lateness=1s")
    await stopped.wait()
    server.close()
    embedded.close(())
