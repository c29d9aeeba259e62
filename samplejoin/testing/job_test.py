"""The test kit: runs a job in memory, with a manual clock, on the code that runs in production.

    from samplejoin.testing import JobTest

    job = JobTest("job.yaml")
    job.send("impression", {"uid": "u1", "item": 7, "ts": 1735689600000})
    job.send("click", {"uid": "u1", "item": 7, "ts": 1735689605000})
    assert job.finish() == [{"uid": "u1", "item": 7, "clicks": 1, "label": 1}]

Records go through the job's own cleaning, the blocks and ticks of the repartition log, the join's state machine, its
table, changelog and commits. Nothing reads the machine's clock or environment, so a test gives the same every time.

**Time.** A record arrives when it happened, or now if that is later: `send` moves the clock to its event time. With
`now=...`, or a `timestamp_ms` of its own, it does not. Windows close in `advance` and `finish` only, so what is sent
between two calls of `advance` has no order. Half an hour takes about half a second. A silent stream with `idle: hold`
holds the clock, as it does in Kafka.

**Dead letters.** `finish` warns (`DeadLettersWarning`) of those that the test has not looked at: a function that raises
shows in no sample. A test that expects some reads `dead_letters` before, or lets pytest ignore the warning.

**Formats.** `finish` and `body` give dicts where the samples are JSON objects, else the bytes as they were sent. With
`format: csv`, `JobTest("job.yaml", {"format": "json"})` tests the job with dicts, its label among them.

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
"""A tick as seldom as the clock still counts all the time between two of them."""
END_OF_TIME_MS = 1 << 50


class DeadLettersWarning(UserWarning):
    """A job under test has made dead letters, and the test has not looked at them."""


@dataclass(frozen=True)
class _Record:
    """A record of an input topic, as the consumer gives it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes], ...]
    timestamp_type: int = 0


class JobTest:
    """A job that runs in memory. `job` is a job file, what stands in one as a dict, or a compiled job.

    `sets` overrides values as `--set` does; `environ` stands for the environment and is empty unless given; functions
    are looked for in `base_dir`, by default where the job file is. Raises `samplejoin.job.errors.JobError`.
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
        #: as the worker's metrics count: `counts["events", "click", "ok"]`, `counts["samples", "positive"]`
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
        """The manual clock: epoch ms."""
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
        """A producer sends a record to the stream: a dict, encoded as the stream decodes it, or bytes, text or None.

        `topic` is the stream's first unless given; `timestamp_ms` is the Kafka record's own time.
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
            self._read()  # while the reader's clock stands where it stands

    def advance(self, duration: str = "1s") -> None:
        """Lets time pass, `30m` or `1h30m`: every source ticks, and proves that nothing more came.

        A window closes that way `lateness` (the largest of its streams') + `idle_after` and a few seconds after its
        end, as it does in Kafka.
        """
        left = parse_duration(duration)
        self._read()
        while left > 0:
            step = min(left, TICK_MS)
            self._now += step
            left -= step
            self._tick()

    def finish(self) -> list[Any]:
        """Ends the input: every window closes. Returns the bodies of all samples, by time of window and key.

        A body is a dict if the sample is a JSON object, else bytes. Warns of dead letters that the test has not looked
        at (`DeadLettersWarning`), once.
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

        Without it only `finish` commits, a revision of a sample (`late: correct`), and what goes past `max_in_flight`.
        """
        self._read()
        if sources:
            self._commit_sources()
        if joins:
            for join in self._joins:
                join.commit()

    def crash(self, *, lose_disk: bool = False) -> None:
        """The worker dies and starts again from its last commits; with `lose_disk` from the changelog alone.

        Samples, late rows and orphans that were not committed were never there: the job makes them again.
        """
        for join in self._joins:
            if lose_disk:
                join.lose_disk()
            join.start()
        self._assign()

    # ---- what a test looks at ---------------------------------------------------------------------------------------

    @property
    def samples(self) -> list[FinishedSample]:
        """The samples finished so far, by time of window, key and revision."""
        windows = {id_: ms for join in self._joins for id_, ms in join.windows.items()}
        made = [sample_of(sent, windows) for sent in self._sent(self._config.topics.samples)]
        return sorted(made, key=lambda s: (s.window_ms, repr(s.key), s.sample_id, s.revision))

    @property
    def late(self) -> list[Fields]:
        """Rows that came too late for their window, whether or not the job names a topic for them."""
        return [json.loads(sent.value) for sent in self._sent(self._config.topics.late)]

    @property
    def orphans(self) -> list[Fields]:
        """Label rows that no window held, whether or not the job names a topic for them."""
        return [json.loads(sent.value) for sent in self._sent(self._config.topics.orphan)]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Records and samples that could not be used. A record read again after a crash is there again."""
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
        """A new owner of all sources, which knows what the group has committed."""
        self._generation += 1
        self._sources = Sources(self._config)
        self._sources.partitions = self._counts_of_topics
        for tp, (offset, metadata) in self._committed.items():
            self._sources.add(tp, self._generation, offset, metadata, len(self._logs[tp]))

    def _read(self) -> None:
        """Everything in the input topics is read, cleaned and joined."""
        for tp, owned in self._sources.owned.items():
            log = self._logs[tp]
            owned.hold_back(log[owned.held_upto + 1 :], len(log) - 1)
            while True:
                block = owned.next_block()
                if block is not None:
                    self._clean(block)
                elif owned.held:
                    self._commit_sources()  # max_in_flight: nothing more may be sent before
                else:
                    break
        self._step()

    def _clean(self, block: SourceBlock) -> None:
        """As the clean agent does it, with every send acknowledged at once."""
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
        """Sends an entry to a join partition; returns its offset in the log."""
        return self._joins[partition].append(entry, self._now)

    def _step(self) -> None:
        for join in self._joins:
            join.step()

    def _tick(self) -> None:
        """The timer's tick; two fetches before it have found nothing, so it proves the end of every source."""
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

    # What `Sources.record_fetches` asks a consumer.

    def last_poll_timestamp(self, _: TopicPartition) -> int:
        """Another one with every fetch."""
        return self._fetches

    def highwater(self, tp: TopicPartition) -> int:
        """The end of an input topic's partition."""
        return len(self._logs[tp])

    last_stable_offset = highwater


def _unseen_text(letters: list[DeadLetter]) -> str:
    """How many by reason and function, and the last one's error."""
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
    """The event time, -1 if it cannot be read: cleaning will say why."""
    if each.takes_record_time:
        return -1
    try:
        return cleaner.event_time(each, each.decode(record), record)
    except mistakes():  # a decoder can be the user's code
        return -1
