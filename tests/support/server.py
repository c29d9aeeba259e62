"""A real Kafka broker for tests, in one JVM: started, stopped, killed, frozen, with its data in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from samplejoin.demo.process import LOOPBACK, free_port

MAX_MESSAGE = 16 * 1024 * 1024
CLUSTER_ID = "samplejoin-test-broker"  # reads as 16 bytes in base64, as Kafka wants it

# What a broker needs to be small, alone and quick, and to take events of any age.
PROPERTIES: dict[str, object] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
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
    """This machine lacks something that a broker needs; the message says what to do."""


def jar_dir() -> Path:
    """The cache that `make kafka-jars` fills."""
    if given := os.environ.get("SAMPLEJOIN_KAFKA_JARS"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samplejoin" / "kafka-4.1.0"


def unique(prefix: str) -> str:
    """A name for a topic or group that no other test on the shared broker has."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


class Service:
    """Something that `with` starts and ends; it ends what a failed start has left, too."""

    def start(self) -> Self:
        """Start it, and wait until it serves."""
        raise NotImplementedError

    def close(self) -> None:
        """End it and delete its data."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Node(NamedTuple):
    """A broker's place in its cluster: number, ports, and all controllers (`1@127.0.0.1:20000,...`)."""

    number: int
    port: int
    controller: int
    voters: str

    @classmethod
    def alone(cls) -> Node:
        """The only one."""
        port, controller = free_port(), free_port()
        return cls(1, port, controller, f"1@{LOOPBACK}:{controller}")


class KafkaServer(Service):
    """A KRaft broker and controller in one JVM, on loopback, with its data in a temporary folder.

    `stop()` or `kill()` it, and `start()` brings it back on the same port and data; `close()` ends it for good.
    With `proxy_port` it listens a second time, for clients that reach it through a proxy on that port. `listeners` are
    further ones, name -> protocol (`{"LOGIN": "SASL_SSL"}`), at the addresses in `at`.
    """

    def __init__(
        self,
        *,
        partitions: int = 1,
        properties: Mapping[str, object] | None = None,
        node: Node | None = None,
        proxy_port: int | None = None,
        listeners: Mapping[str, str] | None = None,
        heap: str = "1g",
    ) -> None:
        java = shutil.which("java")
        if java is None:
            raise KafkaUnavailableError("a real Kafka needs Java 17 or later: `java` was not found")
        jars = jar_dir()
        if not any(jars.glob("kafka_2.13-*.jar")):
            raise KafkaUnavailableError(f"no Kafka jars in {jars}: run `make kafka-jars`")

        node = node or Node.alone()
        self.node_id = node.number
        self.bootstrap = f"{LOOPBACK}:{node.port}"
        #: where a proxy finds the listener whose clients are told to come back through it
        self.behind_proxy = f"{LOOPBACK}:{free_port()}" if proxy_port else None
        self.dir = Path(tempfile.mkdtemp(prefix="samplejoin-kafka-"))
        self.log = self.dir / "server.log"
        self._java, self._heap = java, heap
        self._class_path = f"{jars}/*"
        self._config = self.dir / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

        plain, advertised = [f"PLAINTEXT://{self.bootstrap}"], [f"PLAINTEXT://{self.bootstrap}"]
        if proxy_port:
            plain.append(f"PROXIED://{self.behind_proxy}")
            advertised.append(f"PROXIED://{LOOPBACK}:{proxy_port}")
        #: name of a further listener -> its address
        self.at = {name: f"{LOOPBACK}:{free_port()}" for name in listeners or {}}
        also = [f"{name}://{address}" for name, address in self.at.items()]
        protocols = "".join(f",{name}:{protocol}" for name, protocol in (listeners or {}).items())
        settings = PROPERTIES | {
            "listener.security.protocol.map": f"{PROPERTIES['listener.security.protocol.map']}{protocols}",
            "node.id": node.number,
            "listeners": ",".join([*plain, *also, f"CONTROLLER://{LOOPBACK}:{node.controller}"]),
            "advertised.listeners": ",".join([*advertised, *also]),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.quorum.voters": node.voters,
            "log.dirs": self.dir / "data",
            "num.partitions": partitions,
            **(properties or {}),
        }
        self._config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self.dir / "log4j2.properties").write_text(LOG4J)

    # ------------------------------------------------------------------------------------------------------ life

    def start(self, timeout: float = 60.0) -> Self:
        """Start the broker and wait until it serves metadata; the first start formats the data folder."""
        self.launch()
        self.wait_until_serving(timeout)
        return self

    def launch(self) -> None:
        """Start the process and no more: alone among several it serves nothing yet."""
        if self._process is not None:
            raise RuntimeError("the broker is running already")
        if not (self.dir / "data").exists():
            self._format()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                # UseSerialGC: a small heap on few cores needs no collector threads.
                self._command("kafka.Kafka", str(self._config), flags=(f"-Xmx{self._heap}", "-XX:+UseSerialGC")),
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

    @property
    def running(self) -> bool:
        """Whether it was launched and not ended by us."""
        return self._process is not None

    def close(self) -> None:
        """End the broker and delete its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

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

    def wait_until_serving(self, timeout: float = 60.0) -> None:
        """Wait until the launched broker answers. Raises RuntimeError if it ends, or is silent for too long."""
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
