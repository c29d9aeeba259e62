"""aiokafka has the private names that the engine uses: another version of it may not."""

from __future__ import annotations

import inspect

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.transaction_manager import TransactionManager

from samplejoin.engine import aiokafka_private


async def test_a_consumer_has_the_names() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers="localhost:1")
    assert aiokafka_private.network_client(consumer) is not None
    assert hasattr(consumer, "_fetcher")
    assert hasattr(consumer, "_coordinator")
    source = inspect.getsource(Fetcher.__init__)
    for name in ("_records", "_fetch_min_bytes", "_fetch_max_wait_ms"):
        assert f"self.{name} = " in source, name
    for name in ("request_rejoin", "check_errors"):
        assert callable(getattr(GroupCoordinator, name)), name
    assert "self.generation = " in inspect.getsource(GroupCoordinator.__init__)
    assert aiokafka_private.group_generation(consumer) == -1
    await consumer.stop()


async def test_a_producer_has_the_names() -> None:
    producer = AIOKafkaProducer(bootstrap_servers="localhost:1", transactional_id="id")
    closed = [producer._closed]  # a list: the call below changes what mypy takes for known
    assert len(aiokafka_private.closing_steps(producer)) == 2
    assert [*closed, producer._closed] == [False, True]
    assert "self._transaction_waiter = " in inspect.getsource(TransactionManager.__init__)
    assert aiokafka_private.transaction_error(producer) is None


def test_an_admin_client_has_the_names() -> None:
    assert list(inspect.signature(AIOKafkaAdminClient._send_request).parameters) == ["self", "request", "node_id"]
    assert callable(AIOKafkaAdminClient._send_to_controller)
