"""Creates the job's topics with the right settings before the worker subscribes, and checks those that exist."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import InvalidReplicationFactorError, NodeNotReadyError, TopicAlreadyExistsError, for_code

from samplejoin.core.user_errors import counted
from samplejoin.engine.clients import MAX_REQUEST_BYTES, admin, reader, running
from samplejoin.engine.cluster import default_replication, refuse_mock, topic_settings
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.record_size import too_small

log = logging.getLogger(__name__)

INTERNAL = {
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(MAX_REQUEST_BYTES),
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
}
PROGRESS = {**INTERNAL, "retention.ms": "3600000"}
SKIPS = {**INTERNAL, "cleanup.policy": "compact"}
NEEDED = {
    "message.timestamp.type": "the job's clock is the time at which the broker appends",
    "cleanup.policy": "every record counts until the worker itself deletes it",
    "max.message.bytes": "a commit can be as large",
}
"""Settings that the join cannot run without, each with the reason."""
WANTED = {
    "retention.ms": "after an outage of that length records that are still needed are gone",
    "retention.bytes": "records that are still needed may be gone",
    "unclean.leader.election.enable": "a broker that is behind can become leader, and acknowledged records are gone",
}
"""Settings that work until a broker fails."""


async def existing(config: EngineConfig) -> dict[str, int]:
    """Returns all topics of the cluster with their partition counts."""
    async with running(admin(config)) as client:
        described = await client.describe_topics()
    return {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}


async def prepare(config: EngineConfig) -> dict[str, int]:
    """Creates the missing topics and checks the others; returns the input topics' partition counts.

    Raises WorkerError for a broker without transactions, for missing input topics, for state without its repartition
    log, and for internal topics with another partition count or with settings that the join cannot work with.
    """
    await refuse_mock(config)
    known = await existing(config)
    missing = [topic for topic in config.spec.topics() if topic not in known]
    if missing:
        raise WorkerError(
            f"input topics {', '.join(missing)} do not exist on {config.connection.get('bootstrap_servers')}: "
            "create them, give this user the right Read, without which they are not seen, or correct "
            "streams.*.topic in the job file"
        )
    await _refuse_lost_log(config, known)
    await _create(config, [name for name in config.topics.written if name not in known])
    for topic in (config.topics.repartition, config.topics.changelog):
        count = known.get(topic, config.partitions)
        if count != config.partitions:
            raise WorkerError(
                f"topic {topic} has {counted(count, 'partition')}, the job file says partitions: {config.partitions}. "
                f"A running join cannot change its partition count: set it back to {count}, or take its state to a "
                "new generation by `samplejoin migrate`"
            )
    await _check_settings(config, [name for name in config.topics.written if name in known])
    return {topic: known[topic] for topic in config.spec.topics()}


async def output_partitions(config: EngineConfig) -> dict[str, int]:
    """Returns the partition counts of the output topics; a record's partition depends on them."""
    known = await existing(config)
    of = config.output_partitions
    return {name: known.get(name, of.get(name, config.partitions)) for name in config.topics.outputs}


def setting_problems(config: EngineConfig, name: str, settings: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Returns the problems of an internal topic's settings: wrong ones, and unsafe ones."""
    topics = config.topics
    expected = PROGRESS if name == topics.progress else INTERNAL
    needed = NEEDED if name != topics.progress else ["cleanup.policy"]  # no row depends on its records
    wrong = {key: settings[key] for key, value in expected.items() if settings.get(key, value) != value}
    if int(wrong.get("max.message.bytes", 0)) > MAX_REQUEST_BYTES:
        del wrong["max.message.bytes"]
    refused = [
        f"topic {name} has {key}={wrong[key]}, it must be {expected[key]}: {NEEDED[key]}. Set it with kafka-configs.sh"
        for key in needed
        if key in wrong
    ]
    unsafe = [
        f"topic {name} has {key}={wrong[key]}, not {expected[key]}: {why}"
        for key, why in WANTED.items()
        if key in wrong and name != topics.progress
    ]
    return refused, unsafe


async def _check_settings(config: EngineConfig, names: list[str]) -> None:
    async with running(admin(config)) as client:
        found = await topic_settings(client, names)
    refused: list[str] = []
    for name, settings in found.items():
        wrong, unsafe = setting_problems(config, name, settings) if name in config.topics.internal else ([], [])
        unsafe += too_small(config, name, settings)
        refused += wrong
        for each in unsafe:
            log.warning("%s", each)
    if refused:
        raise WorkerError("; ".join(refused))


async def gone(config: EngineConfig, consumer: AIOKafkaConsumer) -> list[str]:
    """Returns the topics of the job that the brokers do not know, or no longer."""
    known = await consumer.topics()
    return [topic for topic in (*config.spec.topics(), *config.topics.written) if topic not in known]


async def _refuse_lost_log(config: EngineConfig, known: Mapping[str, int]) -> None:
    """Raises WorkerError for state whose log is gone: its positions have no meaning in a new log."""
    topics = config.topics
    if topics.repartition in known or topics.changelog not in known:
        return
    async with running(reader(config)) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topics.changelog, p) for p in range(known[topics.changelog])])
    # asked again, because a broker that has just started knows few topics
    if any(ends.values()) and topics.repartition not in await existing(config):
        raise WorkerError(
            f"topic {topics.repartition} does not exist, but topic {topics.changelog} holds state that goes on in it: "
            "it was deleted, or a reset was cut off. Start from the beginning by `samplejoin reset`"
        )


def _new(config: EngineConfig, name: str, replication: int) -> NewTopic:
    topics = config.topics
    if name in (topics.repartition, topics.changelog):
        return NewTopic(name, config.partitions, replication, topic_configs=INTERNAL)
    if name == topics.progress:
        return NewTopic(name, 1, replication, topic_configs=PROGRESS)
    return NewTopic(name, config.output_partitions.get(name, config.partitions), replication)


async def _create(config: EngineConfig, names: list[str]) -> None:
    if not names:
        return
    async with running(admin(config)) as client:
        replication = config.replication_factor or await default_replication(client)
        response = await client.create_topics([_new(config, name, replication) for name in names])
        for name, code, *detail in response.topic_errors:
            error = for_code(code)
            if error is InvalidReplicationFactorError:  # a broker may be restarting, so it is retried
                raise NodeNotReadyError(
                    f"topic {name} is to have {replication} replicas, and there are fewer brokers: start the others, "
                    "or set replication_factor"
                )
            if code and error is not TopicAlreadyExistsError:
                raise WorkerError(f"cannot create topic {name}: {error.__name__} {detail[0] if detail else ''}")
        for _ in range(100):
            described = await client.describe_topics(names)
            if all(not t["error_code"] and t["partitions"] for t in described):
                break
            await asyncio.sleep(0.1)
        log.info("created topics %s", ", ".join(names))
