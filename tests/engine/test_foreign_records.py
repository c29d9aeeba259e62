"""Records in the job's own topics that no worker wrote: refused, counted, named; newer formats are told apart."""

from __future__ import annotations

import contextlib
import logging
import random
from types import SimpleNamespace
from typing import Any

import cramjam
import msgspec
import pytest

from samplejoin.core.messages import Block, Tick, TickEntry
from samplejoin.engine.changelog import PartJoiner
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.foreign_records import RefusedRecords
from samplejoin.engine.progress import DEAF_S, FRESH_S, ProgressBoard
from samplejoin.engine.record_format import NEWEST
from samplejoin.engine.wire import (
    FormatError,
    GarbageError,
    pack_cell,
    pack_commit,
    pack_entry,
    unpack_commit,
    unpack_entry,
)

CELL = (b'["u"]', 0, 3, 5, 7, 2, pack_cell((0, 3, 2, [])))
BLOCK = pack_entry(Block("clicks 000001", 3, None, 7, [CELL]))
EMPTY = pack_entry(Block("clicks 000001", 3, 7, 9, []))
TICK = pack_entry(Tick([TickEntry("clicks 000001", 3, None, 7, 5, True, None)], {"clicks": 4}))
COMMIT = pack_commit({"id": b"x", "part": 0, "last": False})


def record(value: bytes | None, offset: int = 7) -> Any:
    return SimpleNamespace(offset=offset, value=value)


def sealed(kind: bytes, body: Any) -> bytes:
    return kind + bytes([NEWEST]) + bytes(cramjam.zstd.compress(msgspec.msgpack.encode(body)))


GARBAGE: list[bytes | None] = [
    None,
    b"",
    b"B",
    b"Bad luck",
    b'{"json": 1}',
    b"B\x01" + b"x" * 50,
    BLOCK[:-3],
    BLOCK[:20],
    sealed(b"B", "text"),
    sealed(b"B", ["s", 1, 2, 3]),
    sealed(b"B", ["s", 1, 2, "x", []]),
    sealed(b"B", ["s", 1, 2, 3, [[1]]]),
    sealed(b"B", ["s", 1, 2, 3, [[b"k"], [0], [0], [0], [0], [1], ["text"]]]),
    sealed(b"B", ["s", 1, 2, 3, [[b"k", b"l"], [0], [0], [0], [0], [1], [b"c"]]]),
    sealed(b"T", [[["s", 1]], {}]),
    sealed(b"T", [[], {"clicks": "many"}]),
]


#: deeper than any decoder follows
DEEP = b"\x91" * 200_000 + b"\xc0"
LAST = {
    "id": b"x", "part": 0, "last": True, "start": 0, "position": 1, "state": b"s", "fingerprint": "f", "deadline": 1,
    "format": 2,
}  # fmt: skip
BAD_COMMITS = [
    {}, {"id": [1], "part": 0, "last": True}, {"id": b"x", "part": "0", "last": True}, {**LAST, "puts": 5},
    {**LAST, "puts": [[b"k"]]}, {**LAST, "state": 1}, {k: v for k, v in LAST.items() if k != "format"},
    {k: v for k, v in LAST.items() if k != "state"},
]  # fmt: skip


def squeezed(kind: bytes, body: bytes) -> bytes:
    return kind + bytes([NEWEST]) + bytes(cramjam.zstd.compress(body))


@pytest.mark.parametrize("body", [*map(msgspec.msgpack.encode, BAD_COMMITS), b"\x81\xa1a" + DEEP])
def test_a_commit_without_its_fields_is_passed_over(body, caplog):
    joiner = PartJoiner("topic job-changelog partition 3")
    assert joiner.add(7, squeezed(b"C", body)) is None
    assert "offset 7: not a record of this job, passed over" in caplog.text
    whole = joiner.add(8, pack_commit({**LAST, "puts": [(b"k", b"v")]}))
    assert whole is not None
    assert whole.puts == [(b"k", b"v")]


def test_many_foreign_records_in_a_changelog_are_few_lines(caplog):
    joiner = PartJoiner("topic job-changelog partition 3")
    for offset in range(1000):
        assert joiner.add(offset, b"junk") is None
    assert [record.args[2] for record in caplog.records] == [2**n for n in range(10)]


@pytest.mark.parametrize("value", [squeezed(b"B", b"\x95\xa1a" + DEEP), squeezed(b"T", b"\x92" + DEEP)])
def test_nesting_without_end_is_garbage(value):
    with pytest.raises(GarbageError):
        unpack_entry(value)


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("value", [*GARBAGE, COMMIT])
def test_garbage_in_the_repartition_topic_is_told(value):
    with pytest.raises(GarbageError):
        unpack_entry(value)


