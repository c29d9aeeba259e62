"""The test kit: runs a job in memory, with a manual clock, on the code that runs in production.

    from samplejoin.testing import JobTest

    job = JobTest("job.yaml")
    job.send("impression", {"uid": "u1", "item": 7, "ts": 1735689600000})
    job.send("click", {"uid": "u1", "item": 7, "ts": 1735689605000})
    assert job.finish() == [{"uid": "u1", "item": 7, "clicks": 1, "label": 1}]

Records go through the job's own cleaning, the blocks and ticks of the repartition log, the join's state machine, its
table, changelog and commits. Nothing reads the machine's clock or environment, so a test always has the same result.

**Time.** A record arrives at its event time, or now if that is later: `send` moves the clock to its event time, unless
`now=...` or the record's `timestamp_ms` is given. Windows close in `advance` and `finish` only, so the order of records
sent between two calls of `advance` has no effect. Half an hour takes about half a second. A silent stream with
`idle: hold` holds back the clock, as it does in Kafka.

**Dead letters.** `finish` warns (`DeadLettersWarning`) of those that the test has not looked at, because samples do not
show that a function raised. A test that expects some reads `dead_letters` first, or lets pytest ignore the warning.

**Formats.** `finish` and `body` give dicts if the samples are JSON objects, else the bytes that were sent. A job with
`format: csv` can be tested with dicts: `JobTest("job.yaml", {"format": "json"})`.

**What it does not simulate:** Kafka itself (lost brokers, transactions that fail, retention, authorization), several
workers and rebalances, the pace of real time, alignment and back-pressure, the watchdog, the quality gate.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from samplejoin.cleaning import cleaner
from samplejoin.cleaning.encoders import encode
from samplejoin.core.cells import combine
from samplejoin.core.clock import STEP_MS
from samplejoin.core.messages import Entry
from samplejoin.core.user_errors import counted, mistakes
from samplejoin.core.values import Fields, Value
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.sources import SourceBlock, Sources
from samplejoin.formats import json
from samplejoin.job.compile import Input, Job, assume_topics, compile_job
from samplejoin.job.event_times import read_iso
from samplejoin.job.load import Sets, load_job, model_of
from samplejoin.job.units import parse_duration
from samplejoin.testing.memory_partition import Counts, MemoryJoin, config_of
from samplejoin.testing.results import DeadLetter, FinishedSample, Sent, letter_of, record_letter_of, sample_of

__all__ = ["DeadLetter", "DeadLettersWarning", "FinishedSample", "JobTest"]

TICK_MS = STEP_MS
"""The time between ticks, in ms: the longest after which the clock still counts all of it."""
END_OF_TIME_MS = 1 << 50


class DeadLettersWarning(UserWarning):
    """A job under test has made dead letters that the test has not looked at."""


@dataclass(frozen=True)
class _Record:
    """A record of an input topic, as a consumer returns it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes], ...]
    timestamp_type: int = 0


