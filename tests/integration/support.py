"""Workers as real processes on a real Kafka, input with known truth, and the oracle as judge."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from samplejoin.core.keys import encode_key
from samplejoin.demo.process import free_port
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.core.oracle import Row, join
from tests.support.kafka import consume_all, create_topics, produce

START_MS = 1_700_000_000_000
STREAMS = ("impression", "click", "like")

FUNCTIONS = """
def clean(record):
    return None if record.get("drop") else record
"""

JOB = """
name: {name}
brokers: {brokers}
streams:
  impression: {{role: anchor, topic: {name}-impression, clean: functions:clean, time: ts}}
  click: {{role: label, topic: {name}-click, clean: functions:clean, time: ts}}
  like: {{role: label, topic: {name}-like, clean: functions:clean, time: ts}}
key: [uid, mid]
window: 20s
before: 2s
lateness: 3s
sample:
  pos: impression.pos
  shown: {{from: impression, agg: count}}
  clicks: {{from: click, agg: count}}
  dwell: {{from: click.dwell, agg: sum}}
  likes: {{from: like, agg: count}}
  last_like: {{from: like.ts, agg: max}}
label: clicks > 0
outputs: {{samples: {{topic: {name}-samples, compression: none}}, orphan: {name}-orphan, late: {name}-late}}
partitions: 4
commit_interval: 200ms
late: topic
# a worker that waits for its input, and a slow machine, are silent for a while: that must not make what follows late
idle_after: 10m
"""


class World:
    """A job, its input topics with what was produced to them, and what a right join makes of it."""

    def __init__(self, kafka: Any, name: str, root: Path, *, partitions: int = 4, extra: str = "") -> None:
        self.kafka, self.name, self.root, self.partitions = kafka, name, root, partitions
        (root / "functions.py").write_text(FUNCTIONS)
        self.job_file = root / "job.yaml"
        self.job_file.write_text(JOB.format(name=name, brokers=kafka.bootstrap) + extra)
        self.spec = compile_job(load_job(self.job_file, environ={}), root).spec
        self.rows: list[Row] = []
        self.events = 0
        self._offsets: dict[tuple[str, int], int] = {}
        self._expected: dict[str, bytes] | None = None
        create_topics(kafka.bootstrap, {f"{name}-{s}": partitions for s in STREAMS})

    def send(self, events: Iterable[tuple[str, int, dict[str, Any]]]) -> None:
        """Produces (stream, partition, record)s in their order, and remembers them as rows."""
        self._expected = None
        batches: dict[str, list[Any]] = {}
        for stream, partition, record in events:
            topic = f"{self.name}-{stream}"
            offset = self._offsets.get((topic, partition), 0)
            self._offsets[topic, partition] = offset + 1
            batches.setdefault(topic, []).append((partition, json.dumps(record).encode(), None, None))
            self.events += 1
            if not record.get("drop"):
                key = encode_key([record["uid"], record["mid"]])
                self.rows.append(Row(stream, key, record["ts"], (topic, partition, offset, 0), record))
        for topic, rows in batches.items():
            produce(self.kafka.bootstrap, topic, rows)

    def end(self, after_ms: int = 600_000) -> None:
        """Records that cleaning drops, but whose time closes every window."""
        ts = max(row.time for row in self.rows) + after_ms
        self.send((s, p, {"ts": ts, "drop": 1}) for s in STREAMS for p in range(self.partitions))

    def expected(self) -> dict[str, bytes]:
        """Sample id -> payload, by the oracle."""
        if self._expected is None:
            by_key: dict[bytes, list[Row]] = {}
            for row in self.rows:
                by_key.setdefault(row.key, []).append(row)
            samples = [join(self.spec, rows)[0] for rows in by_key.values()]
            self._expected = {id_: sample[1] for each in samples for id_, sample in each.items()}
        return self._expected

    def samples(self) -> list[tuple[str, bytes]]:
        """(sample id, payload) of all samples so far, as a read_committed reader sees them."""
        try:
            records = consume_all(self.kafka.bootstrap, f"{self.name}-samples")
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:  # the worker has not made it yet
                return []
            raise
        return [((r.headers["sample_id"] or b"").decode(), r.value or b"") for r in records]

    def written(self) -> int:
        """At least as many as there are samples, cheaply: the topic's end offsets, transaction markers included."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "written"})
        try:
            topic = f"{self.name}-samples"
            known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in known)
        except KafkaException:  # the topic is only just being made
            return 0
        finally:
            consumer.close()

    def check(self) -> None:
        """Every sample once, and each as the oracle has it."""
        expected, samples = self.expected(), self.samples()
        got = dict(samples)
        lost = sorted(expected.keys() - got.keys())
        wrong = [id_ for id_ in got if got[id_] != expected.get(id_)]
        assert not lost, f"{len(lost)} of {len(expected)} samples lost, e.g. {expected[lost[0]]!r}"
        assert not wrong, (
            f"{len(wrong)} samples wrong, e.g. {got[wrong[0]]!r} for {expected.get(wrong[0])!r}; late: {self._late()!r}"
        )
        assert len(samples) == len(got), f"{len(samples) - len(got)} samples twice"

    def _late(self) -> list[bytes]:
        """Some of what the join has called late."""
        return [record.value or b"" for record in consume_all(self.kafka.bootstrap, f"{self.name}-late")][:5]

    def wait_until_complete(self, workers: list[Worker], timeout_s: float = 120) -> None:
        """Waits until as many samples are there as the oracle expects; repeats of one count once."""
        expected = len(self.expected())
        wait_for(
            lambda: self.written() >= expected and len({id_ for id_, _ in self.samples()}) >= expected,
            timeout_s,
            lambda: self._say(expected, workers),
            workers,
        )

    def _say(self, expected: int, workers: list[Worker]) -> str:
        logs = "\n".join(w.log_tail() for w in workers)
        got = self.samples()
        ids = {id_ for id_, _ in got}
        missing = [sample for id_, sample in self.expected().items() if id_ not in ids]
        return f"{len(got)} of {expected} samples, missing e.g. {missing[:2]!r}; workers said:\n{logs}"