@pytest.mark.parametrize("value", [*GARBAGE, BLOCK, TICK, sealed(b"C", [1])])
def test_garbage_in_the_changelog_is_passed_over(value, caplog):
    assert PartJoiner("topic job-changelog partition 3").add(7, value) is None
    (said,) = caplog.messages
    assert said.startswith(
        "topic job-changelog partition 3 offset 7: not a record of this job, passed over (1 so far): it"
    )


def test_our_own_records_are_none():
    assert unpack_entry(BLOCK) == Block("clicks 000001", 3, None, 7, [CELL])
    assert unpack_entry(EMPTY) == Block("clicks 000001", 3, 7, 9, [])
    assert isinstance(unpack_entry(TICK), Tick)
    assert unpack_commit(COMMIT)["id"] == b"x"


@pytest.mark.parametrize("value", [BLOCK, TICK])
def test_a_newer_format_is_refused_and_says_what_to_do(value):
    newer = value[:1] + bytes([NEWEST + 1]) + value[2:]
    with pytest.raises(FormatError, match=f"record format {NEWEST + 1}, .*Run that version") as refused:
        unpack_entry(newer)
    assert not isinstance(refused.value, GarbageError)


def test_damaged_records_never_raise_anything_else():
    r = random.Random(5)
    for _ in range(3000):
        value = bytearray(r.choice([BLOCK, TICK, EMPTY]))
        for _ in range(r.randrange(1, 4)):
            value[r.randrange(len(value))] = r.randrange(256)
        with contextlib.suppress(FormatError):
            unpack_entry(bytes(value[: r.randrange(1, len(value) + 1)]))


class Meters:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.counted: list[Any] = []

    def add(self, name: str, labels: tuple[str, ...], by: float = 1) -> None:
        self.counted.append((name, *labels))


def test_refused_records_are_counted_each_and_named_once_a_minute(caplog):
    meters, now = Meters(), [0.0]
    refused = RefusedRecords(meters, "Nothing is lost", lambda: now[0])  # type: ignore[arg-type]
    for at in (0.0, 1.0, 59.0, 60.0):
        now[0] = at
        refused.add("job-progress", 0, 7, ValueError("empty"))
    assert meters.counted == [("refused_records", "job-progress")] * 4
    assert [(r.levelno, r.args[3]) for r in caplog.records] == [(logging.ERROR, 1), (logging.ERROR, 3)]
    assert "topic job-progress partition 0 offset 7: not a record of this job, passed over" in caplog.text


def board(tmp_path: Any) -> tuple[ProgressBoard, Meters]:
    topics = Topics("job", "s", None, None, "d")
    spec = SimpleNamespace(topics=lambda: ["clicks"], max_wait_ms=None)
    config = EngineConfig(spec, "print", topics, 4, tmp_path, {})  # type: ignore[arg-type]
    meters = Meters()
    return ProgressBoard(config, "me", None, meters, pytest.fail), meters  # type: ignore[arg-type]


WORD = b'{"worker":"you","sources":{"clicks 000001":[5,false]},"lags":{"2":9}}'


@pytest.mark.parametrize(
    "value",
    [
        *GARBAGE, b"[]", b"\xff", WORD[:-1], WORD.replace(b"[5,false]", b"5"), WORD.replace(b"9", b'"many"'),
        WORD.replace(b'"2"', b'"two"'), WORD.replace(b'"you"', b"{}"), WORD.replace(b'"lags"', b'"logs"'),
        WORD.replace(b"5,", b"1e400,"), b"[" * 100_000,
    ],
)  # fmt: skip
def test_garbage_in_the_control_topic_does_not_deafen(tmp_path, value):
    heard, meters = board(tmp_path)
    heard.receive_record(record(value))
    heard.receive_record(record(WORD))
    assert heard.sources["clicks 000001"][:2] == (5, False)
    assert heard.lags[2][0] == 9
    assert meters.counted == [("refused_records", "job-progress")]


def test_words_about_what_the_job_does_not_have_are_not_kept(tmp_path):
    heard, _ = board(tmp_path)
    heard.receive_record(record(b'{"worker":"you","sources":{"other 000001":[5,false]},"lags":{"-1":9,"4":9}}'))
    assert (heard.sources, heard.lags) == ({}, {})


def test_a_deaf_worker_says_so(tmp_path):
    heard, _ = board(tmp_path)
    assert heard.deafness() is None
    heard._spoke_at = heard._speaking_since = heard.heard_itself_at + 10 * DEAF_S
    assert heard.deafness() is None, "it has only just begun to speak"
    heard._spoke_at += DEAF_S
    assert "nothing heard from topic job-progress for " in str(heard.deafness())
    heard.receive_record(record(b'{"worker":"me","sources":{},"lags":{}}'))
    assert heard.deafness() is None
    assert heard.is_listening()
    assert FRESH_S < DEAF_S
