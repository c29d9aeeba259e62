"""The Kafka of a round: one broker or three, with a proxy before each for the worker that is cut off."""

from __future__ import annotations

import random
import time
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient

from samplejoin.demo.process import LOOPBACK, free_port
from tests.support.cluster import KafkaCluster
from tests.support.proxy import Proxy
from tests.support.server import KafkaServer

PROPERTIES: dict[str, object] = {
    "file.delete.delay.ms": 1000,  # topics of past rounds leave the disk at once
    "log.retention.check.interval.ms": 5000,
}


class Brokers:
    """`count` brokers, 1 or 3, on one bootstrap address; another one leads through the proxies."""

    def __init__(self, count: int) -> None:
        self.count = count
        ports = [free_port() for _ in range(count)]
        self._cluster = KafkaCluster(properties=PROPERTIES, proxy_ports=ports) if count > 1 else None
        self.servers = self._cluster.brokers if self._cluster else [
            KafkaServer(properties=PROPERTIES, proxy_port=ports[0])
        ]  # fmt: skip
        self.bootstrap = ",".join(server.bootstrap for server in self.servers)
        self.proxied = ",".join(f"{LOOPBACK}:{port}" for port in ports)
        self.proxies = [
            Proxy(LOOPBACK, port, server.behind_proxy or "") for port, server in zip(ports, self.servers, strict=True)
        ]

    def __enter__(self) -> Self:
        try:
            for proxy in self.proxies:  # at once: their ports are only free now
                proxy.start()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Starts those that are down and waits until they serve."""
        down = [server for server in self.servers if not server.running]
        for server in down:
            server.launch()
        for server in down:
            server.wait_until_serving(90)

    def close(self) -> None:
        """Ends all, data included."""
        for proxy in self.proxies:
            proxy.close()
        for server in self.servers:
            server.close()

    def heal(self) -> None:
        """Whatever was done to them is over."""
        for proxy in self.proxies:
            proxy.heal()
        self.start()

    def one(self, r: random.Random) -> KafkaServer:
        """Some broker that runs."""
        return r.choice([server for server in self.servers if server.running])

    def elect_leaders(self) -> None:
        """Preferred leaders lead again; which ones do not depends on who was away."""
        if self._cluster is not None:
            self._cluster.elect_leaders()

    def forget(self, prefix: str) -> None:
        """Deletes the topics whose names start so."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        names = [name for name in admin.list_topics(timeout=30).topics if name.startswith(prefix)]
        for deleted in admin.delete_topics(names, operation_timeout=30).values() if names else ():
            deleted.result()


def pause(seconds: float) -> None:
    """Lets a fault last. The fault itself is the passing of time: there is nothing to poll."""
    time.sleep(seconds)
