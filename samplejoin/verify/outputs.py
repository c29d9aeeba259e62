"""Records of the job's output topics to rows on disk."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

from samplejoin.core.fingerprint import short
from samplejoin.job.compile import Job
from samplejoin.verify.report import Report
from samplejoin.verify.rows import (
    INCOMPLETE,
    LATE,
    LETTERS,
    ORPHANS,
    OTHER_VERSION,
    SAMPLE_LETTERS,
    SAMPLES,
    TRUNCATED,
    Scope,
    letter_key,
)
from samplejoin.verify.spill import Spill

OVERHEAD_BYTES = 500
_LATEST = re.compile(r": (-?\d+) ms is the latest allowed")
"""How a dead letter `future` ends."""


class Collector:
    """Takes the records of samples, late, orphan and dead-letter topics; those of other jobs are left out."""

    def __init__(self, job: Job, scope: Scope, report: Report, rows: Spill, letters: Spill) -> None:
        self.scope, self.report, self.rows, self.letters = scope, report, rows, letters
        self._job, self._fingerprint = job.spec.name.encode(), short(job.fingerprint).encode()
        self._streams = {s.name for s in job.spec.streams}
        #: see `inputs.Intake`
        self.future: dict[tuple[str, int], dict[int, int]] = {}

    def sample(self, record: Any) -> None:
        """A record of the samples topic."""
        headers, key, value = dict(record.headers), record.key or b"", record.value or b""
        if headers.get("job", self._job) != self._job or not self.scope.looks_at(key):
            return
        flags = self._version(headers)
        if headers.get("complete", b"true") != b"true":
            flags |= INCOMPLETE
        if headers.get("truncated") == b"true":
            flags |= TRUNCATED
        revision = headers.get("revision", b"0")
        row = [
            key, _text(headers.get("sample_id")), int(revision) if revision.isdigit() else -1,
            _text(headers.get("weight")), flags, value, record.partition, record.offset,
        ]  # fmt: skip
        self.rows.add(SAMPLES, row, OVERHEAD_BYTES + len(value))

    def late(self, record: Any) -> None:
        """A record of the late topic."""
        self._side(LATE, record)

    def orphan(self, record: Any) -> None:
        """A record of the orphan topic."""
        self._side(ORPHANS, record)

    def letter(self, record: Any) -> None:
        """A record of the dead-letter topic."""
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
        if headers.get("samplejoin.job", "").encode() not in (b"", self._job):
            return
        source, stream = headers.get("samplejoin.source"), headers.get("samplejoin.stream", "")
        if source is not None:
            self._record_letter(source, stream, headers)
        elif (id_ := headers.get("samplejoin.sample_id")) and self.scope.looks_at(record.key or b""):
            self.rows.add(SAMPLE_LETTERS, [record.key or b"", id_], OVERHEAD_BYTES)

    def _record_letter(self, source: str, stream: str, headers: dict[str, str]) -> None:
        reason = headers.get("samplejoin.reason", "")
        self.letters.add(LETTERS, [letter_key(source, stream), reason, source, stream], OVERHEAD_BYTES)
        topic, partition, offset = source.rsplit("/", 2) if source.count("/") >= 2 else ("", "", "")
        if reason == "future" and partition.isdigit() and offset.isdigit():
            found = _LATEST.search(headers.get("samplejoin.error", ""))
            offsets = self.future.setdefault((topic, int(partition)), {})
            latest_ms = int(found[1]) if found else -1
            offsets[int(offset)] = min(latest_ms, offsets.get(int(offset), latest_ms))

    def _side(self, kind: int, record: Any) -> None:
        headers, key, value = dict(record.headers), record.key or b"", record.value or b""
        if headers.get("job", self._job) != self._job or not self.scope.looks_at(key):
            return
        try:
            body = orjson.loads(value)
            stream, slice_ms, rows, source = body["stream"], body["slice_ms"], body["rows"], body["source"]
        except (ValueError, KeyError, TypeError):
            stream, slice_ms, rows, source = "", 0, 1, None
        digest = hashlib.blake2b(value, digest_size=8).digest()
        row = [key, str(stream), slice_ms, rows, source, digest, self._version(headers)]
        self.rows.add(kind, row, OVERHEAD_BYTES)

    def _version(self, headers: dict[str, bytes]) -> int:
        return 0 if headers.get("fingerprint", self._fingerprint) == self._fingerprint else OTHER_VERSION


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