class JobTest:
    """A job that runs in memory. `job` is the path of a job file, its content as a dict, or a compiled job.

    `sets` overrides values as `--set` does. `environ` is used as the environment, and is empty unless given. Functions
    are looked up in `base_dir`, by default the job file's directory. Raises `samplejoin.job.errors.JobError`.
    """

    def __init__(
        self,
        job: Path | str | Mapping[str, object] | Job,
        sets: Sets = (),
        *,
        environ: Mapping[str, str] | None = None,
        base_dir: Path | str | None = None,
        topic_partitions: int = 1,
        now: int | str | None = None,
    ) -> None:
        self.job = job if isinstance(job, Job) else _compiled(job, sets, environ or {}, base_dir)
        model = self.job.model
        #: the worker's counters: `counts["events", "click", "ok"]`, `counts["samples", "positive"]`
        self.counts = Counts()
        self._config = config_of(self.job)
        self._cleaner = cleaner.Cleaner(self.job, start_ms=model.start_ms)
        self._live = now is None
        self._now = read_iso(now) if isinstance(now, str) else now or 0
        emitter = Emitter(self._config, self.counts, defaultdict(lambda: model.partitions))
        self._joins = [MemoryJoin(self._config, number, emitter) for number in range(model.partitions)]
        topics = self.job.spec.topics()
        self._logs: dict[TopicPartition, list[_Record]] = {
            TopicPartition(topic, number): [] for topic in topics for number in range(topic_partitions)
        }
        self._counts_of_topics = dict.fromkeys(topics, topic_partitions)
        self._committed = {tp: OffsetAndMetadata(0, "") for tp in self._logs}
        self._letters: list[DeadLetter] = []
        self._letters_seen = 0
        self._generation = self._fetches = 0
        self._ended = False
        self._assign()

    # ---- what a test does -------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The manual clock, in epoch ms."""
        return self._now

    def send(
        self,
        stream: str,
        record: Value,
        *,
        topic: str | None = None,
        partition: int = 0,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Sends a record to the stream: a dict, which is encoded for the stream's `decode`, or bytes, text or None.

        `topic` is the stream's first unless given; `timestamp_ms` is the Kafka record's timestamp. Raises ValueError
        for a stream, topic or partition that does not exist, and RuntimeError after `finish`.
        """
        if self._ended:
            raise RuntimeError("the input has ended: nothing can be sent after finish()")
        inputs = [each for each in self.job.inputs if each.plan.stream.name == stream]
        if not inputs:
            raise ValueError(f"no stream is called {stream!r}; there are {', '.join(self.job.model.streams)}")
        tp = TopicPartition(topic or inputs[0].plan.stream.topics[0], partition)
        if tp.topic not in inputs[0].plan.stream.topics:
            raise ValueError(f"stream {stream} does not read topic {tp.topic!r}")
        if tp not in self._logs:
            raise ValueError(f"topic {tp.topic} has no partition {partition}: JobTest(..., topic_partitions=...)")
        value = encode(self.job.model.streams[stream], record)
        stamp = self._now if timestamp_ms is None else timestamp_ms
        made = _Record(len(self._logs[tp]), key, value, stamp, tuple((headers or {}).items()))
        if timestamp_ms is None and self._live:
            self._now = max(self._now, _time_of(inputs[0], made))
            made = _Record(made.offset, key, value, self._now, made.headers)
        self._logs[tp].append(made)
        if timestamp_ms is not None:
            self._read()  # while the reader's clock is at this time

    def advance(self, duration: str = "1s") -> None:
        """Lets time pass (`30m` or `1h30m`): every source ticks, which proves that it has no further records.

        A window then closes `lateness` (the largest of its streams) + `idle_after` and a few seconds after its end, as
        it does in Kafka.
        """
        left = parse_duration(duration)
        self._read()
        while left > 0:
            step = min(left, TICK_MS)
            self._now += step
            left -= step
            self._tick()

    def finish(self) -> list[Any]:
        """Ends the input, so that every window closes. Returns the bodies of all samples, sorted by window and key.

        A body is a dict if the sample is a JSON object, else bytes. Warns once of dead letters that the test has not
        looked at (`DeadLettersWarning`).
        """
        self._end()
        unseen = self._all_letters()[self._letters_seen :]
        if unseen:
            self._letters_seen += len(unseen)
            warnings.warn(_unseen_text(unseen), DeadLettersWarning, stacklevel=2)
        return [sample.body for sample in self.samples]

    def _end(self) -> None:
        self._read()
        self._ended = True
        if self.job.spec.clock == "processing":
            self._now += self.job.spec.window_ms + self.job.spec.resolution_ms
        for owned in self._sources.owned.values():
            owned.writer.row_time = END_OF_TIME_MS
        self._tick()
        self.commit(sources=False)

    def commit(self, *, sources: bool = True, joins: bool = True) -> None:
        """Commits what was read (`sources`) and what was joined, samples included (`joins`).

        Otherwise commits happen only in `finish`, for a revision of a sample (`late: correct`), and at `max_in_flight`.
        """
        self._read()
        if sources:
            self._commit_sources()
        if joins:
            for join in self._joins:
                join.commit()

    def crash(self, *, lose_disk: bool = False) -> None:
        """Crashes the worker and restarts it from its last commits; with `lose_disk` from the changelog alone.

        Samples, late rows and orphans that were not committed are gone, and the job makes them again.
        """
        for join in self._joins:
            if lose_disk:
                join.lose_disk()
            join.start()
        self._assign()

    # ---- what a test looks at ---------------------------------------------------------------------------------------

    @property
    def samples(self) -> list[FinishedSample]:
        """The samples finished so far, sorted by window, key and revision."""
        windows = {id_: ms for join in self._joins for id_, ms in join.windows.items()}
        made = [sample_of(sent, windows) for sent in self._sent(self._config.topics.samples)]
        return sorted(made, key=lambda s: (s.window_ms, repr(s.key), s.sample_id, s.revision))

    @property
    def late(self) -> list[Fields]:
        """Rows that came too late for their window, even if the job has no topic for them."""
        return [json.loads(sent.value) for sent in self._sent(self._config.topics.late)]

    @property
    def orphans(self) -> list[Fields]:
        """Label rows that no window held, even if the job has no topic for them."""
        return [json.loads(sent.value) for sent in self._sent(self._config.topics.orphan)]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Records and samples that could not be used. A record that was read again after a crash is in it twice."""
        letters = self._all_letters()
        self._letters_seen = len(letters)
        return letters

    def __repr__(self) -> str:
        dead = self._all_letters()
        first = f", the first one {dead[0].reason} {dead[0].function}: {dead[0].error}" if dead else ""
        return (
            f"<JobTest {self.job.model.name}: {sum(map(len, self._logs.values()))} records, "
            f"{len(self.samples)} samples, {len(self.late)} late, "
            f"{len(self.orphans)} orphans, {len(dead)} dead letters{first}>"
        )

    # ---- the worker -------------------------------------------------------------------------------------------------

    def _sent(self, topic: str | None) -> list[Sent]:
        self._read()
        return [sent for join in self._joins for sent in (*join.committed, *join.outbox) if sent.topic == topic]

    def _all_letters(self) -> list[DeadLetter]:
        samples = [letter_of(sent) for sent in self._sent(self._config.topics.dead_letter)]
        return self._letters + samples

    def _assign(self) -> None:
        """Assigns all sources to a new owner, which starts from the group's commits."""
        self._generation += 1
        self._sources = Sources(self._config)
        self._sources.partitions = self._counts_of_topics
        for tp, (offset, metadata) in self._committed.items():
            self._sources.add(tp, self._generation, offset, metadata, len(self._logs[tp]))

    def _read(self) -> None:
        """Reads, cleans and joins everything in the input topics."""
        for tp, owned in self._sources.owned.items():
            log = self._logs[tp]
            owned.hold_back(log[owned.held_upto + 1 :], len(log) - 1)
            while True:
                block = owned.next_block()
                if block is not None:
                    self._clean(block)
                elif owned.held:
                    self._commit_sources()  # max_in_flight is reached: commit before more is sent
                else:
                    break
        self._step()

    def _clean(self, block: SourceBlock) -> None:
        """Cleans a block as the clean agent does, with every send acknowledged at once."""
        owned, writer = block.owned, block.owned.writer
        cleaned = self._cleaner.clean(owned.tp.topic, owned.tp.partition, block.records, self._now)
        batch = writer.batch(block.upto, cleaned.row_time)
        for target, cells in sorted(cleaned.cells.items()):
            if self._config.combine:
                cells = combine(self.job.spec, cells, writer.uncombined)
            self._append(target, writer.block(target, batch, cells))
        writer.settle()
        for letter in cleaned.dead:
            self._letters.append(record_letter_of(letter))
            self.counts["dead_letters", letter.reason] += 1
        for (stream, outcome), count in cleaned.counts.items():
            self.counts["events", stream, outcome] += count

    def _append(self, partition: int, entry: Entry) -> int:
        """Sends an entry to a join partition. Returns its offset in the log."""
        return self._joins[partition].append(entry, self._now)

    def _step(self) -> None:
        for join in self._joins:
            join.step()

    def _tick(self) -> None:
        """Ticks as the timer does, after two fetches that found nothing, which prove the end of every source."""
        for _ in range(2):
            self._fetches += 1
            self._sources.record_fetches(self)
        for join in self._joins:
            tick, sources = self._sources.tick(join.number)
            offset = self._append(join.number, tick)
            for owned in sources:
                owned.writer.tick_acked(join.number, offset)
        self._step()

    def _commit_sources(self) -> None:
        offsets = self._sources.offsets()
        self._committed.update(offsets)
        self._sources.confirm(offsets)

    # The methods of a consumer that `Sources.record_fetches` calls.

    def last_poll_timestamp(self, _: TopicPartition) -> int:
        """Returns another value after every fetch."""
        return self._fetches

    def highwater(self, tp: TopicPartition) -> int:
        """Returns the end offset of an input topic's partition."""
        return len(self._logs[tp])

    last_stable_offset = highwater


def _unseen_text(letters: list[DeadLetter]) -> str:
    """Returns the warning: the number of letters by reason and function, and the last one's error."""
    counts = Counter(f"{letter.reason} {letter.function}".rstrip() for letter in letters)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return (
        f"{counted(len(letters), 'dead letter')} that the test has not looked at: {kinds}; the last one says "
        f"{letters[-1].error}. All are in `dead_letters`"
    )


def _compiled(
    job: Path | str | Mapping[str, Any], sets: Sets, environ: Mapping[str, str], base_dir: Path | str | None
) -> Job:
    if isinstance(job, Mapping):
        base_dir = Path(base_dir or ".")
        model = model_of(job, base_dir, sets=sets, environ=environ)
    else:
        base_dir = Path(base_dir or Path(job).parent)
        model = load_job(job, sets, environ)
    return compile_job(assume_topics(model), base_dir)


def _time_of(each: Input, record: _Record) -> int:
    """Returns the event time in ms, or -1 if it cannot be read: cleaning reports the error."""
    if each.takes_record_time:
        return -1
    try:
        return cleaner.event_time(each, each.decode(record), record)
    except mistakes():  # a decoder can be the user's code
        return -1