class Home(Protocol):
    """Where a worker finds its job and keeps its state and log."""

    name: str
    root: Path
    job_file: Path


class Worker:
    """One worker process, with a state directory of its own."""

    command: Sequence[str] = (sys.executable, "-m", "faust", "-A", "samplejoin", "worker", "-l", "info")

    def __init__(self, world: Home, number: int, **environment: str) -> None:
        self.world, self.number = world, number
        self.state = world.root / f"state-{number}"
        self.port = free_port()
        self.log = world.root / f"worker-{number}.log"
        self.environment = environment
        #: what the process does before it becomes a worker
        self.before: Callable[[], None] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        """Starts the process, by the documented command."""
        environment = {
            **os.environ, "SAMPLEJOIN_JOB": str(self.world.job_file), "SAMPLEJOIN_STATE_DIR": str(self.state),
            "SAMPLEJOIN_WEB_PORT": str(self.port), "SAMPLEJOIN_LOG_FORMAT": "text", "PYTHONUNBUFFERED": "1",
            "SAMPLEJOIN_SESSION_TIMEOUT_MS": "6000", "SAMPLEJOIN_TEST_ALLOW_FAILPOINTS": "1", **self.environment,
        }  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=environment, stdout=log, stderr=log, preexec_fn=self.before,
            )  # fmt: skip
        return self

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.running().wait(10)

    def stop(self, timeout_s: float = 10) -> int:
        """SIGTERM; the exit status, which must come within `timeout_s`."""
        self.signal(signal.SIGTERM)
        return self.running().wait(timeout_s)

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.running().send_signal(number)

    def running(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self.process is not None
        return self.process

    def close(self) -> None:
        """Ends the process whatever its state."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Waits for `/readyz`."""
        wait_for(lambda: self.get("/readyz")[0] == 200, timeout_s, self.log_tail, [self])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page; (0, "") while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def log_tail(self, lines: int = 25) -> str:
        """The end of what it has logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def wait_for(
    condition: Callable[[], bool], timeout_s: float, say: Callable[[], str], workers: list[Worker] | None = None
) -> None:
    """Polls until the condition holds; fails with `say()` after the timeout, or when a worker has ended by itself."""
    end = time.monotonic() + timeout_s
    while not condition():
        ended = [w.number for w in workers or () if w.process is not None and w.process.poll() not in (None, -9)]
        if ended or time.monotonic() > end:
            raise AssertionError(f"not reached in {timeout_s} s, workers ended: {ended}. {say()}")
        time.sleep(0.2)


def feed(seed: int, seconds: float, per_second: int, start_s: float = 0.0, users: int = 40) -> list[Any]:
    """Events of a feed as (stream, partition, record): repeats, clicks before impressions, disorder within lateness.

    None is later than the feed's end, so that a feed from there on is in order too: else its first clicks would be
    behind those that were read, and late or not, as it happens.
    """
    r = random.Random(seed)
    events: list[tuple[int, str, dict[str, Any]]] = []
    for i in range(int(seconds * per_second)):
        ts = START_MS + int((start_s + i / per_second) * 1000)
        uid, mid = f"u{r.randrange(users)}", f"m{int(users * 25 * r.random() ** 2)}"
        events.append((ts, "impression", {"uid": uid, "mid": mid, "ts": ts, "pos": r.randrange(30)}))
        if r.random() < 0.3:
            lag = int(r.expovariate(1 / 6000)) - 1500
            at = max(START_MS, ts + lag)
            events.append((at, "click", {"uid": uid, "mid": mid, "ts": at, "dwell": round(r.random() * 9, 3)}))
        if r.random() < 0.1:
            at = ts + r.randrange(18_000)
            events.append((at, "like", {"uid": uid, "mid": mid, "ts": at}))
    end_ms = START_MS + int((start_s + seconds) * 1000)
    events = sorted((e for e in events if e[0] < end_ms), key=lambda e: e[0] + r.randrange(2500))
    return [(stream, r.randrange(4), record) for _, stream, record in events]
