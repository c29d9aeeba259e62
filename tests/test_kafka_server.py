"""The tests' Kafka itself: it starts, keeps its data, and the helpers see what a reader sees."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.kafka import KafkaServer, KafkaUnavailableError, consume_all, create_topics, produce, unique

pytestmark = pytest.mark.kafka


def values(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[bytes | None]:
    return [record.value for record in consume_all(bootstrap, topic, isolation)]


def test_records_come_back_as_sent(kafka):
    topic = unique("smoke")
    create_topics(kafka.bootstrap, {topic: 2}, {"message.timestamp.type": "CreateTime"})
    rows = [(0, b"a", 1_000, b"k"), (1, b"b", 4_070_908_800_000, None), (0, None, None, b"k"), (0, b"", 1, b"")]
    produce(kafka.bootstrap, topic, rows)
    found = consume_all(kafka.bootstrap, topic)
    assert [(r.partition, r.offset, r.key, r.value) for r in found] == [
        (0, 0, b"k", b"a"),
        (0, 1, b"k", None),
        (0, 2, b"", b""),
        (1, 0, None, b"b"),
    ]
    assert [r.timestamp for r in found if r.offset != 1] == [1_000, 1, 4_070_908_800_000]


def test_aborted_records_are_seen_uncommitted_only(kafka):
    topic = unique("aborted")
    create_topics(kafka.bootstrap, {topic: 1})
    produce(kafka.bootstrap, topic, [(0, b"kept", None, None)], commit=True)
    produce(kafka.bootstrap, topic, [(0, b"dropped", None, None)], commit=False)
    produce(kafka.bootstrap, topic, [(0, b"plain", None, None)])
    assert values(kafka.bootstrap, topic) == [b"kept", b"plain"]
    assert values(kafka.bootstrap, topic, "read_uncommitted") == [b"kept", b"dropped", b"plain"]


def test_large_records_and_empty_topics(kafka):
    topic, empty = unique("large"), unique("empty")
    create_topics(kafka.bootstrap, {topic: 1, empty: 3})
    produce(kafka.bootstrap, topic, [(0, bytes(10_000_000), None, None)])
    assert [len(value or b"") for value in values(kafka.bootstrap, topic)] == [10_000_000]
    assert consume_all(kafka.bootstrap, empty) == []


def test_data_survives_stop_kill_and_pause(own_kafka):
    topic = unique("durable")
    create_topics(own_kafka.bootstrap, {topic: 1})
    produce(own_kafka.bootstrap, topic, [(0, b"1", None, None)])
    own_kafka.stop()
    own_kafka.start()
    produce(own_kafka.bootstrap, topic, [(0, b"2", None, None)])
    own_kafka.kill()
    own_kafka.start()
    own_kafka.pause()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": own_kafka.bootstrap, "log_level": 0}).list_topics(timeout=0.5)
    own_kafka.resume()
    assert values(own_kafka.bootstrap, topic) == [b"1", b"2"]


def test_missing_jars_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMPLEJOIN_KAFKA_JARS", str(tmp_path))
    with pytest.raises(KafkaUnavailableError, match="make kafka-jars"):
        KafkaServer()
