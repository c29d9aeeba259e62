"""What Kafka alone tells of a job, with or without workers: group, offsets, commits, newest sample, dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import TopicPartition

from samplejoin.core.clock import NEVER
from samplejoin.core.fingerprint import edited
from samplejoin.engine.changelog import Commit
from samplejoin.engine.clients import admin, committed_offsets, running
from samplejoin.engine.cluster import FIRST_COORDINATOR_S, group_members, while_moving
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.offsets import last_commits
from samplejoin.engine.wire import unpack_partition_state
from samplejoin.verify.kafka import TopicReader, partition_list

#: the newest records that are read of each partition of an output topic
TAIL_RECORDS = 200
SAMPLE_TAIL_RECORDS = 20
ERROR_CHARS = 200


@dataclass(frozen=True, slots=True)
class TopicLag:
    """An input topic: `lag` counts the records after the committed offsets."""

    topic: str
    partitions: int
    lag: int


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The newest dead letters, at most `TAIL_RECORDS` of each partition, by reason."""

    by_reason: dict[str, int]
    #: reason -> the newest one in words: source, function, error
    examples: dict[str, str]


@dataclass(frozen=True, slots=True)
class KafkaStatus:
    """A job as its topics and its group show it. Times in epoch ms."""

    members: tuple[str, ...]
    inputs: tuple[TopicLag, ...]
    #: missing topics of the job's inputs
    missing: tuple[str, ...]
    #: entries of the repartition log after the last commits
    join_lag: int
    #: the slowest clock in the last commits; None before it is known
    clock_ms: int | None
    #: Kafka's timestamp of the newest sample; None without one
    last_sample_ms: int | None
    dead: DeadLetters
    #: how the job file differs from the one that made the state, in words; None if it does not
    edited: str | None

    @property
    def lag(self) -> int:
        """Records of all inputs after the committed offsets."""
        return sum(each.lag for each in self.inputs)


async def kafka_status(config: EngineConfig) -> KafkaStatus:
    """Asks the brokers. Raises KafkaError or SamplejoinError if they cannot be asked."""
    reader = TopicReader(config.connection)
    known = await reader.partitions()
    inputs = [topic for topic in sorted(config.spec.topics()) if topic in known]
    tps = [tp for topic in inputs for tp in partition_list(topic, known[topic])]
    async with running(admin(config)) as client:
        members = await group_members(client, config.group)
    committed = await _committed(config, tps)
    begins, ends = await reader.bounds(tps)
    behind = {tp: max(0, ends[tp] - max(begins[tp], committed.get(tp, 0))) for tp in tps}
    commits = await last_commits(config) if config.topics.changelog in known else {}
    return KafkaStatus(
        tuple(sorted(map(str, members))),
        tuple(_lag(topic, behind) for topic in inputs),
        tuple(sorted(set(config.spec.topics()) - known.keys())),
        await _join_lag(config, reader, known, commits),
        _clock_ms(commits.values()),
        await _newest_ms(reader, config.topics.samples, known),
        await _dead_letters(reader, config.topics.dead_letter, known),
        next(filter(None, (edited(commit.fingerprint, config.fingerprint) for commit in commits.values())), None),
    )


async def _committed(config: EngineConfig, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    wanted = set(tps)
    if not wanted:
        return {}
    found = await while_moving(lambda: committed_offsets(config, wanted), FIRST_COORDINATOR_S)
    return {tp: offset for tp, (offset, _) in found.items()}


def _lag(topic: str, behind: dict[TopicPartition, int]) -> TopicLag:
    own = [lag for tp, lag in behind.items() if tp.topic == topic]
    return TopicLag(topic, len(own), sum(own))


async def _join_lag(
    config: EngineConfig, reader: TopicReader, known: dict[str, set[int]], commits: dict[int, Commit]
) -> int:
    topic = config.topics.repartition
    if topic not in known:
        return 0
    _, ends = await reader.bounds(partition_list(topic, known[topic]))
    positions = {number: commit.position for number, commit in commits.items()}
    return sum(max(0, end - positions.get(tp.partition, 0)) for tp, end in ends.items())


def _clock_ms(commits: Iterable[Commit]) -> int | None:
    values = [unpack_partition_state(commit.partition_state).clock.value for commit in commits]
    lowest = min(values, default=NEVER)
    return None if lowest == NEVER else lowest


async def _newest_ms(reader: TopicReader, topic: str, known: dict[str, set[int]]) -> int | None:
    newest = None
    tps = partition_list(topic, known.get(topic, ()))
    begins, ends = await reader.bounds(tps)
    tail = {tp: max(begins[tp], ends[tp] - SAMPLE_TAIL_RECORDS) for tp in tps}
    async for _, records in reader.read(tail, ends):
        for record in records:
            newest = max(newest or 0, record.timestamp)
    return newest


async def _dead_letters(reader: TopicReader, topic: str, known: dict[str, set[int]]) -> DeadLetters:
    counts: Counter[str] = Counter()
    newest: dict[str, tuple[int, str]] = {}
    tps = partition_list(topic, known.get(topic, ()))
    begins, ends = await reader.bounds(tps)
    tail = {tp: max(begins[tp], ends[tp] - TAIL_RECORDS) for tp in tps}
    async for _, records in reader.read(tail, ends):
        for record in records:
            headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
            reason = headers.get("samplejoin.reason", "unknown")
            counts[reason] += 1
            if record.timestamp >= newest.get(reason, (-1, ""))[0]:
                newest[reason] = record.timestamp, _in_words(headers)
    return DeadLetters(dict(counts.most_common()), {reason: words for reason, (_, words) in newest.items()})


def _in_words(headers: dict[str, str]) -> str:
    where = headers.get("samplejoin.source") or headers.get("samplejoin.sample_id", "")
    function, error = headers.get("samplejoin.function", ""), headers.get("samplejoin.error", "")
    return f"{where}, {function}: {error[:ERROR_CHARS]}"
