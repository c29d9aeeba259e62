"""What a worker sends fits Kafka's default `max.message.bytes`, and a topic that takes less is named."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from samplejoin.core.outcomes import DeadSample, Outcomes, Sample, SideRow
from samplejoin.core.spec import Spec
from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.plain_producer import PlainProducer
from samplejoin.engine.record_size import BESIDE_BYTES, LETTER_BYTES, SIDE_BYTES, TooLarge, too_small
from samplejoin.engine.sender import Sender
from samplejoin.job.field_types import MAX_SAMPLE_BYTES
from samplejoin.testing.memory_partition import Counts
from tests.core.strategies import with_options
from tests.engine.test_wire import SPEC

KEY = b'["' + b"k" * 1020 + b'"]'
#: Kafka's default, and what stands before a batch's first record and before that record
MAX_BYTES, FRAMING = 1_048_588, 61 + 40


def config(spec: Spec = SPEC) -> EngineConfig:
    topics = Topics("job", "samples", "late", "orphans", "dead")
    return EngineConfig(spec, "print", topics, 1, Path(), {})


class Sent:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, int]] = []

    def add(self, topic: str, partition: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        size = len(key) + len(value) + sum(len(name) + len(text) + 8 for name, text in headers)
        self.records.append((topic, value, size))


def emitted(out: Outcomes) -> tuple[Sent, Counts]:
    sent, counts = Sent(), Counts()
    emitter = Emitter(config(), counts, defaultdict(lambda: 1))
    emitter.emit(out, sent)  # type: ignore[arg-type]
    for sample in out.samples:
        emitter.sample(sample, sent)  # type: ignore[arg-type]
    return sent, counts


@pytest.mark.rule(4, 5)
@pytest.mark.parametrize("kind", ["late", "orphan"])
@pytest.mark.parametrize("text", ["\x01" * 500_000, "x" * 2_000_000], ids=["control characters", "long"])
def test_a_side_row_that_is_too_large_comes_without_its_fields(kind, text):
    small, large = ({"x": each} for each in ("x" * 900_000, text))
    rows = [SideRow(kind, KEY, "click", 7, 3, ["clicks 000001", 5], fields) for fields in (small, large)]
    sent, counts = emitted(Outcomes(side_rows=rows))
    whole, cut = (json.loads(value) for _, value, _ in sent.records)
    assert (whole["fields"], cut["fields"]) == (small, None)
    assert cut["fields_bytes"] > 1_000_000
    assert {name: value for name, value in cut.items() if not name.startswith("fields")} == {
        name: value for name, value in whole.items() if name != "fields"
    }
    assert counts == {("cut_side_rows", "click"): 1}
    assert all(size + FRAMING <= MAX_BYTES for _, _, size in sent.records)


@pytest.mark.rule(12)
def test_the_largest_sample_and_the_largest_dead_letter_fit():
    noise = random.Random(1).randbytes(MAX_SAMPLE_BYTES)
    streams = tuple(f"stream{n}" * 8 for n in range(16))
    sample = Sample(KEY, "0" * 32, 7, noise, 3, 1 / 3, 1 / 7, True, streams)
    dead = DeadSample(KEY, "0" * 32, 7, "label", "e" * 100_000, "t" * 100_000, {"x": "\x01" * 500_000})
    sent, _ = emitted(Outcomes(samples=[sample], dead=[dead]))
    sizes = {topic: size for topic, _, size in sent.records}
    assert sizes["samples"] <= MAX_SAMPLE_BYTES + BESIDE_BYTES - FRAMING <= MAX_BYTES - FRAMING
    assert sizes["dead"] <= LETTER_BYTES - FRAMING


@pytest.mark.parametrize(
    ("topic", "needed"),
    [("samples", (512 << 10) + BESIDE_BYTES), ("late", SIDE_BYTES + BESIDE_BYTES), ("dead", LETTER_BYTES)],
)
def test_an_output_topic_that_takes_less_is_named(topic, needed):
    job = config(with_options(SPEC, max_sample_bytes=512 << 10))
    assert too_small(job, topic, {"max.message.bytes": str(needed)}) == []
    (said,) = too_small(job, topic, {"max.message.bytes": str(needed - 1)})
    assert said.startswith(f"topic {topic} has max.message.bytes={needed - 1}, ")
    assert f"Set it to {needed} or more" in said
    assert ("limits.sample" in said) == (topic == "samples")
    assert too_small(job, topic, {}) == too_small(job, "job-changelog", {"max.message.bytes": "1"}) == []


def test_a_block_that_its_topic_refuses_ends_the_worker_by_name():
    ended: list[Any] = []
    Sender(PlainProducer(config(SPEC)), "job-repartition", ended.append, 1 << 20)._fail(MessageSizeTooLargeError())
    (error,) = ended
    assert isinstance(error, WorkerError | TooLarge)
    assert "topic job-repartition takes no record as large" in str(error)
