"""Commit records: what one commit of a join partition changed, and replaying them up to the changelog's end.

A commit is one or more records, all but the last marked `more`; the last carries the partition's own state. Records
are kept until every key in them has been closed, then trimmed: no time retention, no compaction.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
    """The record values of a commit, each well below the topic's message size.

    Parts are numbered and carry an id of this attempt, so that parts of one that was cut off are told apart.
    """
    parts = [*_puts_in_parts(commit.puts), *_deletes_in_parts(commit.deletes), {}]
    attempt = os.urandom(8)
    last = len(parts) - 1
    for number, part in enumerate(parts):
        body = {"id": attempt, "part": number, "last": number == last, **part}
        if number == last:
            body |= {
                "start": commit.start, "position": commit.position, "state": commit.partition_state,
                "fingerprint": commit.fingerprint, "deadline": commit.deadline,
            }  # fmt: skip
        yield pack_commit(body)


def _puts_in_parts(all_puts: list[tuple[bytes, bytes]]) -> Iterator[dict[str, Any]]:
    puts: list[tuple[bytes, bytes]] = []
    size = 0
    for key, state in all_puts:
        while len(state) > PART_BYTES:  # a state larger than a record: its pieces follow each other
            piece, state = state[:PART_BYTES], state[PART_BYTES:]
            yield {"puts": [*puts, (key, piece)], "cut": True}
            puts, size = [], 0
        puts.append((key, state))
        size += len(key) + len(state)
        if size > PART_BYTES:
            yield {"puts": puts}
            puts, size = [], 0
    if puts:
        yield {"puts": puts}


def _deletes_in_parts(all_deletes: list[bytes]) -> Iterator[dict[str, Any]]:
    deletes: list[bytes] = []
    size = 0
    for key in all_deletes:
        deletes.append(key)
        size += len(key)
        if size > PART_BYTES:
            yield {"deletes": deletes}
            deletes, size = [], 0
    if deletes:
        yield {"deletes": deletes}


def join_parts(values: Iterable[tuple[int, bytes]]) -> Iterable[Commit]:
    """Whole commits from (offset, record value)s in log order; a commit of which a part is missing is not one."""
    parts: list[dict[str, Any]] = []
    first = -1
    for offset, value in values:
        body = unpack_commit(value)
        if body["part"] == 0:
            parts, first = [], offset
        elif len(parts) != body["part"] or parts[-1]["id"] != body["id"]:
            parts = []
            continue
        parts.append(body)
        if body["last"]:
            yield Commit(
                body["start"], body["position"], _puts_of(parts), [k for p in parts for k in p.get("deletes", ())],
                body["state"], body["fingerprint"], body["deadline"], first, offset + 1,
            )  # fmt: skip
            parts = []


def _puts_of(parts: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    puts: list[tuple[bytes, bytes]] = []
    cut = False
    for part in parts:
        for key, state in part.get("puts", ()):
            puts.append((key, puts.pop()[1] + state if cut else state))
            cut = False
        cut = part.get("cut", False)
    return puts


class ChangelogReader:
    """Reads one changelog partition, read_committed, up to the end it had when opened.

    Open it only after the previous owner has been fenced: then the end is final (KIP-447 has the same order).
    """

    def __init__(self, config: EngineConfig, partition: int) -> None:
        self.tp = TopicPartition(config.topics.changelog, partition)
        self._consumer = reader(config)
        self.begin = self.end = 0

    async def __aenter__(self) -> ChangelogReader:
        try:
            await self._consumer.start()
            self._consumer.assign([self.tp])
            self.begin = (await self._consumer.beginning_offsets([self.tp]))[self.tp]
            self.end = (await self._consumer.end_offsets([self.tp]))[self.tp]
        except BaseException:
            await self._consumer.stop()
            raise
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
