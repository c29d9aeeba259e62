"""Bare records are what the group's consumer reads, and no other consumer; and in bounded memory, whatever they expand
to."""

from __future__ import annotations

import os
import struct
import tracemalloc

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from samplejoin.core.refused_record import RefusedRecord
from samplejoin.engine.clients import group_consumer
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.fetched_records import CHUNK_RECORDS, FETCHED_BYTES, Reading
from samplejoin.engine.record_batches import HEADER_BYTES

TP = TopicPartition("clicks", 0)
LIMIT = 1 << 20


def raw_snappy(data):
    return bytes(snappy_encode(data, xerial_compatible=False))


CODECS = {
    "none": (0, bytes), "gzip": (1, gzip_encode), "snappy": (2, snappy_encode), "snappy-raw": (2, raw_snappy),
    "lz4": (3, lz4_encode), "zstd": (4, zstd_encode),
}  # fmt: skip


def batch_of(*values, base=0):
    """One batch without compression, as bytes."""
    batch = BatchBuilder(1 << 40, 0)
    for number, value in enumerate(values):
        batch.append(timestamp=1000 + number, key=b"k%d" % number, value=value, headers=[("name", b"x")])
    batch.close()
    return struct.pack(">q", base) + bytes(batch._build())[8:]


def compressed(raw, name):
    """The same batch with its records compressed, and a checksum that is right again."""
    number, encode = CODECS[name]
    raw = bytearray(raw[:HEADER_BYTES]) + encode(raw[HEADER_BYTES:])
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    struct.pack_into(">h", raw, 21, number)
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


class _Assignment:
    """A partition that is assigned, and where its reading has come to."""

    active, paused = True, False

    def __init__(self, position):
        self.position = position

    def state_value(self, _):
        return self

    def consumed_to(self, position):
        self.position = position


def result_of(raw, reading, at=0):
    """What a fetch that was answered by these batches waits as, and its position."""
    position = _Assignment(at)
    records = fetcher.PartitionRecords(
        TP, fetcher.MemoryRecords(raw), [], at, None, reading, True, fetcher.READ_COMMITTED
    )
    return fetcher.FetchResult(TP, partition_records=records, assignment=position, backoff=0.1), position


def read(raw, reading=None, at=0, most=4000):
    """All records, as the group's consumer gets them: call by call."""
    reading = reading or Reading(LIMIT)
    result, position = result_of(raw, reading, at)
    calls = []
    while result.has_more():
        reading.begin([TP])
        calls.append(result.getall(most))
    return [record for taken in calls for record in taken], position.position, calls


def told(records):
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, list(r.headers)) for r in records]


def test_bare_records_say_the_same():
    """All that cleaning and joining look at; without the object that costs more than the parsing."""
    raw = batch_of(b"v", b"w")
    plain = list(
        fetcher.PartitionRecords(TP, fetcher.MemoryRecords(raw), [], 0, None, None, True, fetcher.READ_COMMITTED)
    )
    short, _, _ = read(raw)
    assert all(isinstance(r, ConsumerRecord) for r in plain)
    assert not any(isinstance(r, ConsumerRecord) for r in short)
    assert told(short) == told(plain)


@pytest.mark.rule(7)
@pytest.mark.parametrize("most", [1, 7, CHUNK_RECORDS - 1, CHUNK_RECORDS, CHUNK_RECORDS + 1, 4000])
def test_the_position_follows_what_was_taken(most):
    """Whatever part of a chunk a call takes, and from the middle of a batch too; never more than was asked for."""
    count = 2 * CHUNK_RECORDS + 50
    raw = batch_of(*[b"v"] * count) + batch_of(b"w", base=count)
    for at in (0, 70, CHUNK_RECORDS + 20):
        result, position = result_of(raw, Reading(LIMIT), at)
        offsets = []
        while result.has_more():
            taken = result.getall(most)
            assert len(taken) <= most
            offsets += [record.offset for record in taken]
            assert position.position == (offsets[-1] + 1 if offsets else at)
        assert offsets == list(range(at, count + 1))


@pytest.mark.rule(7)
def test_what_was_taken_in_part_and_dropped_is_fetched_again_from_there():
    """A rebalance between two calls: the rest of the chunk is not lost."""
    raw = batch_of(*[b"v"] * CHUNK_RECORDS)
    result, position = result_of(raw, Reading(LIMIT))
    first = [record.offset for record in result.getall(10)]
    again, _, _ = read(raw, at=position.position)
    assert first + [record.offset for record in again] == list(range(CHUNK_RECORDS))


async def test_the_group_reads_bare_records(tmp_path):
    config = EngineConfig(None, "print", Topics("job", "s", None, None, "d"), 4, tmp_path, {})  # type: ignore[arg-type]
    reading = Reading()
    consumer = group_consumer(config, None, reading)
    assert consumer._value_deserializer is reading
    await consumer.stop()
    other = AIOKafkaConsumer()
    assert other._value_deserializer is None
    await other.stop()


