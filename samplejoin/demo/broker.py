"""The demo's Kafka: librdkafka's mock cluster in this process, or a real one with `--brokers`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from samplejoin.demo.errors import DemoError
from samplejoin.errors import RefusedError
from samplejoin.job.field_types import brokers_of

PARTITIONS = 4
"""Partitions of every topic in the mock cluster; this cannot be configured."""
TIMEOUT_S = 5.0
QUIET: dict[str, Any] = {"log_level": 0}


class Broker(Protocol):
    """The Kafka of the demo. `suffix` is appended to the names of jobs and topics."""

    bootstrap: str
    suffix: str
    what: str
    #: it has no CreateTopics, so a worker's topics must exist before it starts
    on_first_use: bool
    guarantee: str

    def create(self, topics: Iterable[str]) -> None:
        """Creates the topics with `PARTITIONS` partitions each. Raises DemoError."""

    def close(self, groups: Iterable[str]) -> None:
        """Removes the topics created here and these consumer groups."""


def open_broker(brokers: str | None) -> Broker:
    """Returns the Kafka at `brokers`, or an embedded one. Raises DemoError."""
    need_librdkafka("the demo")
    return EmbeddedBroker() if brokers is None else RealBroker(brokers)


def need_librdkafka(what: str) -> None:
    """Raises DemoError if confluent-kafka, which `what` needs, is not installed."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        raise DemoError(
            f"{what} needs confluent-kafka ({error}): `pip install confluent-kafka` next to samplejoin, or `make demo` "
            "in a clone"
        ) from None


class EmbeddedBroker:
    """librdkafka's mock cluster: one broker on a loopback port, alive as long as this object.

    It creates topics when they are first requested, has no CreateTopics, keeps 5 MB per partition and nothing on disk.
    It accepts transactions, but readers see aborted records, no producer is fenced, and its commit markers have no
    valid checksum, so that aiokafka could not read a changelog back. Hence `at_least_once`.
    """

    suffix, on_first_use, guarantee = "", True, "at_least_once"
    what = (
        "inside this process, loses all at the end (librdkafka's mock cluster). It has no real transactions, so the "
        "jobs run with `guarantee: at_least_once`; with --brokers, on a Kafka of yours, exactly once"
    )

    def __init__(self) -> None:
        from confluent_kafka import KafkaException, Producer

        self._cluster = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, **QUIET})
        try:
            brokers = self._cluster.list_topics(timeout=TIMEOUT_S).brokers
        except KafkaException as error:
            raise DemoError(f"the embedded broker did not start: {error.args[0].str()}") from None
        host = next(iter(brokers.values()))
        self.bootstrap = f"{host.host}:{host.port}"

    def create(self, topics: Iterable[str]) -> None:
        """Requests the metadata of each topic, which creates it."""
        for topic in topics:
            made = self._cluster.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
            if made.error is not None or len(made.partitions) != PARTITIONS:
                raise DemoError(f"the embedded broker did not make topic {topic}: {made.error or made.partitions}")

    def close(self, groups: Iterable[str]) -> None:
        """Flushes the client. The cluster ends with the process."""
        self._cluster.flush(1)


class RealBroker:
    """A Kafka that runs already. Each run has its own topics and deletes them at the end."""

    on_first_use, guarantee = False, "exactly_once"

    def __init__(self, brokers: str) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            brokers_of(brokers)
        except RefusedError as error:
            raise DemoError(f"--brokers: {error}; {error.hint}") from None
        self.bootstrap, self.what = brokers, f"Kafka at {brokers}; the demo's own topics are deleted at the end"
        self.suffix = f"-demo-{uuid.uuid4().hex[:6]}"
        self._made: list[str] = []
        self._admin = AdminClient({"bootstrap.servers": brokers, **QUIET})
        try:
            self._admin.list_topics(timeout=TIMEOUT_S)
        except KafkaException:
            raise DemoError(
                f"no Kafka answers at {brokers}: check host and port, or leave --brokers out for an embedded broker"
            ) from None

    def create(self, topics: Iterable[str]) -> None:
        """Creates the topics and waits until they can be written to."""
        from confluent_kafka import KafkaException
        from confluent_kafka.cimpl import NewTopic

        wanted = [NewTopic(topic, num_partitions=PARTITIONS) for topic in topics]
        for topic, created in self._admin.create_topics(wanted, operation_timeout=TIMEOUT_S).items():
            try:
                created.result()
            except KafkaException as error:
                raise DemoError(f"topic {topic} cannot be created: {error.args[0].str()}") from None
            self._made.append(topic)

    def close(self, groups: Iterable[str]) -> None:
        """Deletes topics and groups as far as possible, including topics that the worker created."""
        from confluent_kafka import KafkaException

        try:
            there = self._admin.list_topics(timeout=TIMEOUT_S).topics
            own = sorted({*self._made, *(name for name in there if self.suffix in name)})
            asked = [*self._admin.delete_topics(own).values()] if own else []
            asked += self._admin.delete_consumer_groups(list(groups)).values()
        except KafkaException:
            return
        for future in asked:
            try:
                future.result(TIMEOUT_S)
            except Exception:  # the group never existed or the topic is gone: nothing is left to delete
                continue
