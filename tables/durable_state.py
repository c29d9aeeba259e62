"""A join partition's state at rest: a store that is an exact prefix of the changelog, and can be checked against it.

The owner advances it commit by commit; a recovery or a standby replays the missing commits. Next to the keys it holds
their deadlines in pages, so that a restart need not read every key.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import struct
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from aiokafka.errors import OffsetOutOfRangeError

from samplejoin.engine.changelog import ChangelogReader, Commit
from samplejoin.engine.config import EngineConfig, WorkerError, refuse_edited
from samplejoin.engine.failpoints import reached
from samplejoin.engine.memory_budget import KEY_BYTES
from samplejoin.engine.wire import pack_state, unpack_state
from samplejoin.stores import Store, StoreError

log = logging.getLogger(__name__)

STATE, META, PAGE = b"s", b"m", b"d"
#: 3: large keys are split into leaves. A store of an earlier format is rebuilt from the changelog
STORE_FORMAT = 3
#: rows written to the store at once: the interpreter waits for a batch
BATCH_ROWS = 20_000
#: bytes that may wait in memory for a batch
BATCH_BYTES = 16 << 20
_PAGE = struct.Struct(">qqI")


class StoreMeta(NamedTuple):
    """The metadata of a store. It is saved as a list in this order, so new fields are added only at the end."""

    format: int
    job: str
    fingerprint: str
    #: the state's next offsets in the changelog and in the repartition log
    next_offset: int
    position: int
    #: the partition's own state, packed
    partition_state: bytes
    #: id of the last commit; the first format had only the fields above
    commit_id: bytes | None = None
    #: the oldest changelog offset that holds an open key
    needed: int | None = None
    #: the latest slice at which a key of the last commit is due
    deadline: int = 0
    paged: bool = False
    unproven_from: int | None = None
    swept: int | None = None


class Replica:
    """The stored state of one join partition. Raises WorkerError for state of another, newer or edited job."""

    def __init__(self, config: EngineConfig, partition: int, store: Store) -> None:
        self.config, self.partition, self.store = config, partition, store
        self._begin()

    def _begin(self) -> None:
        """Resets to a state of which nothing is known."""
        #: next offset in the repartition log, and the partition's own state there, packed
        self.position = 0
        self.partition_state: bytes | None = None
        #: next offset in the changelog
        self.next_offset = 0
        #: the changelog offset below which no record holds an open key
        self.needed: int | None = None
        #: where the changelog began when this state was rebuilt from it; None: proven that nothing was missing
        self._unproven_from: int | None = None
        #: the slice up to which every deadline is done; a page can hold such deadlines next to later ones
        self._swept: int | None = None
        #: False: some deadlines are in no page, and a scan of all keys must find them
        self.paged = True
        #: how many rows were replayed from the changelog
        self.replayed = 0
        #: the error of a write that failed
        self._failed: StoreError | None = None
        #: the last commit that is not yet in the store
        self._last: Commit | None = None
        #: (first changelog offset, deadline slice) of commits whose keys may still be open, oldest first
        self._live: deque[tuple[int, int]] = deque()
        #: (latest slice, store key) of the deadline pages
        self._pages: list[tuple[int, bytes]] = []
        #: rows (None: deleted) and pages that wait to be written
        self._rows: dict[bytes, bytes | None] = {}
        self._waiting_bytes = 0
        self._new_pages: list[tuple[bytes, bytes]] = []

    # ---- advancing -----------------------------------------------------------------------------------------------

    def needed_after(self, swept: int | None) -> int | None:
        """Returns the oldest changelog offset that recovery needs after a commit made now; None: that commit's own."""
        if swept is not None:
            while self._live and self._live[0][1] <= swept:
                self._live.popleft()
        return self._live[0][0] if self._live else None

    def store_commit(self, commit: Commit) -> None:
        """Writes a commit that Kafka has to the store."""
        self._advance_to(commit)
        reached("commit-storing")
        self._write(commit, commit.puts, commit.deletes)

    def replay(self, commit: Commit) -> None:
        """Applies a commit of the changelog in memory; `flush` writes it, with those before it, to the store.

        A commit that does not start where the last one ended came from a paused owner, and is left out.
        """
        if commit.start != self.position and self.partition_state is not None:
            log.warning(
                "join partition %d: skipped a commit from position %d, state is at %d",
                self.partition,
                commit.start,
                self.position,
            )
            return
        self._check_fingerprint(commit.fingerprint)
        self._advance_to(commit)
        self._rows.update(commit.puts)
        self._waiting_bytes += sum(map(len, chain.from_iterable(commit.puts)))
        self._rows.update(dict.fromkeys(commit.deletes))
        self._last = commit
        self.replayed += len(commit.puts) + len(commit.deletes)
        self.needed_after(commit.swept)

    def _advance_to(self, commit: Commit) -> None:
        """Advances the position in memory to the end of `commit`, and queues its deadline pages for the next write."""
        for number, (until, page) in enumerate(commit.pages or ()):
            key = PAGE + _PAGE.pack(until, commit.first_offset, number)
            self._new_pages.append((key, page))
            heapq.heappush(self._pages, (until, key))
        self.paged = self.paged and commit.pages is not None
        self._swept = self._swept if commit.swept is None else commit.swept
        self._live.append((commit.first_offset, commit.deadline))
        if commit.pages is None:  # the first format does not say
            self.needed = self._live[0][0]
        else:
            self.needed = commit.first_offset if commit.needed is None else commit.needed
            self._needed_from(self.needed)
        self.position, self.partition_state = commit.position, commit.partition_state
        self.next_offset = commit.next_offset

    def _needed_from(self, offset: int) -> None:
        """Drops commits below `offset`, which hold nothing open; the first entry may stand for several commits."""
        live = self._live
        while len(live) > 1 and live[1][0] <= offset:
            live.popleft()
        if live[0][0] < offset:
            live[0] = (offset, live[0][1])

    def flush(self) -> dict[bytes, bytes | None]:
        """Writes the waiting rows and the position reached, in one batch; returns the rows (None: deleted)."""
        commit = self._last
        if commit is None:
            return {}
        rows, self._rows, self._last, self._waiting_bytes = self._rows, {}, None, 0
        puts = [(key, value) for key, value in rows.items() if value is not None]
        self._write(commit, puts, [key for key, value in rows.items() if value is None])
        return rows

    def _write(self, commit: Commit, puts: list[tuple[bytes, bytes]], deletes: list[bytes]) -> None:
        """Writes one batch: rows, pages, and the commit that they complete."""
        pages, self._new_pages = self._new_pages, []
        deletes = [STATE + key for key in deletes]
        while self._pages and commit.swept is not None and self._pages[0][0] <= commit.swept:
            deletes.append(heapq.heappop(self._pages)[1])
        meta = StoreMeta(
            format=STORE_FORMAT,
            job=self.config.topics.prefix,
            fingerprint=commit.fingerprint,
            next_offset=commit.next_offset,
            position=commit.position,
            partition_state=commit.partition_state,
            commit_id=commit.id,
            needed=self.needed,
            deadline=commit.deadline,
            paged=self.paged,
            unproven_from=self._unproven_from,
            swept=self._swept,
        )
        rows = [(STATE + key, value) for key, value in puts]
        if self._failed is not None:  # that write is missing, so nothing may follow it
            raise self._failed
        try:
            self.store.write([*rows, *pages, (META, pack_state(meta))], deletes)
        except StoreError as error:
            self._failed = error
            raise

    # ---- recovery -----------------------------------------------------------------------------------------------

    async def recover(self, room: int, room_bytes: int) -> dict[bytes, bytes] | None:
        """Brings the store to the changelog's end.

        Returns all open keys with their states if it was rebuilt from nothing and they never were more than `room` keys
        and `room_bytes` bytes, else None.
        """
        while True:
            try:
                return await self._recover(room, room_bytes)
            except OffsetOutOfRangeError:  # its last owner has trimmed the records to be read next
                log.info("join partition %d: the changelog was trimmed, reading it again", self.partition)
                self._begin()

    async def _recover(self, room: int, room_bytes: int) -> dict[bytes, bytes] | None:
        async with ChangelogReader(self.config, self.partition) as changelog:
            at = await self._start(changelog)
            rebuilt = self.partition_state is None
            rows: dict[bytes, bytes] | None = {} if rebuilt else None
            async for commit in changelog.read(at):
                self.replay(commit)
                reached("recovery-read")
                if len(self._rows) >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
                    rows = _applied(rows, self.flush(), room, room_bytes)
                    await asyncio.sleep(0)
            rows = _applied(rows, self.flush(), room, room_bytes)
            if rebuilt and self.partition_state is None and at > 0:
                self._refuse_a_cut(at, "")
            if self._unproven_from is not None and self.needed is not None and self.needed < self._unproven_from:
                self._refuse_a_cut(self._unproven_from, f" from offset {self.needed} on")
            self._unproven_from = None
            self.next_offset = changelog.end
        return rows

    async def follow(self) -> None:
        """Keeps the store near the changelog's end until it is cancelled. A standby does this."""
        async with ChangelogReader(self.config, self.partition) as changelog:
            async for commit in changelog.read(await self._start(changelog), ending=False):
                self.replay(commit)
                self.flush()

    async def _start(self, changelog: ChangelogReader) -> int:
        """Returns the changelog offset to read from. The store is kept if it is a prefix of this changelog."""
        meta = self._meta()
        if meta is not None:
            if await self._is_prefix(meta, changelog):
                self._load(meta)
                return self.next_offset
            log.warning(
                "state of join partition %d stands at changelog offset %d, which is not in [%d, %d] or holds another "
                "commit: rebuilding it",
                self.partition,
                meta.next_offset,
                changelog.begin,
                changelog.end,
            )
            self.store.clear()
        self._unproven_from = changelog.begin
        return changelog.begin

    async def _is_prefix(self, meta: StoreMeta, changelog: ChangelogReader) -> bool:
        if meta.format < STORE_FORMAT:
            return False
        return bool(await changelog.id_at(meta.next_offset - 1) == meta.commit_id)

    def _meta(self) -> StoreMeta | None:
        """Returns the store's metadata; None if it is empty. Raises WorkerError for another job or a newer format."""
        raw = self.store.get(META)
        if raw is None:
            return None
        meta = StoreMeta(*unpack_state(raw))
        where = f"state directory {self.config.state_dir}, join partition {self.partition}"
        if meta.format > STORE_FORMAT:
            raise WorkerError(
                f"{where}: state format {meta.format}, this version reads up to {STORE_FORMAT}: run the version that "
                "wrote it, or delete the directory: it is rebuilt from the changelog"
            )
        if meta.job != self.config.topics.prefix:
            raise WorkerError(f"{where}: holds the state of job {meta.job!r}; give every job a state_dir of its own")
        return meta

    def load(self) -> None:
        """Loads the store's content without comparing it with a changelog."""
        meta = self._meta()
        if meta is not None:
            self._load(meta)

    def _load(self, meta: StoreMeta) -> None:
        self._check_fingerprint(meta.fingerprint)
        self.next_offset, self.position, self.partition_state = meta.next_offset, meta.position, meta.partition_state
        self.needed, self.paged, self._unproven_from, self._swept = (
            meta.needed,
            meta.paged,
            meta.unproven_from,
            meta.swept,
        )
        self._live.append((meta.needed or 0, meta.deadline))
        self._pages = [(_PAGE.unpack(key[len(PAGE) :])[0], key) for key, _ in self.store.scan(PAGE)]
        heapq.heapify(self._pages)

    def _check_fingerprint(self, fingerprint: str) -> None:
        refuse_edited(self.config, self.partition, fingerprint)

    def _refuse_a_cut(self, begin: int, needed: str) -> None:
        """Raises WorkerError: the changelog lacks records with open keys, which a worker never trims.

        Clears the store first, or the next start would accept it.
        """
        self.store.clear()
        raise WorkerError(
            f"topic {self.config.topics.changelog} partition {self.partition} begins at offset {begin}, but keys that "
            f"are still open stood in it{needed}: records were deleted by retention, or by hand. Start where a state "
            "directory of this partition still exists, or start from the beginning by `samplejoin reset`"
        )

    def deadlines(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yields the deadlines in the pages that are still ahead: keys by slice."""
        for _, page in self.store.scan(PAGE):
            for slice_, keys in unpack_state(page):
                if self._swept is None or slice_ > self._swept:
                    yield slice_, keys

    def states(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields every open key with its packed state."""
        for key, state in self.store.scan(STATE):
            yield key[len(STATE) :], state


def _applied(
    rows: dict[bytes, bytes] | None, changed: dict[bytes, bytes | None], room: int, room_bytes: int
) -> dict[bytes, bytes] | None:
    """Returns all rows after a change; None once they exceed, or exceeded, `room` keys or `room_bytes`."""
    if rows is None:
        return None
    for key, state in changed.items():
        if state is None:
            rows.pop(key, None)
        else:
            rows[key] = state
    size = sum(map(len, chain.from_iterable(rows.items())))
    if len(rows) > room or size + KEY_BYTES * len(rows) > room_bytes:
        return None
    return rows
