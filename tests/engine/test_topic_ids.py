"""A committed offset names its topic's id: a recreated topic of the same name is a different one (KIP-516)."""

from __future__ import annotations

from uuid import UUID

import pytest
from aiokafka import TopicPartition

from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.sources import Sources

ONE, OTHER = UUID(int=1), UUID(int=2)
TP = TopicPartition("clicks", 3)


@pytest.fixture
def sources(tmp_path):
    topics = Topics("job", "s", None, None, "d")
    return Sources(EngineConfig(None, "print", topics, 4, tmp_path, {}))  # type: ignore[arg-type]


def committed(sources: Sources, row_time_ms: int | None) -> str:
    """What is committed with the offset after ten records."""
    writer = sources.add(TP, 1, 0, "", 10).writer
    batch = writer.batch(9, row_time_ms)
    assert batch.outstanding == 0
    writer.settle()
    return str(sources.offsets()[TP].metadata)


@pytest.mark.rule(16)
@pytest.mark.parametrize("row_time_ms", [None, 1_735_689_600_000])
@pytest.mark.parametrize("id_", [None, ONE])
def test_the_highest_event_time_and_the_topics_id_come_back(sources, row_time_ms, id_):
    if id_ is not None:
        sources.topic_ids["clicks"] = id_
    metadata = committed(sources, row_time_ms)
    assert sources.add(TP, 2, 10, metadata, 10).writer.row_time == row_time_ms
    sources.refuse_recreated(TP, metadata)


@pytest.mark.rule(16)
def test_an_offset_of_another_topic_is_refused(sources):
    sources.topic_ids["clicks"] = ONE
    metadata = committed(sources, 5)
    sources.topic_ids["clicks"] = OTHER
    with pytest.raises(WorkerError, match="topic clicks: it was deleted and made again since it was last read"):
        sources.refuse_recreated(TP, metadata)


@pytest.mark.parametrize("metadata", ["", "x", "5", "-5", "5 ", " ", "somebody else's"])
def test_what_others_have_committed_is_taken(sources, metadata):
    """Kafka's own tool writes no metadata, and versions before wrote the time alone."""
    sources.topic_ids["clicks"] = ONE
    sources.refuse_recreated(TP, metadata)
    sources.add(TP, 1, 5, metadata, 10)


@pytest.mark.rule(16)
def test_an_id_that_changes_while_the_worker_runs_ends_it(sources):
    """At a rebalance, say: with the topic its offsets are gone, and the new one would be read from its start."""
    sources.learn_topic_ids({"clicks": ONE, "shows": ONE})
    sources.learn_topic_ids({"clicks": ONE})
    sources.learn_topic_ids({})
    with pytest.raises(WorkerError, match="topics clicks were deleted and made again while the job ran"):
        sources.learn_topic_ids({"clicks": OTHER, "shows": ONE})
    assert sources.topic_ids["clicks"] == ONE
