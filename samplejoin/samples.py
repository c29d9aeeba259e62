"""The contract of the samples topic (docs/samples-topic.md): writes and reads the headers of a sample.

A record's key is the join key, its value the formatted sample, its partition the hash of the key. The headers have
everything else that a reader needs, as text. Readers of the topic can import this module without the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

HEADERS = ("sample_id", "revision", "complete", "truncated", "weight", "job", "fingerprint")
"""The headers that every sample has."""
PREVIOUS_WEIGHT = "previous_weight"
"""The additional header of revisions above 0."""

Headers = list[tuple[str, bytes]]


class Finished(Protocol):
    """The fields of a sample that go into headers. `core.outcomes.Sample` has them."""

    sample_id: str
    revision: int
    weight: float
    previous_weight: float
    truncated: bool
    missing: tuple[str, ...]


@dataclass(frozen=True)
class SampleHeaders:
    """The headers of one sample. `previous_weight` is that of the revision it replaces; None for revision 0."""

    sample_id: str
    revision: int
    weight: float
    previous_weight: float | None
    #: names of streams that `max_wait` had left out when the window closed
    missing: tuple[str, ...]
    truncated: bool
    job: str
    #: the short fingerprint: 16 hex digits
    fingerprint: str

    @property
    def complete(self) -> bool:
        """Whether all streams had been read to the window's end when it closed."""
        return not self.missing


class HeaderWriter:
    """Writes the headers of one job's samples. `fingerprint` is the short one, 16 hex digits."""

    def __init__(self, job: str, fingerprint: str) -> None:
        #: headers that side rows have too
        self.constant: Headers = [("job", job.encode()), ("fingerprint", fingerprint.encode())]
        self._plain = self._all_but_id(0, 1.0, (), False)

    def write(self, sample: Finished) -> Headers:
        """Returns the headers of a sample. Those of ordinary samples, all but the id, are made only once."""
        headers: Headers = [("sample_id", sample.sample_id.encode())]
        if sample.weight == 1.0 and not (sample.revision or sample.missing or sample.truncated):
            return headers + self._plain
        headers += self._all_but_id(sample.revision, sample.weight, sample.missing, sample.truncated)
        if sample.revision:
            headers.append((PREVIOUS_WEIGHT, repr(sample.previous_weight).encode()))
        return headers

    def _all_but_id(self, revision: int, weight: float, missing: tuple[str, ...], truncated: bool) -> Headers:
        return [
            ("revision", b"%d" % revision),
            ("complete", ("false:" + ",".join(missing)).encode() if missing else b"true"),
            ("truncated", b"true" if truncated else b"false"),
            ("weight", repr(weight).encode()),
            *self.constant,
        ]


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> SampleHeaders:
    """Reads the headers of a record of the samples topic. Raises ValueError if they are not those of a sample."""
    text = {name: (value or b"").decode() for name, value in headers}
    if absent := [name for name in HEADERS if name not in text]:
        raise ValueError(f"not a sample: it has no header {', '.join(absent)}")
    previous, missing = text.get(PREVIOUS_WEIGHT), text["complete"].partition(":")[2]
    return SampleHeaders(
        sample_id=text["sample_id"],
        revision=int(text["revision"]),
        weight=float(text["weight"]),
        previous_weight=None if previous is None else float(previous),
        missing=tuple(missing.split(",")) if missing else (),
        truncated=text["truncated"] == "true",
        job=text["job"],
        fingerprint=text["fingerprint"],
    )