# ---- bounded memory -----------------------------------------------------------------------------------------------


@pytest.mark.rule(7)
@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_expands_far_is_read_in_parts(codec):
    """Twenty megabytes of records in a batch: each comes once, in order, and never more than a part is expanded."""
    values = [bytes([n % 251]) * 100_000 for n in range(150)] + [os.urandom(3)] * 50
    raw = batch_of(*values) + batch_of(b"after", base=len(values))
    first, rest = raw[: -len(batch_of(b"after"))], batch_of(b"after", base=len(values))
    records, position, calls = read(compressed(first, codec) + rest)
    assert [r.value for r in records] == [*values, b"after"]
    assert [r.offset for r in records] == list(range(len(values) + 1))
    assert told(records[:3]) == [(n, 1000 + n, 0, b"k%d" % n, values[n], [("name", b"x")]) for n in range(3)]
    assert position == len(values) + 1
    if codec != "snappy-raw":  # a single block, which nothing can divide
        assert max(sum(len(r.value) for r in taken) for taken in calls) < 2 * FETCHED_BYTES


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_a_bomb_is_refused_in_bounded_memory(codec):
    """A record of 60 MB in a few kilobytes stands between two good ones."""
    raw = compressed(batch_of(b"before", bytes(60 << 20), b"after"), codec)
    tracemalloc.start()
    try:
        records, position, _ = read(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    before, bomb, after = records
    assert (before.value, after.value, position) == (b"before", b"after", 3)
    assert isinstance(bomb, RefusedRecord)
    assert (bomb.offset, bomb.timestamp, bomb.key, bomb.value) == (1, 1001, b"k1", None)
    assert (bomb.head, bomb.length, bomb.limit_bytes) == (bytes(64 << 10), 60 << 20, LIMIT)
    assert bomb.size_bytes > 60 << 20
    assert peak < 48 << 20


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_the_limit_is_the_same_for_all(codec):
    """Whether a record is refused depends on its size, not on how its batch travels."""
    sizes = (LIMIT - 100, LIMIT + 1, 5)
    records, position, _ = read(compressed(batch_of(*map(bytes, sizes)), codec))
    assert [type(r) is RefusedRecord for r in records] == [False, True, False]
    assert position == 3


def test_a_key_can_be_too_large_as_well():
    batch = BatchBuilder(1 << 40, 0)
    batch.append(timestamp=7, key=bytes(2 << 20), value=b"v", headers=[])
    batch.close()
    (record,), position, _ = read(compressed(bytes(batch._build()), "zstd"))
    assert (type(record), record.key, record.head, position) == (RefusedRecord, bytes(64 << 10), b"", 1)


def three_bytes(number):
    """A varint, longer than it need be."""
    number <<= 1
    return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))


def test_a_batch_of_very_many_records_comes_in_parts():
    """Half a million records in a few kilobytes are not made at once."""
    count = 500_000
    header = bytearray(batch_of(b"")[:HEADER_BYTES])
    struct.pack_into(">i", header, 23, count - 1)
    struct.pack_into(">i", header, HEADER_BYTES - 4, count)
    # length 20, attributes, time, offset, no key, a value of 12 bytes, no headers
    records = b"".join(b"\x28\0\0%b\x01\x18hello, world\0" % three_bytes(n) for n in range(count))
    reading = Reading(LIMIT)
    result, _ = result_of(compressed(bytes(header) + records, "zstd"), reading)
    tracemalloc.start()
    try:
        for _ in range(5):
            reading.begin([TP])
            assert len(result.getall(4000)) == 4000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20


@pytest.mark.rule(7)
def test_reading_can_begin_within_a_large_batch():
    values = [bytes(100_000)] * 200
    records, position, _ = read(compressed(batch_of(*values), "zstd"), at=150)
    assert ([r.offset for r in records], position) == (list(range(150, 200)), 200)


@pytest.mark.parametrize("harm", ["cut off", "codec", "checksum"])
def test_a_batch_that_cannot_be_read_is_named(harm):
    raw = bytearray(compressed(batch_of(bytes(20 << 20), b"b"), "zstd"))
    if harm == "cut off":
        raw = raw[:-10]
        struct.pack_into(">i", raw, 8, len(raw) - 12)
    elif harm == "codec":
        struct.pack_into(">h", raw, 21, 6)
    struct.pack_into(">I", raw, 17, 0 if harm == "checksum" else calc_crc32c(bytes(raw[21:])))
    with pytest.raises(CorruptRecordException, match="topic clicks partition 0 offsets 0 to 1"):
        read(bytes(raw))


# ---- records that aiokafka's parser cannot read -------------------------------------------------------------------


def sealed(raw, codec="none"):
    """A batch with the length and the checksum that its bytes now have."""
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    return compressed(bytes(raw), codec)


