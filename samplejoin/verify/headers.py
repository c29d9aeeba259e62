"""Checks a record of the samples topic against the topic's contract: partition, key and headers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiokafka import ConsumerRecord

from samplejoin.core.fingerprint import short
from samplejoin.core.keys import partition_of
from samplejoin.job.compile import Job
from samplejoin.samples import HEADERS, PREVIOUS_WEIGHT
from samplejoin.verify.spill_rows import FORMER, INCOMPLETE, OTHER_VERSION, TRUNCATED

MOST_DIGITS = 9


class Contract:
    """Reads samples of one job, each partition in offset order.

    `partitions`: the number of partitions of the samples topic; None: not known, so any partition is right.
    """

    def __init__(self, job: Job, partitions: int | None) -> None:
        self.job, self.fingerprint = job.spec.name, short(job.fingerprint)
        self._partitions = partitions
        #: partitions in which a sample of this version was read
        self._begun: set[int] = set()
        self._may_lack = [s.name for s in job.spec.streams] if job.spec.max_wait_ms is not None else []

    def row(self, record: ConsumerRecord) -> list[Any]:
        """Returns a record's SAMPLES row (see `spill_rows`), with the names of headers and places that are wrong."""
        headers = {name: text(value) for name, value in record.headers}
        key, revision = record.key or b"", headers.get("revision", "")
        plain = revision.isascii() and revision.isdecimal() and len(revision) <= MOST_DIGITS
        number = int(revision) if plain else -1
        previous = headers.get(PREVIOUS_WEIGHT)
        wrong = self._unlike(record, headers, number)
        flags = self._version(record.partition, headers.get("fingerprint"))
        if headers.get("complete", "true") != "true" and "complete" not in wrong:
            flags |= INCOMPLETE
        if headers.get("truncated") == "true":
            flags |= TRUNCATED
        if self._partitions is not None and record.partition != partition_of(key, self._partitions):
            wrong.append("partition")
        return [
            key,
            headers.get("sample_id", ""),
            number,
            headers.get("weight", ""),
            flags,
            record.value or b"",
            record.partition,
            record.offset,
            previous,
            wrong,
            headers.get("complete", "true"),
        ]

    def _version(self, partition: int, fingerprint: str | None) -> int:
        """Returns the flags: another version's sample is FORMER only before this version's first in its partition."""
        if fingerprint == self.fingerprint:
            self._begun.add(partition)
        if fingerprint in (None, "", self.fingerprint):
            return 0
        return OTHER_VERSION if partition in self._begun else OTHER_VERSION | FORMER

    def _unlike(self, record: ConsumerRecord, headers: dict[str, str], revision: int) -> list[str]:
        """Returns the names of headers that are missing, doubled, unknown, or not in the form that workers write."""
        counts = Counter(name for name, _ in record.headers)
        names = {*HEADERS, PREVIOUS_WEIGHT} if revision > 0 else set(HEADERS)
        wrong = {name for name in names if counts[name] != 1} | (counts.keys() - names)
        good = {
            "job": headers.get("job") == self.job,
            "fingerprint": headers.get("fingerprint") != "",
            "revision": revision >= 0 and str(revision) == headers.get("revision"),
            "complete": self._is_complete(headers.get("complete", "")),
            "truncated": headers.get("truncated") in ("true", "false"),
            "weight": _is_weight(headers.get("weight", "")),
            PREVIOUS_WEIGHT: _is_weight(headers.get(PREVIOUS_WEIGHT, "1.0")),
        }
        return sorted(wrong | {name for name, is_good in good.items() if not is_good})

    def _is_complete(self, complete: str) -> bool:
        """Returns whether the value is `true`, or `false:` and streams that `max_wait` can have left out."""
        said, _, names = complete.partition(":")
        missing = names.split(",")
        return complete == "true" or (said == "false" and missing == [n for n in self._may_lack if n in missing])


def text(value: bytes | None) -> str:
    """Returns a header's value as text."""
    return (value or b"").decode("utf-8", "replace")


def _is_weight(weight: str) -> bool:
    """Returns whether a worker can have written this weight: the shortest text of a float that is not negative."""
    try:
        return repr(float(weight)) == weight and float(weight) >= 0
    except ValueError:
        return False
