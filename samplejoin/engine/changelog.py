"""Commit records: the state changes of each commit of a join partition, written, read and put together again.

A commit is one or more records, its parts; the last one is marked `last` and carries the partition's own state. Records
are kept until every key in them has been closed, then trimmed: the topic has no time retention and no compaction.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from aiokafka import TopicPartition

from samplejoin.core.values import Fields
from samplejoin.engine.clients import reader
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.record_format import NEWEST
from samplejoin.engine.wire import FormatError, GarbageError, pack_commit, pack_state, unpack_commit

log = logging.getLogger(__name__)

PART_BYTES = 3 << 20
#: format of the keys' states in a commit; 2: large keys are split into leaves
STATE_FORMAT = 2
#: the most commits that wait for their last part; fewer owners than this write at the same time
OPEN_COMMITS = 4


@dataclass(slots=True)
class Commit:
    """The changes of one commit. `start` and `position` are next offsets in the repartition log; `deadline` is the
    slice by which every key put here has been looked at again."""

    start: int
    position: int
    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    partition_state: bytes = b""
    fingerprint: str = ""
    deadline: int = 0
    #: its first offset in the changelog, and the offset after its last record
    first_offset: int = -1
    next_offset: int = -1
    #: deadlines added since the last commit, as pages (latest slice, packed); None: written by a version without pages
    pages: list[tuple[int, bytes]] | None = field(default_factory=list)
    #: the slice up to which all keys have been looked at: pages up to it are done
    swept: int | None = None
    #: the oldest changelog offset that holds a key which is open after this commit; None: this commit's first
    needed: int | None = None
    #: random id of this attempt: a store is a prefix of the changelog if its last commit has the same id there
    id: bytes = b""
    #: bytes of the keys and states in `puts`
    put_bytes: int = 0


def parts_of(commit: Commit, writes: int = NEWEST) -> Iterable[bytes]:
    """Yields the record values of a commit in record format `writes`, each well below the topic's message size.

    Parts are numbered and carry a new id, kept in `commit.id`, which tells them apart from those of a broken attempt.
    """
    pages = [{"until": until, "page": page} for until, page in commit.pages or ()]
    parts = [*_puts_in_parts(commit.puts), *_deletes_in_parts(commit.deletes), *pages, {}]
    commit.id = os.urandom(8)
    last = len(parts) - 1
    for number, part in enumerate(parts):
        body = {"id": commit.id, "part": number, "last": number == last, **part}
        if number == last:
            body |= {
                "start": commit.start,
                "position": commit.position,
                "state": commit.partition_state,
                "fingerprint": commit.fingerprint,
                "deadline": commit.deadline,
                "swept": commit.swept,
                "needed": commit.needed,
                "format": STATE_FORMAT,
            }
        yield pack_commit(body, writes)


def pages_of(deadlines: Iterable[tuple[int, list[bytes]]]) -> list[tuple[int, bytes]]:
    """Packs (slice, keys) pairs, in rising order, into pages that each fit into a record: [(latest slice, packed)]."""
    pages: list[tuple[int, bytes]] = []
    entries: list[tuple[int, list[bytes]]] = []
    size = 0
    for slice_, keys in deadlines:
        together = sum(map(len, keys))
        if size + together <= PART_BYTES:  # nearly always: then no loop over the keys
            entries.append((slice_, keys))
            size += together
            continue
        entries.append((slice_, []))
        for key in keys:
            entries[-1][1].append(key)
            size += len(key)
            if size > PART_BYTES:
                pages.append((slice_, pack_state(entries)))
                entries, size = [(slice_, [])], 0
    if any(keys for _, keys in entries):
        pages.append((entries[-1][0], pack_state(entries)))
    return pages


def _puts_in_parts(all_puts: list[tuple[bytes, bytes]]) -> Iterator[dict[str, object]]:
    if all_puts and sum(map(len, chain.from_iterable(all_puts))) <= PART_BYTES:
        yield {"puts": all_puts}
        return
    puts: list[tuple[bytes, bytes]] = []
    size = 0
    for key, state in all_puts:
        while len(state) > PART_BYTES:  # a state larger than a record: consecutive parts hold its pieces
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


def _deletes_in_parts(all_deletes: list[bytes]) -> Iterator[dict[str, object]]:
    if all_deletes and sum(map(len, all_deletes)) <= PART_BYTES:
        yield {"deletes": all_deletes}
        return
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


class PartJoiner:
    """Puts commits together from their parts, in log order; a commit with a missing part is left out.

    Parts of two commits can alternate: without transactions a paused owner may still write. Records that no worker of
    samplejoin wrote are passed over: they change no state.
    """

    def __init__(self, where: str = "changelog") -> None:
        self._where = where
        #: commit id -> its first offset, and its parts so far
        self._open: dict[bytes, tuple[int, list[Fields]]] = {}
        #: how many records were not written by samplejoin
        self._foreign = 0

    def add(self, offset: int, value: bytes) -> Commit | None:
        """Returns the commit that the record at `offset` completes, or None. Raises FormatError."""
        try:
            body = unpack_commit(value)
        except GarbageError as error:
            self._foreign += 1
            if self._foreign.bit_count() == 1:  # the first, the second, the fourth …
                log.error(
                    "%s offset %d: not a record of this job, passed over (%d so far): %s. Only the job's workers "
                    "may write there: look at who else does, and at the access rights",
                    self._where,
                    offset,
                    self._foreign,
                    error,
                )
            return None
        first, parts = self._open.pop(body["id"], (offset, []))
        if len(parts) != body["part"]:
            return None
        parts.append(body)
        if not body["last"]:
            self._open[body["id"]] = first, parts
            if len(self._open) > OPEN_COMMITS:
                del self._open[next(iter(self._open))]
            return None
        if body.get("format", 1) != STATE_FORMAT:
            raise FormatError(
                f"the changelog holds state of format {body.get('format', 1)}, this version reads {STATE_FORMAT}: run "
                "the version of samplejoin that wrote it, or start over: samplejoin reset"
            )
        return Commit(
            body["start"],
            body["position"],
            _puts_of(parts),
            [k for p in parts for k in p.get("deletes", ())],
            body["state"],
            body["fingerprint"],
            body["deadline"],
            first,
            offset + 1,
            [(p["until"], p["page"]) for p in parts if "page" in p] if "swept" in body else None,
            body.get("swept"),
            body.get("needed"),
            body["id"],
        )


def join_parts(values: Iterable[tuple[int, bytes]]) -> Iterator[Commit]:
    """Yields the whole commits of (offset, record value) pairs in log order."""
    joiner = PartJoiner()
    for offset, value in values:
        commit = joiner.add(offset, value)
        if commit is not None:
            yield commit


def _id_of(value: bytes) -> bytes | None:
    try:
        return bytes(unpack_commit(value)["id"])
    except GarbageError:
        return None


def _puts_of(parts: list[Fields]) -> list[tuple[bytes, bytes]]:
    puts: list[tuple[bytes, bytes]] = []
    cut = False
    for part in parts:
        for key, state in part.get("puts", ()):
            puts.append((key, puts.pop()[1] + state if cut else state))
            cut = False
        cut = part.get("cut", False)
    return puts


class ChangelogReader:
    """Reads one changelog partition, read_committed, up to the end that it had when this reader was opened.

    An owner opens it only after it has fenced its predecessor: then the end is final (KIP-447 has the same order).
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

    async def id_at(self, offset: int) -> bytes | None:
        """Returns the id of the commit that has a record at `offset`; None if none has."""
        if not self.begin <= offset < self.end:
            return None
        self._consumer.seek(self.tp, offset)
        while await self._consumer.position(self.tp) <= offset:
            for record in (await self._consumer.getmany(self.tp, timeout_ms=200, max_records=1)).get(self.tp, ()):
                if record.offset == offset:
                    return _id_of(record.value)
        return None

    async def read(self, position: int, ending: bool = True) -> AsyncIterator[Commit]:
        """Yields whole commits from offset `position` to the end; without `ending` also those appended later.

        Raises FormatError, and OffsetOutOfRangeError if the records at `position` have been trimmed.
        """
        self._consumer.seek(self.tp, position)
        joiner = PartJoiner(f"topic {self.tp.topic} partition {self.tp.partition}")
        while position < self.end or not ending:
            for record in (await self._consumer.getmany(self.tp, timeout_ms=200)).get(self.tp, ()):
                commit = joiner.add(record.offset, record.value)
                if commit is not None:
                    yield commit
            position = await self._consumer.position(self.tp)
