"""Commit records: what one commit of a join partition changed, and replaying them up to the changelog's end.

A commit is one or more records, all but the last marked `more`; the last carries the partition's own state. Records
are kept until every key in them has been closed, then trimmed: no time retention, no compaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from samplejoin.engine.codec import pack_commit, unpack_commit
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.kafka import reader

PART_BYTES = 3 << 20


@dataclass(slots=True)
class Commit:
    """What a commit changes. Positions are next offsets in the repartition log; `deadline` the slice by which every
    key put here has been looked at again."""

    start: int
    position: int
    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    partition_state: bytes = b""
    fingerprint: str = ""
    deadline: int = 0
    #: where it stands in the changelog: its first offset, and the next one after it
    first_offset: int = -1
    next_offset: int = -1


def parts_of(commit: Commit) -> Iterable[bytes]:
    """The record values of a commit, each well below the topic's message size."""
    puts: list[tuple[bytes, bytes]] = []
    size = 0
    for key, state in commit.puts:
        while len(state) > PART_BYTES:  # a state larger than a record: its pieces follow each other
            piece, state = state[:PART_BYTES], state[PART_BYTES:]
            yield pack_commit({"start": commit.start, "more": True, "puts": [*puts, (key, piece)], "cut": True})
            puts, size = [], 0
        puts.append((key, state))
        size += len(key) + len(state)
        if size > PART_BYTES:
            yield pack_commit({"start": commit.start, "more": True, "puts": puts})
            puts, size = [], 0
    yield pack_commit({
        "start": commit.start, "more": False, "puts": puts, "deletes": commit.deletes, "position": commit.position,
        "state": commit.partition_state, "fingerprint": commit.fingerprint, "deadline": commit.deadline,
    })  # fmt: skip


def join_parts(values: Iterable[tuple[int, bytes]]) -> Iterable[Commit]:
    """Whole commits from (offset, record value)s in log order; a commit cut off at the end is not one."""
    puts: list[tuple[bytes, bytes]] = []
    first, cut = -1, False
    for offset, value in values:
        body = unpack_commit(value)
        if not puts:
            first = offset
        fresh = [(key, state) for key, state in body["puts"]]
        if cut:
            key, piece = puts.pop()
            fresh[0] = (key, piece + fresh[0][1])
        puts += fresh
        cut = body.get("cut", False)
        if body["more"]:
            continue
        yield Commit(
            body["start"], body["position"], puts, body["deletes"], body["state"], body["fingerprint"],
            body["deadline"], first, offset + 1,
        )  # fmt: skip
        puts = []


class ChangelogReader:
    """Reads one changelog partition, read_committed, up to the end it had when opened.

    Open it only after the previous owner has been fenced: then the end is final (KIP-447 has the same order).
    """

    def __init__(self, config: EngineConfig, partition: int) -> None:
        self.tp = TopicPartition(config.topics.changelog, partition)
        self._consumer = reader(config)
        self.begin = self.end = 0

    async def __aenter__(self) -> ChangelogReader:
        await self._consumer.start()
        self._consumer.assign([self.tp])
        self.begin = (await self._consumer.beginning_offsets([self.tp]))[self.tp]
        self.end = (await self._consumer.end_offsets([self.tp]))[self.tp]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self, position: int) -> AsyncIterator[list[Commit]]:
        """Whole commits from offset `position` on, a fetch at a time; done when the position has reached the end."""
        self._consumer.seek(self.tp, position)
        pending: list[tuple[int, bytes]] = []
        while position < self.end:
            records = (await self._consumer.getmany(self.tp, timeout_ms=200)).get(self.tp, [])
            pending += [(r.offset, r.value) for r in records]
            position = await self._consumer.position(self.tp)
            commits = list(join_parts(pending))
            if commits:
                pending = [item for item in pending if item[0] >= commits[-1].next_offset]
                yield commits
