"""A real Kafka for tests: one broker in one JVM, and what a test needs to fill and read topics.

The helpers use confluent-kafka, which shares no code with the client under test.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # where its type lives

MAX_MESSAGE = 16 * 1024 * 1024
LOOPBACK = "127.0.0.1"
CLUSTER_ID = "samplejoin-test-broker"  # reads as 16 bytes in base64, as Kafka wants it

# What a broker needs to be small, alone and quick, and to take events of any age.
PROPERTIES: dict[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "broker.session.timeout.ms": 2000,  # a start after a kill waits until the dead broker's session is over
    "broker.heartbeat.interval.ms": 200,
    "message.max.bytes": MAX_MESSAGE,
    "replica.fetch.max.bytes": MAX_MESSAGE,
    "log.retention.ms": -1,  # events carry old timestamps
    "log.message.timestamp.after.max.ms": 2**63 - 1,  # and some lie far ahead
    "log.index.size.max.bytes": 1024 * 1024,
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    "num.network.threads": 2,
    "num.io.threads": 4,
}

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class KafkaUnavailableError(Exception):
    """This machine lacks what a broker needs; the message says what to do."""


def jar_dir() -> Path:
    """The cache that `make kafka-jars` fills."""
    if given := os.environ.get("SAMPLEJOIN_KAFKA_JARS"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samplejoin" / "kafka-4.1.0"


def unique(prefix: str) -> str:
    """A name for a topic or group that no other test on the shared broker has."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def free_port() -> int:
    """A free loopback port below the ephemeral range.

    An ephemeral one could be taken by an outgoing connection while the broker is down; worse, a client that
    reconnects to its own ephemeral port connects to itself.
    """
    while True:
        port = random.randrange(18_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


class KafkaServer:
    """A KRaft broker and controller in one JVM, on loopback, with its data in a temporary folder.

    `stop()` or `kill()` it, and `start()` brings it back on the same port and data; `close()` ends it for good.
    """

    def __init__(self, *, partitions: int = 1, properties: Mapping[str, object] | None = None) -> None:
        java = shutil.which("java")
        if java is None:
            raise KafkaUnavailableError("a real Kafka needs Java 17 or later: `java` was not found")
        jars = jar_dir()
        if not any(jars.glob("kafka_2.13-*.jar")):
            raise KafkaUnavailableError(f"no Kafka jars in {jars}: run `make kafka-jars`")

        port, controller = free_port(), free_port()
        self.bootstrap = f"{LOOPBACK}:{port}"
        self.dir = Path(tempfile.mkdtemp(prefix="samplejoin-kafka-"))
        self.log = self.dir / "server.log"
        self._java = java
        self._class_path = f"{jars}/*"
        self._config = self.dir / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

        settings = PROPERTIES | {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "log.dirs": self.dir / "data",
            "num.partitions": partitions,
            **(properties or {}),
        }
        self._config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self.dir / "log4j2.properties").write_text(LOG4J)

    # ------------------------------------------------------------------------------------------------------ life

    def start(self, timeout: float = 60.0) -> Self:
        """Start the broker and wait until it serves metadata; the first start formats the data folder."""
        if self._process is not None:
            raise RuntimeError("the broker is running already")
        if not (self.dir / "data").exists():
            self._format()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                # UseSerialGC: a small heap on few cores needs no collector threads.
                self._command("kafka.Kafka", str(self._config), flags=("-Xmx1g", "-XX:+UseSerialGC")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C reaches the tests first
            )
        # If the tests die in whatever way, this pipe closes, and broker and data go too.
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read _; kill -9 "$0"; rm -rf "$1"', str(self._process.pid), str(self.dir)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_serving(timeout)
        return self

    def stop(self, timeout: float = 30.0) -> None:
        """Shut down in order (SIGTERM); the data stays."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """Die at once (SIGKILL), as a machine does; the data stays."""
        self._end(signal.SIGKILL, 10.0)

    def pause(self) -> None:
        """Freeze (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause()`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the broker and delete its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --------------------------------------------------------------------------------------------------- details

    def _command(self, main: str, *args: str, flags: tuple[str, ...]) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self.dir / 'log4j2.properties'}"
        return [self._java, *flags, log4j, "-cp", self._class_path, main, *args]

    def _format(self) -> None:
        args = ["format", "--cluster-id", CLUSTER_ID, "--config", str(self._config)]
        # This JVM spends its second on class loading; the optimising compiler would only compete for the cores.
        command = self._command("kafka.tools.StorageTool", *args, flags=("-XX:TieredStopAtLevel=1",))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"formatting the broker's storage failed:\n{done.stdout}{done.stderr}")

    def _wait_until_serving(self, timeout: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout
        # Refused connections are what we wait out: log_level 0 keeps librdkafka silent about them.
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100})
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                self._end(signal.SIGKILL, 1.0)
                raise RuntimeError(f"the broker ended with status {code}:\n{self._log_tail()}")
            try:
                if admin.list_topics(timeout=0.5).brokers:
                    return
            except KafkaException:
                continue
        self.kill()
        raise RuntimeError(f"the broker did not answer within {timeout:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the broker is not running")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        self._signal(number)
        assert self._process is not None
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None
            self._disarm()

    def _disarm(self) -> None:
        """End the guard before its pipe closes: it must not delete data that a later `start()` needs."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None


# ---------------------------------------------------------------------------------------------------------- topics


def create_topics(
    bootstrap: str, topics: Mapping[str, int], config: Mapping[str, str] | None = None, *, timeout: float = 30.0
) -> None:
    """Create topics (name to partition count) and wait until every partition has a leader."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [
        NewTopic(name, num_partitions=count, replication_factor=1, config=dict(config or {}))
        for name, count in topics.items()
    ]
    for created in admin.create_topics(wanted, operation_timeout=timeout).values():
        created.result()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=timeout).topics
        if all(
            name in known and sum(p.leader >= 0 for p in known[name].partitions.values()) == count
            for name, count in topics.items()
        ):
            return
        time.sleep(0.02)
    raise TimeoutError(f"topics without leaders after {timeout:.0f} s: {sorted(topics)}")


Row = tuple[int, bytes | None, int | None, bytes | None]
"""What `produce` takes: partition, value, timestamp in milliseconds (None: now), key."""


def produce(
    bootstrap: str,
    topic: str,
    rows: Iterable[Row],
    *,
    commit: bool | None = None,
    compression: str = "none",
    timeout: float = 120.0,
) -> None:
    """Produce rows, in order within each partition, and wait until all are acknowledged.

    `commit`: None sends without a transaction; True and False send all rows in one that is committed or aborted.
    """
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "message.max.bytes": MAX_MESSAGE,
        "compression.type": compression,
        "linger.ms": 20,
    }
    if commit is not None:
        settings["transactional.id"] = unique("produce")
    producer = Producer(settings)
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            errors.append(error)

    if commit is not None:
        producer.init_transactions(timeout)
        producer.begin_transaction()
    for partition, value, timestamp, key in rows:
        if timestamp is not None and timestamp <= 0:
            raise ValueError(f"timestamp {timestamp}: librdkafka takes 0 for 'now' and nothing below")
        message: dict[str, Any] = {"partition": partition, "value": value, "key": key, "timestamp": timestamp or 0}
        while True:
            try:
                producer.produce(topic, on_delivery=delivered, **message)
                break
            except BufferError:  # the local queue is full
                producer.poll(0.1)
    left = producer.flush(timeout)
    if errors or left:
        raise RuntimeError(f"{topic}: {left} records not acknowledged, {len(errors)} failed: {errors[:1]}")
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(timeout)


class Record(NamedTuple):
    """A record read back by `consume_all`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


def consume_all(
    bootstrap: str, topic: str, isolation: str = "read_committed", *, timeout: float = 120.0
) -> list[Record]:
    """All records of a topic up to its end (`read_committed`: its last stable offset), by (partition, offset)."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": unique("consume-all"),  # required by the client; partitions are assigned by hand
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "fetch.message.max.bytes": MAX_MESSAGE,
        }
    )
    records: list[Record] = []
    try:
        metadata = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        unread = set(metadata.partitions)
        # Not OFFSET_BEGINNING but 0: a trimmed log then goes to its start by auto.offset.reset.
        consumer.assign([TopicPartition(topic, partition, 0) for partition in sorted(unread)])
        deadline = time.monotonic() + timeout
        while unread:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}: partitions {sorted(unread)} not read to their end in {timeout:.0f} s")
            for message in consumer.consume(10_000, timeout=0.1):
                error, partition = message.error(), message.partition()
                if error is None:
                    records.append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(partition)
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        dict(message.headers() or ()),
    )
