"""`samplejoin produce` and `samplejoin consume`: write records to a topic and read them, to try a job."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

import click
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient

from samplejoin.commands.shared import clear_errors
from samplejoin.core.user_errors import counted
from samplejoin.engine.aiokafka_private import network_client
from samplejoin.engine.clients import running
from samplejoin.printable import printable

WAIT_S = 10.0

_brokers = click.option(
    "--brokers",
    envvar="SAMPLEJOIN_BROKERS",
    default="localhost:9092",
    show_default=True,
    metavar="HOST:PORT",
    show_envvar=True,
    help="Connected without TLS or a login: for trying out.",
)


@click.command()
@click.argument("topic")
@click.argument("lines", type=click.File("rb"), default="-")
@_brokers
def produce(topic: str, lines: Any, brokers: str) -> None:
    """Send each line of the file LINES (default: standard input) as a record to TOPIC, which must exist."""
    count = _done(_produce(brokers, topic, (line.rstrip(b"\r\n") for line in lines)))
    click.echo(f"{counted(count, 'record')} sent to {topic}")


@click.command()
@click.argument("topic")
@click.option("--headers", is_flag=True, help="Print key and headers before the value.")
@_brokers
def consume(topic: str, headers: bool, brokers: str) -> None:
    """Print the committed records that TOPIC holds now, one a line, partition by partition."""
    for record in _done(_consume(brokers, topic)):
        if headers or sys.stdout.isatty():
            click.echo(_text(record) if headers else _shown_value(record))
        else:
            click.echo(record.value or b"")


async def _produce(brokers: str, topic: str, values: Iterable[bytes]) -> int:
    async with running(AIOKafkaProducer(bootstrap_servers=brokers, request_timeout_ms=int(WAIT_S * 1000))) as producer:
        await _partitions(producer.client, topic)
        sent = [await producer.send(topic, value) for value in values if value]
        for each in sent:
            await each
    return len(sent)


async def _consume(brokers: str, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, enable_auto_commit=False, isolation_level="read_committed", fetch_max_wait_ms=50
    )
    records: list[ConsumerRecord] = []
    async with running(consumer):
        tps = [TopicPartition(topic, number) for number in await _partitions(network_client(consumer), topic)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, 0)
            while await consumer.position(tp) < ends[tp]:
                records += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
    return records


async def _partitions(client: AIOKafkaClient, topic: str) -> list[int]:
    """Returns the topic's partitions. Raises ClickException if it does not exist, so that no typo creates a topic."""
    metadata = await client.fetch_all_metadata()
    if topic not in metadata.topics():
        there = ", ".join(sorted(name for name in metadata.topics() if not name.startswith("__"))) or "none"
        raise click.ClickException(f"topic {topic} does not exist; there are: {there}")
    return sorted(metadata.partitions_for_topic(topic))


def _text(record: ConsumerRecord) -> str:
    headers = " ".join(f"{name}={_on_one_line(value)}" for name, value in record.headers)
    return f"{_on_one_line(record.key)} {headers} {_shown_value(record)}"


def _shown_value(record: ConsumerRecord) -> str:
    return printable((record.value or b"").decode("utf-8", "replace"))


def _on_one_line(value: bytes | None) -> str:
    """Returns the text of a key or header with control characters escaped."""
    text = (value or b"").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _done(work: Coroutine[object, object, object]) -> Any:
    with clear_errors():
        return asyncio.run(work)
