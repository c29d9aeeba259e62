"""Records to pass over: `samplejoin skip` writes them; workers and `verify` obey them."""

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
        """Returns the form of the command line."""
        end = "" if self.last == self.first else f"-{self.last}"
        return f"{self.topic}/{self.partition}/{self.first}{end}"

    def pack(self) -> tuple[bytes, bytes]:
        """As key and value of a record."""
        key = f"{self.topic}/{self.partition}/{self.first}-{self.last}"
        return key.encode(), json.dumps(asdict(self)).encode()


def unpack(value: bytes | None) -> Skip:
    """Returns the skip in a record's value. Raises ValueError for another value."""
    try:
        skip = Skip(**json.loads(value or b""))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not written by `samplejoin skip` ({error})") from None
    for name, value_ in asdict(skip).items():
        if type(value_).__name__ != Skip.__annotations__[name]:
            raise ValueError(f"not written by `samplejoin skip` ({name} is of type {type(value_).__name__})")
    if not (skip.topic and skip.partition >= 0 and 0 <= skip.first <= skip.last):
        raise ValueError(f"not written by `samplejoin skip` ({skip.place} names no records)")
    return skip


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
