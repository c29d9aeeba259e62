"""The rows kept of the topics, by join key: lists that a spill can write, and the indexes of their parts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

#: kinds of rows by join key
ROWS, SAMPLES, LATE, ORPHANS, SAMPLE_LETTERS, OUTSIDE = range(6)
KEY_KINDS = 6
#: kinds of rows by source record and stream
DEAD, LETTERS = range(2)
SOURCE_KINDS = 2

# Each list begins with its key; OUTSIDE and SAMPLE_LETTERS then have a sample id.
#: of ROWS: SOURCE and STREAM are numbers; DISORDERED: whether it is behind its own partition's watermark (see `inputs`)
SOURCE, STREAM, SLICE, OFFSET, DISORDERED, PARTIALS = range(1, 7)
#: of SAMPLES; `WRONG`: names of headers and places that break the topic's contract (see `headers`)
ID, REVISION, WEIGHT, FLAGS, PAYLOAD, PARTITION, AT, PREVIOUS, WRONG, COMPLETE = range(1, 11)
#: of LATE and ORPHANS
SIDE_STREAM, SIDE_SLICE_MS, SIDE_ROWS, SIDE_SOURCE, SIDE_DIGEST, SIDE_FLAGS = range(1, 7)

INCOMPLETE, TRUNCATED, OTHER_VERSION, FORMER = 1, 2, 4, 8

_PLACE = re.compile(r"(.+)/([0-9]{1,9})/([0-9]{1,18})", re.DOTALL)

NEVER = -(1 << 62)
FOR_EVER = 1 << 62


@dataclass
class Scope:
    """What can be compared, and how far the job is. Times are in ms, clocks in slices.

    `clocks`: join partition -> slice up to which its windows are sent; absent if that is not known. `covered`: join
    partition -> source id -> last merged offset. `committed`: (topic, partition) of a source -> next offset to clean.
    """

    partitions: int
    from_ms: int = NEVER
    to_ms: int = FOR_EVER
    #: one key in this many is compared
    one_in: int = 1
    clocks: dict[int, int] = field(default_factory=dict)
    covered: dict[int, dict[str, int]] = field(default_factory=dict)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    #: fingerprints of the versions of the job that made the last commits
    made_by: set[str] = field(default_factory=set)
    #: event time in ms up to which rows may be deleted from the inputs; None: the beginning is there
    gone_to_ms: int | None = None
    #: whether the dead-letter, orphan and late topics have lost their beginning
    letters_trimmed: bool = False
    orphans_trimmed: bool = False
    late_trimmed: bool = False
    #: dead letters of records older than this may have been deleted
    letters_from_ms: int = NEVER
    #: partitions of the samples topic; None: not known
    sample_partitions: int | None = None
    #: whether a replay of the repartition log can tell which rows were late
    replayable: bool = False

    def looks_at(self, key: bytes) -> bool:
        """Returns whether a key is in the share to compare, independently of its join partition."""
        one_in = self.one_in
        return one_in == 1 or int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) % one_in == 0


def letter_key(source: str, stream: str) -> bytes:
    """Returns the key by which dead letters of records are kept: source and stream."""
    return f"{source} {stream}".encode("utf-8", "replace")


def place_of(source: str) -> tuple[str, int, int] | None:
    """Returns (topic, partition, offset) from the text `topic/partition/offset`, None if it has another form."""
    found = _PLACE.fullmatch(source)
    return None if found is None else (found[1], int(found[2]), int(found[3]))
