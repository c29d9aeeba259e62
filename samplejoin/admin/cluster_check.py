"""Checks the cluster for a job before it runs: settings, replication, state of an earlier run, the group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError

from samplejoin.core.user_errors import counted, said
from samplejoin.core.values import Fields
from samplejoin.engine.clients import TRANSACTION_TIMEOUT_MS, admin, running
from samplejoin.engine.cluster import (
    NO_TRANSACTIONS,
    Member,
    broker_settings,
    group_members,
    is_mock,
    named,
    topic_settings,
)
from samplejoin.engine.config import EditedError, EngineConfig, WorkerError
from samplejoin.engine.offsets import refuse_other_state
from samplejoin.engine.record_size import too_small
from samplejoin.engine.topics import setting_problems

TRANSACTIONS, OFFSETS = "__transaction_state", "__consumer_offsets"


@dataclass
class ClusterFindings:
    """Problems and notes about the cluster."""

    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: key of the job file that was edited after the open keys were written -> message
    edits: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """The brokers' answers. `topics`: name -> (partitions, replicas). Settings that are not visible are left out."""

    brokers: int
    topics: Mapping[str, tuple[int, int]]
    broker: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]
    members: list[Member]
    is_mock: bool = False


async def describe(config: EngineConfig) -> Cluster:
    """Queries the brokers. Changes nothing and fences no producer."""
    async with running(admin(config)) as client:
        described = await client.describe_topics()
        topics = {t["topic"]: _shape(t) for t in described if not t["error_code"]}
        about = await client.describe_cluster()
        return Cluster(
            len(about["brokers"]),
            topics,
            await broker_settings(client),
            await topic_settings(
                client, [name for name in (*config.topics.written, TRANSACTIONS, OFFSETS) if name in topics]
            ),
            await group_members(client, config.group),
            is_mock(about),
        )


async def check_cluster(config: EngineConfig) -> ClusterFindings:
    """Returns all findings. Raises KafkaError if the brokers do not answer."""
    cluster, found = await describe(config), ClusterFindings()
    if config.exactly_once:
        _transactions(cluster, found)
    for name in config.topics.written:
        if name in cluster.topics:
            _own_topic(config, cluster, name, found)
    _replicated(cluster, OFFSETS, "offsets.topic.replication.factor", "the group's offsets", found)
    _group(config, cluster, found)
    if cluster.topics.get(config.topics.changelog, (0, 0))[0] == config.partitions:
        try:
            await refuse_other_state(config)
        except EditedError as error:
            found.edits = dict.fromkeys(error.keys, str(error))
        except WorkerError as error:
            found.wrong.append(str(error))
        except KafkaError as error:  # for example the right Read on it is missing
            found.notes.append(f"cannot tell whether the job was edited after its open keys were made: {said(error)}")
    if cluster.brokers == 1:
        found.notes.append("the cluster has one broker: data that it loses cannot be recovered")
    _unknown(config, cluster, found)
    return found


def _unknown(config: EngineConfig, cluster: Cluster, found: ClusterFindings) -> None:
    """Adds a note about settings that could not be read."""
    topics = [name for name in config.topics.written if name in cluster.topics and name not in cluster.settings]
    unknown = [f"topic{'s' if len(topics) > 1 else ''} {', '.join(topics)}"] if topics else []
    unknown += [] if cluster.broker else ["brokers"]
    if unknown:
        found.notes.append(
            f"settings of {' and of '.join(unknown)} are not known: the brokers do not report them (they do not "
            "support it, or the right DescribeConfigs is missing)"
        )


def _shape(topic: Fields) -> tuple[int, int]:
    return len(topic["partitions"]), min((len(p["replicas"]) for p in topic["partitions"]), default=0)


def _transactions(cluster: Cluster, found: ClusterFindings) -> None:
    if cluster.is_mock:
        found.wrong.append(NO_TRANSACTIONS)
        return
    limit = cluster.broker.get("transaction.max.timeout.ms")
    if limit is not None and int(limit) < TRANSACTION_TIMEOUT_MS:
        found.wrong.append(
            f"brokers allow transactions of {limit} ms (transaction.max.timeout.ms), a commit needs "
            f"{TRANSACTION_TIMEOUT_MS} ms: raise it, or set guarantee: at_least_once"
        )
    _replicated(cluster, TRANSACTIONS, "transaction.state.log.replication.factor", "the transaction log", found)
    isr = cluster.settings.get(TRANSACTIONS, {}).get("min.insync.replicas")
    isr = isr or cluster.broker.get("transaction.state.log.min.isr")
    if isr is not None and int(isr) < 2 and cluster.brokers > 1:
        found.notes.append(
            f"the transaction log has min.insync.replicas={isr} (transaction.state.log.min.isr): commits that Kafka "
            "acknowledged can be lost with one broker"
        )


def _replicated(cluster: Cluster, topic: str, setting: str, what: str, found: ClusterFindings) -> None:
    """Checks an internal topic of Kafka: as it is, or as the brokers would create it."""
    replicas = cluster.topics[topic][1] if topic in cluster.topics else int(cluster.broker.get(setting, 0))
    if cluster.brokers > 1 and replicas == 1:
        found.wrong.append(f"{what} ({topic}) has one replica on {cluster.brokers} brokers: set {setting}=3")
    elif cluster.brokers > 2 and replicas == 2:
        found.notes.append(f"{what} ({topic}) has two replicas on {cluster.brokers} brokers: {setting}=3 is usual")


def _own_topic(config: EngineConfig, cluster: Cluster, name: str, found: ClusterFindings) -> None:
    partitions, replicas = cluster.topics[name]
    settings = cluster.settings.get(name)
    topics = config.topics
    if name in (topics.repartition, topics.changelog) and partitions != config.partitions:
        found.wrong.append(
            f"topic {name} has {counted(partitions, 'partition')}, the job file says {config.partitions}: set it "
            "back, or take the state to a new generation by `samplejoin migrate`"
        )
    if settings is None:
        return
    if name in topics.internal:
        wrong, unsafe = setting_problems(config, name, settings)
        found.wrong += wrong
        found.notes += unsafe
    found.wrong += too_small(config, name, settings)
    _in_sync(cluster, name, replicas, int(settings.get("min.insync.replicas", 1)), found)


def _in_sync(cluster: Cluster, name: str, replicas: int, in_sync: int, found: ClusterFindings) -> None:
    """Checks whether acknowledged records survive the loss of a broker, and whether writes go on without one."""
    if in_sync > replicas:
        found.wrong.append(
            f"topic {name} has {replicas} replicas and min.insync.replicas={in_sync}: Kafka refuses all records for it"
        )
    elif replicas == 1 and cluster.brokers > 1:
        found.notes.append(f"topic {name} has one replica: records that its broker loses cannot be recovered")
    elif in_sync == replicas > 1:
        found.notes.append(
            f"topic {name} has {replicas} replicas and min.insync.replicas={in_sync}: no writes while a broker is down"
        )
    elif in_sync == 1 < replicas:
        found.notes.append(
            f"topic {name} has min.insync.replicas=1: records that Kafka acknowledged can be lost with one broker"
        )


def _group(config: EngineConfig, cluster: Cluster, found: ClusterFindings) -> None:
    ours = [member for member in cluster.members if config.topics.repartition in member.topics]
    others = [member for member in cluster.members if member.topics and member not in ours]
    if others:
        found.wrong.append(
            f"group {config.group} has members of another application, {named(others)}, which read "
            f"{', '.join(sorted(set().union(*(m.topics for m in others))))}: give the job another name"
        )
    if ours:
        found.notes.append(f"workers of the job run: {named(ours)}")
