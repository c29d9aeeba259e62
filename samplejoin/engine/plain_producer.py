"""A producer outside transactions: for blocks and ticks, for dead letters of records, and for the progress topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from samplejoin.engine.clients import close_producer, producer
from samplejoin.engine.config import EngineConfig

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 0.5


class PlainProducer:
    """An idempotent producer. aiokafka's needs a running event loop, so `start` creates it.

    Sending waits while the client's buffer is full, and returns a future of the acknowledgement.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._client: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connects. Raises KafkaError while no broker answers; it can be called again."""
        if self._client is None:
            self._client = producer(self._config)
        await self._client.start()

    @property
    def client(self) -> AIOKafkaProducer:
        """aiokafka's producer. Raises RuntimeError before `start`."""
        if self._client is None:
            raise RuntimeError("the producer has not been started")
        return self._client

    async def send(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[RecordMetadata]:
        """Sends one record; the partition follows from the key if none is given."""
        sent: asyncio.Future[RecordMetadata] = await self.client.send(
            topic, value, key=key, partition=partition, headers=headers
        )
        return sent

    def create_batch(self) -> BatchBuilder:
        """Returns an empty batch for `send_batch`."""
        return self.client.create_batch()

    async def send_batch(self, batch: BatchBuilder, topic: str, partition: int) -> asyncio.Future[RecordMetadata]:
        """Sends a closed batch, after everything that was sent to the partition before."""
        sent: asyncio.Future[RecordMetadata] = await self.client.send_batch(batch, topic, partition=partition)
        return sent

    async def close(self) -> None:
        """Stops the producer; after `CLOSE_TIMEOUT_S` it no longer waits for the brokers."""
        if self._client is not None and not await close_producer(self._client, CLOSE_TIMEOUT_S):
            log.warning("a producer did not stop in time; what it had not sent will be sent by the next owner")
