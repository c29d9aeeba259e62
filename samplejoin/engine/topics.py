"""The job's topics: created with the right settings before the worker subscribes, or checked."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.kafka import MAX_REQUEST_BYTES, admin

log = logging.getLogger(__name__)

INTERNAL = {
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(MAX_REQUEST_BYTES),
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
}
CONTROL = {**INTERNAL, "retention.ms": "3600000"}


async def existing(config: EngineConfig) -> dict[str, int]:
    """All topics of the cluster with their partition counts."""
    client = admin(config)
    await client.start()
    try:
        described = await client.describe_topics()
    finally:
        await client.close()
    return {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}


async def prepare(config: EngineConfig) -> dict[str, int]:
    """Creates what is missing and checks the rest; returns the input topics' partition counts.

    Raises WorkerError for missing input topics and for internal topics with another partition count.
    """
    known = await existing(config)
    missing = [topic for topic in config.spec.topics() if topic not in known]
    if missing:
        raise WorkerError(
            f"input topics {', '.join(missing)} do not exist on {config.connection.get('bootstrap_servers')}: "
            "create them, or correct streams.*.topic in the job file"
        )
    await _create(config, [name for name in _names(config) if name not in known])
    for topic in (config.topics.repartition, config.topics.changelog):
        count = known.get(topic, config.partitions)
        if count != config.partitions:
            raise WorkerError(
                f"topic {topic} has {count} partitions, the job file says partitions: {config.partitions}. A running "
                f"join cannot change its partition count: set it back to {count}, or start the job under a new name"
            )
    return {topic: known[topic] for topic in config.spec.topics()}


async def output_partitions(config: EngineConfig) -> dict[str, int]:
    """The partition counts of the output topics as they are: a record's partition depends on them."""
    known = await existing(config)
    topics = config.topics
    names = [name for name in (topics.samples, topics.late, topics.orphan, topics.dead_letter) if name]
    return {name: known.get(name, config.output_partitions.get(name, config.partitions)) for name in names}


def _names(config: EngineConfig) -> list[str]:
    topics = config.topics
    outputs = [name for name in (topics.late, topics.orphan) if name]
    return [topics.repartition, topics.changelog, topics.control, topics.samples, topics.dead_letter, *outputs]


def _new(config: EngineConfig, name: str, replication: int) -> NewTopic:
    topics = config.topics
    if name in (topics.repartition, topics.changelog):
        return NewTopic(name, config.partitions, replication, topic_configs=INTERNAL)
    if name == topics.control:
        return NewTopic(name, 1, replication, topic_configs=CONTROL)
    return NewTopic(name, config.output_partitions.get(name, config.partitions), replication)


async def _create(config: EngineConfig, names: list[str]) -> None:
    if not names:
        return
    client = admin(config)
    await client.start()
    try:
        replication = config.replication_factor or await _default_replication(client)
        response = await client.create_topics([_new(config, name, replication) for name in names])
        for name, code, *detail in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise WorkerError(f"cannot create topic {name}: {error.__name__} {detail[0] if detail else ''}")
        for _ in range(100):
            described = await client.describe_topics(names)
            if all(not t["error_code"] and t["partitions"] for t in described):
                break
            await asyncio.sleep(0.1)
        log.info("created topics %s", ", ".join(names))
    finally:
        await client.close()


async def _default_replication(client: Any) -> int:
    """What the brokers give a topic that does not say; aiokafka cannot leave it to them."""
    node = (await client.describe_cluster())["brokers"][0]["node_id"]
    resource = ConfigResource(ConfigResourceType.BROKER, str(node), {"default.replication.factor": None})
    for response in await client.describe_configs([resource]):
        for _, _, _, _, entries in response.resources:
            for entry in entries:
                if entry[0] == "default.replication.factor":
                    return int(entry[1])
    return 1
