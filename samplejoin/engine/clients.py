"""Creates aiokafka's clients with the settings that the join needs, and waits for brokers that do not answer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from samplejoin.connection_errors import refused_since, why_away
from samplejoin.core.user_errors import said
from samplejoin.engine.access_rights import DENIALS, Denied
from samplejoin.engine.admin_client import AdminClient
from samplejoin.engine.aiokafka_private import closing_steps, set_fetch_wait
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.fetched_records import Reading

log = logging.getLogger(__name__)
T = TypeVar("T")
C = TypeVar("C", AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)

MAX_REQUEST_BYTES = 8 << 20
TRANSACTION_TIMEOUT_MS = 15_000
BATCH_BYTES = 1 << 20
#: per partition and fetch; a larger record still comes, alone (KIP-74). Small, so that the data stay in CPU caches
FETCH_BYTES = 1 << 20
#: per broker and fetch, all partitions together
FETCHES_BYTES = 16 << 20
#: (min bytes, max wait in ms) of fetches: few large ones while records flow, else one that the first record ends
FLOWING, STILL = (256 << 10, 50), (1, 250)
AWAY = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError, OSError)


def group_consumer(config: EngineConfig, assignor: object, reading: Reading) -> AIOKafkaConsumer:
    """The worker's consumer: sources and repartition topic in one group, no automatic commit or offset reset.

    It has one assignor only: with more, aiokafka joins the group once for each.
    """
    return AIOKafkaConsumer(
        **config.connection,
        group_id=config.group,
        client_id=f"samplejoin-{config.instance_id or f'{socket.gethostname()}-{os.getpid()}'}",  # for `refuse_members`
        group_instance_id=config.instance_id,
        partition_assignment_strategy=(assignor,),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        session_timeout_ms=config.session_timeout_ms,
        heartbeat_interval_ms=max(100, config.session_timeout_ms // 10),
        rebalance_timeout_ms=max(config.session_timeout_ms, 30_000),
        max_poll_interval_ms=24 * 3600 * 1000,
        fetch_min_bytes=STILL[0],
        fetch_max_wait_ms=STILL[1],
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=FETCHES_BYTES,
        metadata_max_age_ms=10_000,
        check_crcs=True,
        value_deserializer=reading,
    )


def pace(consumer: AIOKafkaConsumer, flowing: bool) -> None:
    """Sets how long the next fetches wait: many small ones cost a third more CPU, many empty ones keep a core busy."""
    set_fetch_wait(consumer, *(FLOWING if flowing else STILL))


def reader(config: EngineConfig, fetch_max_wait_ms: int = 50) -> AIOKafkaConsumer:
    """A consumer without a group, for the changelog and the progress topic."""
    return AIOKafkaConsumer(
        **config.connection,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_wait_ms=fetch_max_wait_ms,
        max_partition_fetch_bytes=MAX_REQUEST_BYTES + (4 << 20),
    )


def producer(
    config: EngineConfig, transactional_id: str | None = None, compression: str | None = None
) -> AIOKafkaProducer:
    """An idempotent producer; transactional with an id. A lost leader is retried for five minutes."""
    return AIOKafkaProducer(
        **config.connection,
        enable_idempotence=True,
        acks="all",
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        request_timeout_ms=300_000 if transactional_id is None else 40_000,
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        compression_type=compression,
        linger_ms=0,
    )


def admin(config: EngineConfig) -> AdminClient:
    """An admin client."""
    return AdminClient(**config.connection)


def is_away(error: BaseException) -> bool:
    """Whether an error means only that the brokers do not answer now."""
    if isinstance(error, AssertionError):  # a broker that has just started answers with an empty list of brokers
        return "bootstrap" in str(error)
    return isinstance(error, AWAY) or (isinstance(error, KafkaError) and bool(getattr(error, "retriable", False)))


async def close_producer(client: AIOKafkaProducer, timeout_s: float) -> bool:
    """Stops a producer; after the timeout at once, with all that it has not sent. False if it came to that."""
    try:
        async with asyncio.timeout(timeout_s):
            await client.stop()
            return True
    except asyncio.CancelledError:
        if was_cancelled():
            raise
    except Exception as error:  # its transaction is aborted by timeout or by the next owner, which sends the rest again
        log.debug("stopping a producer: %r", error)
    for close in closing_steps(client):
        try:
            async with asyncio.timeout(0.5):
                await close()
        except asyncio.CancelledError:
            if was_cancelled():
                raise
        except Exception as error:
            log.debug("closing a producer: %r", error)
    return False


def was_cancelled() -> bool:
    """Whether the running task itself was cancelled; to be asked when a CancelledError is caught.

    aiokafka awaits tasks of its own that it has cancelled, for example while it closes a client. So a CancelledError
    can reach a task that nobody cancelled; if it were taken for a cancellation, the task would end silently.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@asynccontextmanager
async def running(client: C) -> AsyncIterator[C]:
    """A client for a short job: started, and stopped whatever happens, also if it started half way.

    Raises Refused if a broker refuses this client, else the KafkaError.
    """
    since = time.monotonic()
    try:
        await client.start()
        yield client
    except KafkaError as error:
        if refused := refused_since(since):
            raise refused from error
        raise
    finally:
        await (client.close if isinstance(client, AdminClient) else client.stop)()


async def committed_offsets(config: EngineConfig, tps: set[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
    """The group's committed next offsets and their metadata, for those partitions that have one."""
    async with running(admin(config)) as client:
        found = await client.list_consumer_group_offsets(config.group, partitions=list(tps))
    if tps - found.keys():
        # aiokafka ignores the error code of the response: a coordinator that is still loading lists no partitions
        raise GroupLoadInProgressError
    return {tp: (o.offset, o.metadata or "") for tp, o in found.items() if o.offset >= 0}


async def until_there(what: str, config: EngineConfig, attempt: Callable[[], Awaitable[T]]) -> T:
    """Runs `attempt`, again with backoff up to 10 s and a warning each time, until the brokers answer.

    Raises Refused, Denied or WorkerError if trying again cannot help: wrong login, missing right, any other error.
    """
    return await until_answered(what, config.connection, attempt)


async def until_answered(what: str, connection: Mapping[str, Any], attempt: Callable[[], Awaitable[T]]) -> T:
    """As `until_there`, for callers that have only the connection's arguments."""
    wait_s = 0.5
    while True:
        since = time.monotonic()
        try:
            return await attempt()
        except (KafkaError, OSError, AssertionError) as error:
            if isinstance(error, AssertionError) and not is_away(error):
                raise
            if refused := refused_since(since):
                raise refused from error
            if isinstance(error, DENIALS):
                raise Denied(what, error) from error
            if not is_away(error):
                raise WorkerError(f"{what}: {said(error)}") from error
            brokers, why = connection.get("bootstrap_servers"), why_away(error, since)
            log.warning("%s: no answer from the brokers %s, trying again in %.1f s: %s", what, brokers, wait_s, why)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 10.0)


async def list_topics(connection: Mapping[str, Any]) -> list[str]:
    """Returns the names of all topics that the user may see. Raises Refused; KafkaError if no broker answers."""
    async with running(AdminClient(**connection)) as client:
        return sorted(await client.list_topics())
