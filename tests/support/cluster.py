"""Three Kafka brokers on loopback: what one of them loses, the others have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from confluent_kafka import ElectionType
from confluent_kafka.admin import AdminClient

from samplejoin.demo.process import LOOPBACK, free_port
from tests.support.server import KafkaServer, Node, Service

SIZE = 3
#: replicas of everything, and how many of them must have a record before it is acknowledged
REPLICATED: dict[str, object] = {
    "default.replication.factor": SIZE,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": SIZE,
    "transaction.state.log.replication.factor": SIZE,
    "transaction.state.log.min.isr": 2,
    "replica.lag.time.max.ms": 5000,
    "controller.quorum.election.timeout.ms": 1000,
    "controller.quorum.fetch.timeout.ms": 2000,
    "unclean.leader.election.enable": "false",
}


class KafkaCluster(Service):
    """Brokers that are controllers too. `brokers[i]` may be stopped, killed and started alone; two must be up."""

    def __init__(self, *, properties: Mapping[str, object] | None = None, proxy_ports: list[int] | None = None) -> None:
        ports = [(free_port(), free_port()) for _ in range(SIZE)]
        voters = ",".join(f"{n}@{LOOPBACK}:{controller}" for n, (_, controller) in enumerate(ports, 1))
        self.brokers = [
            KafkaServer(
                node=Node(n, port, controller, voters),
                properties=REPLICATED | dict(properties or {}),
                proxy_port=proxy_ports[n - 1] if proxy_ports else None,
                heap="512m",
            )
            for n, (port, controller) in enumerate(ports, 1)
        ]
        self.bootstrap = ",".join(broker.bootstrap for broker in self.brokers)

    def start(self, timeout: float = 90.0) -> Self:
        """Start those that do not run, and wait until each serves metadata."""
        starting = [broker for broker in self.brokers if not broker.running]
        for broker in starting:
            broker.launch()
        for broker in starting:
            broker.wait_until_serving(timeout)
        return self

    def kill(self) -> None:
        """Kill all that run, one right after the other."""
        for broker in self.brokers:
            if broker.running:
                broker.kill()

    def elect_leaders(self) -> None:
        """Give every partition back to its preferred leader, which changes most leaders after a broker was away."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        admin.elect_leaders(ElectionType.PREFERRED, None).result(30)

    def close(self) -> None:
        """End all and delete their data."""
        for broker in self.brokers:
            broker.close()
