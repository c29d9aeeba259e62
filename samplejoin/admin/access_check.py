"""Finds the rights that a worker needs and this client lacks, as far as the brokers disclose them. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.admin import NewTopic
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from samplejoin.admin.rights import Right
from samplejoin.engine.access_rights import missing_on_topics
from samplejoin.engine.clients import admin, running
from samplejoin.engine.config import EngineConfig

GROUP, TRANSACTION = 0, 1
#: missing operations that are a note of `check_cluster` and not a problem here
NOTED = {"DescribeConfigs"}


async def missing_rights(config: EngineConfig, rights: Sequence[Right]) -> list[str]:
    """Returns a message per missing right. Omits what a broker does not disclose (for example rights on a cluster)."""
    wanted = {name: set(each.operations) for each in rights if each.kind == "topic" for name in each.names}
    wanted.pop(config.topics.skips, None)  # created by the first `samplejoin skip`, with that command's rights
    async with running(admin(config)) as client:
        try:
            on_topics = await missing_on_topics(client, wanted)
        except IncompatibleBrokerVersion:  # older than 2.3, or the demo's
            return []
        found = [
            f"the right {', '.join(sorted(lacking - NOTED))} on topic {name} is missing"
            for name, lacking in sorted(on_topics.missing.items())
            if lacking - NOTED
        ]
        found += [
            f"topic {name} does not exist and cannot be created: the right Create on it is missing"
            for name in sorted(on_topics.absent)
            if "Create" in wanted[name] and not await _may_make(client, name)
        ]
        return found + await _missing_coordinators(config, client)


async def _may_make(client: object, name: str) -> bool:
    """Returns whether this client may create the topic. The request only validates and creates nothing."""
    response = await client.create_topics([NewTopic(name, 1, 1)], validate_only=True)  # type: ignore[attr-defined]
    return all(code != TopicAuthorizationFailedError.errno for _, code, *_ in response.topic_errors)


async def _missing_coordinators(config: EngineConfig, client: object) -> list[str]:
    """Checks group and transactional id: Kafka tells a client without any right on them no coordinator."""
    asked = [(config.group, GROUP, GroupAuthorizationFailedError, f"Read on group {config.group}")]
    if config.exactly_once:
        id_ = config.transactional_id(0)
        right = f"Write on transactional ids {id_.rpartition('-')[0]}-"
        asked.append((id_, TRANSACTION, TransactionalIdAuthorizationFailed, right))
    found = []
    for name, kind, denial, right in asked:
        try:
            await client.find_coordinator(name, kind)  # type: ignore[attr-defined]
        except denial:
            found.append(f"the right {right} is missing")
        except KafkaError:  # the coordinator may be moving, which says nothing about rights
            continue
    return found
