"""Converts records of the job's output topics to rows on disk."""

from __future__ import annotations

import hashlib

import orjson
from aiokafka import ConsumerRecord

from samplejoin.core.fingerprint import short
from samplejoin.core.identity import source_id
from samplejoin.job.compile import Job
from samplejoin.verify.headers import Contract, text
from samplejoin.verify.report import Report
from samplejoin.verify.spill import Spill
from samplejoin.verify.spill_rows import (
    LATE,
    LETTERS,
    ORPHANS,
    OTHER_VERSION,
    PAYLOAD,
    REVISION,
    SAMPLE_LETTERS,
    SAMPLES,
    Scope,
    letter_key,
    place_of,
)

OVERHEAD_BYTES = 500
NO_FINGERPRINT = "none"
MOST_DIGITS = 18


class OutputReader:
    """Takes the records of the samples, late, orphan and dead-letter topics. Records of other jobs are left out."""

    def __init__(self, job: Job, scope: Scope, report: Report, rows: Spill, letters: Spill) -> None:
        self.scope, self.report, self.rows, self.letters = scope, report, rows, letters
        self._job, self._fingerprint = job.spec.name.encode(), short(job.fingerprint).encode()
        self._contract = Contract(job, scope.sample_partitions)
        #: latest times of records refused as `future`; see `inputs.InputReader`
        self.future: dict[tuple[str, int], dict[int, int]] = {}

    def sample(self, record: ConsumerRecord) -> None:
        """Takes a record of the samples topic."""
        row = self._contract.row(record)
        headers = dict(record.headers)
        if (headers.get("job") or self._job) != self._job or not self.scope.looks_at(row[0]):
            return
        version = text(headers.get("fingerprint")) or NO_FINGERPRINT
        self.report.versions[version] = self.report.versions.get(version, 0) + 1
        if self.report.corrections is not None and row[REVISION] > 0:
            self.report.corrections += 1
        self.rows.add(SAMPLES, row, OVERHEAD_BYTES + len(row[PAYLOAD]))

    def late(self, record: ConsumerRecord) -> None:
        """Takes a record of the late topic."""
        self._side(LATE, record)

    def orphan(self, record: ConsumerRecord) -> None:
        """Takes a record of the orphan topic."""
        self._side(ORPHANS, record)

    def letter(self, record: ConsumerRecord) -> None:
        """Takes a record of the dead-letter topic."""
        headers = {name: text(value) for name, value in record.headers}
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
        if reason == "future" and (place := place_of(source)) is not None:
            topic, partition, offset = place
            offsets = self.future.setdefault((topic, partition), {})
            latest_ms = _whole_number(headers.get("samplejoin.latest_ms", ""))
            offsets[offset] = min(latest_ms, offsets.get(offset, latest_ms))

    def _side(self, kind: int, record: ConsumerRecord) -> None:
        headers, key, value = dict(record.headers), record.key or b"", record.value or b""
        if (headers.get("job") or self._job) != self._job or not self.scope.looks_at(key):
            return
        stream, slice_ms, rows, source = _cell_of(value)
        digest = hashlib.blake2b(value, digest_size=8).digest()
        row = [key, stream, slice_ms, rows, source, digest, self._version(headers)]
        self.rows.add(kind, row, OVERHEAD_BYTES)

    def _version(self, headers: dict[str, bytes | None]) -> int:
        return 0 if (headers.get("fingerprint") or self._fingerprint) == self._fingerprint else OTHER_VERSION


def _whole_number(text: str) -> int:
    """Returns the number, or -1 for text that is not one, so that no event time was early enough."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= MOST_DIGITS else -1


def _cell_of(value: bytes) -> tuple[str, int, int, list[object] | None]:
    """Returns (stream, slice in ms, rows, [source, offset] or None) of a late or orphan row.

    A record that no worker wrote counts as one row of the stream "".
    """
    try:
        body = orjson.loads(value)
        stream, slice_ms, rows, source = (body[name] for name in ("stream", "slice_ms", "rows", "source"))
    except (ValueError, KeyError, TypeError):
        return "", 0, 1, None
    if type(stream) is not str or type(slice_ms) is not int or type(rows) is not int or rows < 1:
        return "", 0, 1, None
    named = place_of(source) if isinstance(source, str) else None
    return stream, slice_ms, rows, None if named is None else [source_id(*named[:2]), named[2]]
