"""The problems and notes that `check` finds in a cluster of several brokers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError, TopicAuthorizationFailedError

from samplejoin.admin import cluster_check
from samplejoin.admin.cluster_check import (
    OFFSETS,
    TRANSACTIONS,
    Cluster,
    ClusterFindings,
    _in_sync,
    _replicated,
    _transactions,
    check_cluster,
)
from samplejoin.core.spec import Spec, Stream
from samplejoin.demo.broker import EmbeddedBroker
from samplejoin.engine import cluster as engine_cluster
from samplejoin.engine.cluster import group_members, refuse_mock
from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.topics import prepare


def cluster(brokers: int = 3, topics: Any = (), broker: Any = (), settings: Any = ()) -> Cluster:
    return Cluster(brokers, dict(topics), dict(broker), dict(settings), [])


@pytest.mark.parametrize(
    ("replicas", "in_sync", "brokers", "wrong", "note"),
    [
        (3, 2, 3, "", ""),
        (1, 1, 1, "", ""),
        (1, 2, 3, "Kafka refuses all records for it", ""),
        (1, 1, 3, "", "records that its broker loses cannot be recovered"),
        (3, 1, 3, "", "acknowledged can be lost"),
        (2, 2, 3, "", "no writes while a broker is down"),
    ],
)
def test_replicas_in_sync(replicas, in_sync, brokers, wrong, note):
    found = ClusterFindings()
    _in_sync(cluster(brokers), "t", replicas, in_sync, found)
    assert wrong in "".join(found.wrong)
    assert note in "".join(found.notes)
    assert (len(found.wrong), len(found.notes)) == (bool(wrong), bool(note))


@pytest.mark.parametrize(
    ("brokers", "there", "setting", "wrong", "note"),
    [
        (3, None, "3", False, False),
        (3, 3, "1", False, False),  # what is there counts, not what would be made
        (3, 1, "3", True, False),
        (3, None, "1", True, False),
        (3, 2, "3", False, True),
        (2, 2, "3", False, False),
        (1, 1, "1", False, False),
        (3, None, None, False, False),  # not known
    ],
)
def test_replicas_of_kafkas_own_topics(brokers, there, setting, wrong, note):
    found = ClusterFindings()
    topics = {OFFSETS: (50, there)} if there else {}
    broker = {"offsets.topic.replication.factor": setting} if setting else {}
    _replicated(cluster(brokers, topics, broker), OFFSETS, "offsets.topic.replication.factor", "offsets", found)
    assert (bool(found.wrong), bool(found.notes)) == (wrong, note)


@pytest.mark.parametrize(
    ("broker", "settings", "wrong", "note"),
    [
        ({"transaction.max.timeout.ms": "900000", "transaction.state.log.min.isr": "2"}, {}, False, False),
        ({"transaction.max.timeout.ms": "14999"}, {}, True, False),
        ({"transaction.max.timeout.ms": "15000"}, {}, False, False),
        ({"transaction.state.log.min.isr": "1"}, {}, False, True),
        ({"transaction.state.log.min.isr": "2"}, {TRANSACTIONS: {"min.insync.replicas": "1"}}, False, True),
    ],
)
def test_transactions(broker, settings, wrong, note):
    found = ClusterFindings()
    _transactions(cluster(3, {TRANSACTIONS: (50, 3)}, broker, settings), found)
    assert (bool(found.wrong), bool(found.notes)) == (wrong, note)


def test_state_that_may_not_be_read_is_a_note(monkeypatch):
    """All else that was found stays."""
    config = EngineConfig(Spec("job", (), (), (), 0), "f", Topics("job", "s", None, None, "d"), 4, Path("state"), {})

    async def look(_: EngineConfig) -> Cluster:
        return cluster(1, {"job-repartition": (6, 1), "job-changelog": (4, 1)})

    async def refuse_other_state(_: EngineConfig) -> None:
        raise TopicAuthorizationFailedError("job-changelog")

    monkeypatch.setattr(cluster_check, "describe", look)
    monkeypatch.setattr(cluster_check, "refuse_other_state", refuse_other_state)
    found = asyncio.run(check_cluster(config))
    assert any("topic job-repartition has 6 partitions" in each for each in found.wrong)
    assert any("open keys were made: TopicAuthorizationFailedError: " in each for each in found.notes)
    assert "the cluster has one broker: data that it loses cannot be recovered" in found.notes


class Moving:
    """A cluster whose group has no coordinator for this many requests, and one that loads for the next."""

    def __init__(self, requests: int) -> None:
        self.requests = requests

    async def describe_consumer_groups(self, groups: list[str]) -> Any:
        self.requests -= 1
        if self.requests >= 0:
            raise GroupCoordinatorNotAvailableError
        if self.requests == -1:
            return [SimpleNamespace(groups=[(GroupLoadInProgressError.errno, groups[0], "", "", "", [])])]
        member = ("id", "samplejoin-here-7", "/127.0.0.1", b"", b"")
        return [SimpleNamespace(groups=[(0, groups[0], "Stable", "", "", [member])])]


def test_a_coordinator_that_moves_is_waited_for():
    (member,) = asyncio.run(group_members(Moving(2), "job"))
    assert str(member) == "samplejoin-here-7 at 127.0.0.1"


def test_a_group_that_never_was_has_no_members(monkeypatch):
    monkeypatch.setattr(engine_cluster, "COORDINATOR_TIMEOUT_S", 0)
    assert asyncio.run(group_members(Moving(1000), "job")) == []


def test_a_broker_without_transactions_is_refused_unless_none_are_wanted(tmp_path):
    """librdkafka's mock: its commit markers would make its partitions unreadable."""
    mock = EmbeddedBroker()
    stream = Stream("show", "anchor", ("shows",))
    mock.create(["shows"])
    config = EngineConfig(
        spec=Spec("job", (stream,), ("uid",), (), window_ms=1000), topics=Topics("job", "samples", None, None, "dead"),
        fingerprint="f", partitions=4, connection={"bootstrap_servers": mock.bootstrap}, state_dir=tmp_path,
    )  # fmt: skip
    said = "this broker has no transactions .*guarantee: at_least_once"
    with pytest.raises(WorkerError, match=said):
        asyncio.run(prepare(config))
    (wrong,) = asyncio.run(check_cluster(config)).wrong
    assert re.match(said, wrong)
    found = asyncio.run(check_cluster(replace(config, exactly_once=False)))
    assert found.wrong == []
    (unknown,) = [note for note in found.notes if "not known" in note]
    assert "they do not support it, or the right DescribeConfigs is missing" in unknown
    asyncio.run(refuse_mock(replace(config, exactly_once=False)))
    mock.close(())