def odd_batch(*odd, count=6):
    """Records of which some have a header name that is not UTF-8."""
    raw = bytearray(batch_of(*[b"value %d" % n for n in range(count)]))
    for number in odd:
        at = raw.index(b"name", raw.index(b"value %d" % number))
        raw[at : at + 4] = b"\xff\xfeme"
    return raw


def damaged_batch(number, count=6):
    """The same, with one record that says to have more headers than there are."""
    raw = bytearray(batch_of(*[b"value %d" % n for n in range(count)]))
    raw[raw.index(b"name", raw.index(b"value %d" % number)) - 2] = 40
    return raw


@pytest.mark.rule(7)
@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("most", [1, 4000])
def test_a_header_name_that_is_not_utf8_costs_its_odd_characters(codec, most):
    raw = sealed(odd_batch(1, 3), codec) + batch_of(b"after", base=6)
    expected = told(read(batch_of(*[b"value %d" % n for n in range(6)]) + batch_of(b"after", base=6))[0])
    for number in (1, 3):
        expected[number] = (*expected[number][:-1], [("\ufffd\ufffdme", b"x")])
    records, position, _ = read(raw, most=most)
    assert (told(records), position) == (expected, 7)
    assert [r.offset for r in read(raw, at=2)[0]] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("codec", CODECS)
def test_other_consumers_of_ours_read_odd_header_names_too(codec):
    """Anybody may write into internal topics and outputs: what is not ours must not end a worker."""
    raw = sealed(odd_batch(1), codec) + batch_of(b"after", base=6)
    records = fetcher.PartitionRecords(TP, fetcher.MemoryRecords(raw), [], 0, None, None, True, fetcher.READ_COMMITTED)
    found = list(records)
    assert all(isinstance(r, ConsumerRecord) for r in found)
    assert [(r.offset, r.headers[0][0]) for r in found][:3] == [(0, "name"), (1, "\ufffd\ufffdme"), (2, "name")]
    assert ([r.offset for r in found], records.next_fetch_offset) == (list(range(7)), 7)


@pytest.mark.rule(7)
@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("skip", [[(2, 2)], [(0, 0), (2, 3), (5, 5)]])
def test_a_damaged_record_is_named_and_can_be_passed_over_alone(codec, skip):
    raw = sealed(damaged_batch(2), codec) + batch_of(b"after", base=6)
    with pytest.raises(CorruptRecordException, match="topic clicks partition 0 offset 2: "):
        read(raw)
    counted = []
    reading = Reading(LIMIT, {("clicks", 0): skip}, lambda *args: counted.append(args[2]))
    records, position, _ = read(raw, reading)
    passed = {offset for first, last in skip for offset in range(first, last + 1)}
    assert [r.offset for r in records] == sorted(set(range(7)) - passed)
    assert (sum(counted), position) == (len(passed), 7)
    assert [r.offset for r in read(raw, at=3)[0]] == [3, 4, 5, 6]


@pytest.mark.rule(7)
def test_where_the_next_record_begins_is_lost_no_single_skip_hides_the_others():
    raw = bytearray(batch_of(*[b"value %d" % n for n in range(6)]))
    raw[raw.index(b"k2") - 5] = 0x7E  # the length of a record, which would end behind the batch or within another
    raw = sealed(raw) + batch_of(b"after", base=6)
    with pytest.raises(CorruptRecordException, match=r"topic clicks partition 0 offsets? \d"):
        read(raw, Reading(LIMIT, {("clicks", 0): [(2, 2)]}))
    records, position, _ = read(raw, Reading(LIMIT, {("clicks", 0): [(2, 5)]}))
    assert ([r.offset for r in records], position) == ([0, 1, 6], 7)


# ---- passing over -------------------------------------------------------------------------------------------------


@pytest.mark.rule(7)
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_offsets_to_skip_are_covered_and_not_read(codec):
    counted = []
    skips = {("clicks", 0): [(1, 1), (3, 4)], ("clicks", 1): [(0, 9)]}
    reading = Reading(LIMIT, skips, lambda *args: counted.append(args))
    records, position, _ = read(compressed(batch_of(*[b"%d" % n for n in range(6)]), codec), reading)
    assert ([r.value for r in records], position) == ([b"0", b"2", b"5"], 6)
    assert sum(n for *_, n in counted) == 3


@pytest.mark.rule(7)
def test_a_batch_that_is_skipped_whole_is_not_even_opened():
    """What kills whoever decompresses it can be passed over."""
    bad = bytearray(compressed(batch_of(b"a", b"b"), "zstd"))
    bad[HEADER_BYTES + 5 :] = bytes(len(bad) - HEADER_BYTES - 5)
    counted = []
    reading = Reading(LIMIT, {("clicks", 0): [(0, 1)]}, lambda *args: counted.append(args))
    records, position, _ = read(bytes(bad) + batch_of(b"c", base=2), reading)
    assert ([r.value for r in records], position, counted) == ([b"c"], 3, [("clicks", 0, 2)])
