"""Requests of an admin client: settings of topics and brokers, members of a group, deleting groups and topics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    NotCoordinatorForGroupError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest

from samplejoin.engine.aiokafka_private import send_request
from samplejoin.engine.clients import admin, running
from samplejoin.engine.config import EngineConfig, WorkerError

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP_ID_NOT_FOUND = 69
NON_EMPTY_GROUP = 68
NO_TRANSACTIONS = (
    "this broker has no transactions (it is librdkafka's mock, as in `samplejoin broker`): set "
    "guarantee: at_least_once, in the job file or by --set guarantee=at_least_once"
)
#: how long Kafka may take to delete topics
DELETE_TIMEOUT_S = 60.0
#: errors while a group's coordinator moves to another broker, and how long that may last
MOVING = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
COORDINATOR_TIMEOUT_S = 5.0
#: how long brokers that have just started may take to have a coordinator
FIRST_COORDINATOR_S = 30.0


@dataclass(frozen=True)
class Member:
    """A live member of a consumer group, and the topics it has subscribed to."""

    client_id: str
    host: str
    topics: frozenset[str]

    def __str__(self) -> str:
        return f"{self.client_id} at {self.host}"


def is_mock(cluster: Mapping[str, object]) -> bool:
    """Whether an admin client's `describe_cluster` is of librdkafka's mock: `samplejoin broker`, or the demo's.

    The mock accepts the requests of a transaction, but its commit markers have no valid checksum: once one is written,
    no consumer can read that partition.
    """
    return str(cluster["cluster_id"]).startswith("mockCluster")


async def refuse_mock(config: EngineConfig) -> None:
    """Raises WorkerError if the job needs transactions and the broker is a mock, which has none."""
    if config.exactly_once:
        async with running(admin(config)) as client:
            if is_mock(await client.describe_cluster()):
                raise WorkerError(NO_TRANSACTIONS)


async def topic_settings(client: object, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Topic -> its settings. A topic that is not there, or that we may not ask for, is left out."""
    return await _settings(client, [ConfigResource(ConfigResourceType.TOPIC, name) for name in names])


async def broker_settings(client: AIOKafkaAdminClient) -> dict[str, str]:
    """The settings of one broker, all alike in a sound cluster; empty if we may not ask for them."""
    node = (await client.describe_cluster())["brokers"][0]["node_id"]
    found = await _settings(client, [ConfigResource(ConfigResourceType.BROKER, str(node))])
    return next(iter(found.values()), {})


async def default_replication(client: AIOKafkaAdminClient) -> int:
    """What the brokers give a topic that does not say; aiokafka cannot leave it to them."""
    return int((await broker_settings(client)).get("default.replication.factor", 1))


async def _settings(client: AIOKafkaAdminClient, resources: list[Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if not resources:
        return found
    try:
        responses = await client.describe_configs(resources)
    except IncompatibleBrokerVersion as error:  # the demo's broker
        log.debug("settings are not known: %r", error)
        return found
    for response in responses:
        for code, _, _, name, entries in response.resources:
            if code:
                log.debug("settings of %s are not known: %s", name, for_code(code).__name__)
            else:
                found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


async def members_of(config: EngineConfig) -> list[Member]:
    """Returns the live members of the job's group."""
    async with running(admin(config)) as client:
        return await group_members(client, config.group)


async def refuse_members(config: EngineConfig, to: str) -> None:
    """Raises WorkerError if the job's group has live members; `to` ends its message, with what they prevent."""
    members = await members_of(config)
    if members:
        raise WorkerError(f"group {config.group} has live members, {named(members)}: stop all workers of the job {to}")


def named(members: Iterable[Member]) -> str:
    """Returns the members as text, sorted."""
    return ", ".join(sorted(map(str, members)))


async def group_members(client: AIOKafkaAdminClient, group: str) -> list[Member]:
    """Who is in the group now. A worker with an instance id counts until its session timeout, also if it has ended.

    Asks again for up to `COORDINATOR_TIMEOUT_S` while the coordinator moves to another broker or has just started.
    """
    try:
        return await while_moving(lambda: _members(client, group))
    except (IncompatibleBrokerVersion, GroupCoordinatorNotAvailableError):  # the demo's broker; no group ever existed
        return []


async def while_moving(
    attempt: Callable[[], Awaitable[T]], timeout_s: float = COORDINATOR_TIMEOUT_S, pause_s: float = 0.2
) -> T:
    """Runs `attempt` until it finds its group's coordinator; after the timeout raises the last error."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            return await attempt()
        except MOVING:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(pause_s)


async def _members(client: AIOKafkaAdminClient, group: str) -> list[Member]:
    (response,) = await client.describe_consumer_groups([group])
    members = []
    for code, _, _, _, _, found, *_ in response.groups:
        if code and code != GROUP_ID_NOT_FOUND:
            raise for_code(code)(f"describing group {group}")
        members += [Member(client_id, host.lstrip("/"), _topics(data)) for _, client_id, host, data, _ in found]
    return members


def _topics(metadata: bytes) -> frozenset[str]:
    try:
        return frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription)
    except ValueError:  # the group is just being joined, or its members are not consumers
        return frozenset()


async def delete_group(config: EngineConfig) -> bool:
    """Deletes the group with its offsets; returns False if there was none. Raises WorkerError if it has members."""
    async with running(admin(config)) as client:
        node = await client.find_coordinator(config.group)
        response = await send_request(client, DeleteGroupsRequest([config.group]), node)
    ((_, code),) = response.results
    if code == NON_EMPTY_GROUP:
        raise WorkerError(f"group {config.group} has members: stop all workers of the job first")
    if code and code != GROUP_ID_NOT_FOUND:
        raise for_code(code)(f"deleting group {config.group}")
    return not code


async def delete_topics(config: EngineConfig, names: list[str]) -> None:
    """Deletes topics, and returns when they are gone; ignores topics that do not exist. Raises WorkerError."""
    if not names:
        return
    async with running(admin(config)) as client:
        response = await client.delete_topics(names)
        for name, code, *detail in response.topic_error_codes:
            error = for_code(code)
            if code and error is not UnknownTopicOrPartitionError:
                raise WorkerError(
                    f"cannot delete topic {name}: {error.__name__} {detail[0] if detail else ''}".rstrip()
                )
        try:
            async with asyncio.timeout(DELETE_TIMEOUT_S):
                while {t["topic"] for t in await client.describe_topics()} & set(names):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise WorkerError(
                f"topics {', '.join(names)} are still there {DELETE_TIMEOUT_S:.0f} s after Kafka accepted the deletion:"
                " look at the brokers (delete.topic.enable), and repeat the command"
            ) from None
