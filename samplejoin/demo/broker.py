"""The demo's Kafka: librdkafka's mock cluster in this process, or a real one by `--brokers`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from samplejoin.demo.errors import DemoError
from samplejoin.errors import RefusedError
from samplejoin.job.field_types import brokers_of

PARTITIONS = 4
"""What the mock cluster gives every topic; it cannot be told otherwise."""
TIMEOUT_S = 5.0
QUIET: dict[str, Any] = {"log_level": 0}


class Broker(Protocol):
    """Where the demo runs. `suffix` is appended to the names of jobs and topics."""

    bootstrap: str
    suffix: str
    what: str
    #: it has no CreateTopics, so a worker must find its topics there
    on_first_use: bool
    guarantee: str

    def create(self, topics: Iterable[str]) -> None:
        """Makes the topics, `PARTITIONS` partitions each. Raises DemoError."""

    def close(self, groups: Iterable[str]) -> None:
        """Leaves nothing behind of the topics made here and of these consumer groups."""


def open_broker(brokers: str | None) -> Broker:
    """The Kafka at `brokers`, or one of the demo's own. Raises DemoError."""
    need_librdkafka("the demo")
    return EmbeddedBroker() if brokers is None else RealBroker(brokers)


def need_librdkafka(what: str) -> None:
    """Raises DemoError where the package that `what` is made with is missing."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        raise DemoError(
            f"{what} needs confluent-kafka ({error}): `pip install confluent-kafka` next to samplejoin, or `make demo` "
            "in a clone"
        ) from None


class EmbeddedBroker:
    """librdkafka's mock cluster: one broker on a loopback port, alive as long as this object.

    It makes topics when they are first asked for, has no CreateTopics, keeps 5 MB per partition and forgets all.
    It takes the requests of a transaction, but readers see aborted records, nobody is fenced, and its commit markers
    have no valid checksum: aiokafka could not read a changelog back. Hence `at_least_once`.
    """

    suffix, on_first_use, guarantee = "", True, "at_least_once"
    what = (
        "inside this process, forgets all at the end (librdkafka's mock cluster). It has no real transactions, so the "
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
        """Asking for a topic makes it."""
        for topic in topics:
            made = self._cluster.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
            if made.error is not None or len(made.partitions) != PARTITIONS:
                raise DemoError(f"the embedded broker did not make topic {topic}: {made.error or made.partitions}")

    def close(self, groups: Iterable[str]) -> None:
        """It ends with the process."""
        self._cluster.flush(1)


class RealBroker:
    """A Kafka that runs already. Each run has topics of its own, which it deletes at the end."""

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
        """Creates them and waits until they can be written."""
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
        """Deletes topics and groups as far as that works; also those that the worker has made of its own."""
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
            except Exception:  # a group that never came to be, a topic that is gone: nothing is left, which is wanted
                continue
