"""Turns outcomes of the core into records of the output topics, and counts into metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from samplejoin.core.fingerprint import short
from samplejoin.core.identity import place
from samplejoin.core.keys import decode_key, partition_of
from samplejoin.core.outcomes import DeadSample, Outcomes, Sample, SideRow
from samplejoin.core.user_errors import mistakes, said
from samplejoin.engine.changelog import Commit
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.dead_letters import MAX_ORIGINAL_BYTES, headers_of
from samplejoin.engine.meters import Meters
from samplejoin.engine.record_size import SIDE_BYTES
from samplejoin.engine.transaction import Outbox
from samplejoin.samples import HeaderWriter


class Emitter:
    """Writes a partition's outcomes into its outbox. `partitions` holds the output topics' actual partition counts."""

    def __init__(self, config: EngineConfig, meters: Meters, partitions: Mapping[str, int]) -> None:
        self.config, self.meters, self.partitions = config, meters, partitions
        self._headers = HeaderWriter(config.spec.name, short(config.fingerprint))
        #: called for each dead sample, with the step that failed and the error
        self.on_dead: Callable[[str, str], None] = lambda step, error: None
        #: called for each orphan, with its stream and key
        self.on_orphan: Callable[[str, bytes], None] = lambda stream, key: None

    def emit(self, out: Outcomes, outbox: Outbox) -> None:
        """Adds side rows and dead samples to the outbox, and counts to the meters."""
        for row in out.side_rows:
            self._side(row, outbox)
        for dead in out.dead:
            self._dead(dead, outbox)
        for (name, label), count in out.counts.items():
            self.meters.add(name, (label,) if label else (), count)

    def sample(self, sample: Sample, outbox: Outbox) -> None:
        """Adds a sample as the samples topic's contract has it: join key as key, partition by its hash, headers."""
        topic = self.config.topics.samples
        target = partition_of(sample.key, self.partitions[topic])
        outbox.add(topic, target, sample.key, sample.payload, self._headers.write(sample))

    def _side(self, row: SideRow, outbox: Outbox) -> None:
        if row.kind == "orphan":
            self.on_orphan(row.stream, row.key)
        topic = self.config.topics.late if row.kind == "late" else self.config.topics.orphan
        if topic is None:
            return
        body = {
            "kind": row.kind,
            "key": _key_of(row.key),
            "stream": row.stream,
            "slice_ms": row.slice_ms,
            "rows": row.rows,
            "fields": row.fields,
            "source": row.source and place(*row.source),
        }
        target = partition_of(row.key, self.partitions[topic])
        headers = [("stream", row.stream.encode()), *self._headers.constant]
        value = _as_json(body)
        if len(value) > SIDE_BYTES:
            self.meters.add("cut_side_rows", (row.stream,))
            value = _as_json(body | {"fields": None, "fields_bytes": len(value)})
        outbox.add(topic, target, row.key, value, headers)

    def _dead(self, dead: DeadSample, outbox: Outbox) -> None:
        self.meters.add("dead_letters", (dead.function,))
        self.on_dead(dead.function, dead.error)
        self._letter(
            outbox,
            dead.key,
            _as_json(dead.fields) if dead.payload is None else dead.payload,
            reason=dead.function,
            function=dead.function if dead.payload is None else "",
            error=dead.error,
            traceback=dead.traceback,
            sample_id=dead.sample_id,
            slice_ms=dead.slice_ms,
        )

    def _letter(self, outbox: Outbox, key: bytes, value: bytes, **fields: object) -> None:
        headers = headers_of(length=len(value), job=self.config.spec.name, **fields)
        topic = self.config.topics.dead_letter
        outbox.add(topic, partition_of(key, self.partitions[topic]), key, value[:MAX_ORIGINAL_BYTES], headers)

    def committed(self, partition: int, outbox: Outbox, commit: Commit) -> None:
        """Counts a commit that has succeeded."""
        self.meters.add("commits", ())
        self.meters.add("changelog_rows", (), len(commit.puts) + len(commit.deletes))


def _key_of(key: bytes) -> object:
    """Returns the key's values, or the key as text if no worker made it."""
    try:
        return decode_key(key)
    except (ValueError, TypeError, IndexError, StopIteration, RecursionError):
        return key.decode("utf-8", "replace")


def _as_json(fields: Mapping[Any, Any]) -> bytes:
    """Returns JSON of any values that a user's label function may have left in a sample; other types become text.

    It never fails, so a dead letter is always sent: a field that cannot be written is replaced by the reason.
    """
    try:
        return _written(fields)
    except mistakes():
        named = [
            json.dumps(name).encode() + b":" + _placed(value) for name, value in fields.items() if type(name) is str
        ]
        return b"{" + b",".join(named) + b"}"


def _placed(value: Any) -> bytes:
    try:
        return _written(value)
    except mistakes() as error:
        return json.dumps(f"(cannot be written as JSON: {said(error)})").encode()


def _written(value: Any) -> bytes:
    with suppress(TypeError, ValueError):
        return orjson.dumps(value, default=str)
    try:  # integers beyond 64 bits
        return msgspec.json.encode(value, enc_hook=str)
    except (TypeError, ValueError):
        return json.dumps(value, default=str, skipkeys=True).encode("utf-8", "replace")
