"""All uses of aiokafka's private names in the engine; a test checks that each name exists.

Two more modules replace parts of aiokafka: `fetched_records` its parser of fetched batches, and `connection_errors` its
function that connects. `admin_client` overrides one method. The version of aiokafka is pinned for all of this (ADR 1).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

if TYPE_CHECKING:
    from aiokafka.protocol.api import Request, Response


def set_fetch_wait(consumer: AIOKafkaConsumer, min_bytes: int, max_wait_ms: int) -> None:
    """Sets how many bytes a broker waits for, and for how long, before it answers the consumer's next fetches."""
    fetcher = consumer._fetcher
    fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = min_bytes, max_wait_ms


def fetched_partitions(consumer: AIOKafkaConsumer) -> OrderedDict[TopicPartition, object]:
    """Returns the partitions with fetched data that the consumer has not handed out, in the order in which it will."""
    waiting: OrderedDict[TopicPartition, object] = consumer._fetcher._records
    return waiting


def network_client(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """Returns the client that holds the consumer's connections and metadata."""
    return consumer._client


def group_generation(consumer: AIOKafkaConsumer) -> int:
    """Returns the group generation that the consumer is a member of, -1 before the first."""
    return int(getattr(consumer._coordinator, "generation", -1))


def request_rejoin(consumer: AIOKafkaConsumer) -> None:
    """Makes the consumer join its group again."""
    consumer._coordinator.request_rejoin()


def raise_group_error(consumer: AIOKafkaConsumer) -> None:
    """Raises the error that the group's coordinator left for the next fetch."""
    consumer._coordinator.check_errors()


async def send_request(client: AIOKafkaAdminClient, request: Request, node: int | None = None) -> Response:
    """Sends a request that the admin client has no method for, to broker `node` or to any; returns the response."""
    return await client._send_request(request, node)


def transaction_error(producer: AIOKafkaProducer) -> BaseException | None:
    """Returns the error that ended the producer's transaction; later calls only report that there is none."""
    waiter: asyncio.Future[None] | None = getattr(producer._txn_manager, "_transaction_waiter", None)
    failed = waiter is not None and waiter.done() and not waiter.cancelled()
    return waiter.exception() if waiter is not None and failed else None


def closing_steps(producer: AIOKafkaProducer) -> list[Callable[[], Awaitable[None]]]:
    """Marks the producer as closed; returns the closing calls, in order, that an interrupted `stop` has not made."""
    producer._closed = True
    return [producer._sender.close, producer.client.close]
