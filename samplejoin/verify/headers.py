"""What a record of the samples topic says of itself, by the topic's contract: partition, key and headers."""

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
    """Reads samples of one job, each partition in order. `partitions`: of the samples topic; None: not known, any
    partition is right."""

    def __init__(self, job: Job, partitions: int | None) -> None:
        self.job, self.fingerprint = job.spec.name, short(job.fingerprint)
        self._partitions = partitions
        #: partitions in which a sample of this version has come
        self._begun: set[int] = set()
        self._may_lack = [s.name for s in job.spec.streams] if job.spec.max_wait_ms is not None else []

    def row(self, record: ConsumerRecord) -> list[Any]:
        """The SAMPLES row of a record, which holds the names of what breaks the contract."""
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
            key, headers.get("sample_id", ""), number, headers.get("weight", ""), flags, record.value or b"",
            record.partition, record.offset, previous, wrong, headers.get("complete", "true"),
        ]  # fmt: skip

    def _version(self, partition: int, fingerprint: str | None) -> int:
        """Another version's sample is a former run's only before the first of this version in its partition."""
        if fingerprint == self.fingerprint:
            self._begun.add(partition)
        if fingerprint in (None, "", self.fingerprint):
            return 0
        return OTHER_VERSION if partition in self._begun else OTHER_VERSION | FORMER

    def _unlike(self, record: ConsumerRecord, headers: dict[str, str], revision: int) -> list[str]:
        """The headers that are missing, doubled, not known, or of another form than the worker's."""
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
        """`true`, or `false:` and streams that `max_wait` can have left out."""
        said, _, names = complete.partition(":")
        missing = names.split(",")
        return complete == "true" or (said == "false" and missing == [n for n in self._may_lack if n in missing])


def text(value: bytes | None) -> str:
    """A header's value."""
    return (value or b"").decode("utf-8", "replace")


def _is_weight(weight: str) -> bool:
    """Whether this is how a worker writes a weight: as the shortest text of a float that is not below 0."""
    try:
        return repr(float(weight)) == weight and float(weight) >= 0
    except ValueError:
        return False
