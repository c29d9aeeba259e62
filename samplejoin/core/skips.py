"""Records that are not to be read: what `samplejoin skip` writes, and workers and `verify` obey alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

Skips = dict[tuple[str, int], list[tuple[int, int]]]
"""Per topic partition the offsets that are not read, as [first, last], in order and apart."""


@dataclass(frozen=True)
class Skip:
    """Offsets `first` to `last` of a source that are passed over, who asked for it, when, and why."""

    topic: str
    partition: int
    first: int
    last: int
    reason: str
    by: str
    at_ms: int

    @property
    def place(self) -> str:
        """As it is written on the command line."""
        end = "" if self.last == self.first else f"-{self.last}"
        return f"{self.topic}/{self.partition}/{self.first}{end}"

    def pack(self) -> tuple[bytes, bytes]:
        """As key and value of a record."""
        key = f"{self.topic}/{self.partition}/{self.first}-{self.last}"
        return key.encode(), json.dumps(asdict(self)).encode()


def unpack(value: bytes | None) -> Skip:
    """Of a record's value. Raises ValueError for anything else."""
    try:
        return Skip(**json.loads(value or b""))
    except (TypeError, ValueError) as error:
        raise ValueError(f"not written by `samplejoin skip` ({error})") from None


def ranges(skips: Iterable[Skip]) -> Skips:
    """Per topic partition, offsets as [first, last], in order and apart."""
    found: Skips = {}
    for each in sorted(skips, key=lambda skip: (skip.topic, skip.partition, skip.first)):
        those = found.setdefault((each.topic, each.partition), [])
        if those and each.first <= those[-1][1] + 1:
            those[-1] = (those[-1][0], max(those[-1][1], each.last))
        else:
            those.append((each.first, each.last))
    return found
