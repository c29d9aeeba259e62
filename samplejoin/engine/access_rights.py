"""Access rights as the brokers report them: the operations that this client lacks, the error for a denied request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from samplejoin.core.user_errors import said
from samplejoin.engine.aiokafka_private import send_request
from samplejoin.engine.config import WorkerError

DENIALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
#: operation -> its bit number in Kafka's bit field of allowed operations
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8, "DescribeConfigs": 10}
#: the answer of a broker that does not report allowed operations
_NOT_TOLD = -(1 << 31)


class Denied(WorkerError):
    """The brokers deny what a worker must do: a right is missing, or was taken away while it ran."""

    def __init__(self, doing: str, error: BaseException) -> None:
        super().__init__(
            f"{doing}: the brokers deny it ({said(error)}): a right is missing, or was taken away. `samplejoin check "
            "JOB --acls` prints those that a worker needs"
        )


class _Allowed(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY, API_VERSION = 3, 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _AllowedV8(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = 3, 8
    RESPONSE_TYPE = _Allowed
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("auto_create", Boolean),
        ("cluster_operations", Boolean),
        ("topic_operations", Boolean),
    )


class _AskAllowed(Request[_AllowedV8]):  # type: ignore[misc]
    """A metadata request that asks for allowed operations, which the client's own request does not."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._topics, False, False, True)


class OnTopics(NamedTuple):
    """The wanted operations that this client lacks, as far as the brokers report them: topic -> operations.

    `absent` holds the topics that do not exist. Without any right that implies Describe a client does not see a topic:
    it is in `missing` with all operations that are wanted on it, whether it exists or not.
    """

    missing: dict[str, set[str]]
    absent: set[str]


async def missing_on_topics(client: AIOKafkaAdminClient, wanted: dict[str, set[str]]) -> OnTopics:
    """Asks which operations of `wanted` are missing. Create is left out: it means nothing on a topic that exists."""
    response = await send_request(client, _AskAllowed(sorted(wanted)))
    found = OnTopics({}, set())
    for error, name, _, _, allowed in response.topics:
        operations = wanted[name] - {"Create"}
        if error == UnknownTopicOrPartitionError.errno:
            found.absent.add(name)
        elif error == TopicAuthorizationFailedError.errno:
            found.missing[name] = operations
        elif not error and allowed != _NOT_TOLD:
            found.missing[name] = {each for each in operations if not allowed >> OPERATIONS[each] & 1}
    return found
