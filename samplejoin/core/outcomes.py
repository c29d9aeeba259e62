"""The outcomes of stepping a partition: samples, side outputs and counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from samplejoin.core.values import Fields


@dataclass(slots=True)
class Sample:
    """A finished sample. `payload` is its formatted body, `previous_weight` that of the revision it replaces."""

    key: bytes
    sample_id: str
    slice_ms: int
    payload: bytes
    revision: int = 0
    weight: float = 1.0
    previous_weight: float = 0.0
    truncated: bool = False
    #: streams that `max_wait` had left out when the window closed; empty: complete
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class SideRow:
    """A cell that joined no sample: a late or an orphan row, or several of the same key, stream and slice."""

    kind: Literal["late", "orphan"]
    key: bytes
    stream: str
    slice_ms: int
    rows: int
    source: list[Any] | None
    fields: Fields


@dataclass(slots=True)
class DeadSample:
    """A sample that could not be made, or is larger than it may be (rule 12). `function` is the step that failed."""

    key: bytes
    sample_id: str
    slice_ms: int
    function: str
    error: str
    traceback: str
    fields: Fields
    #: the payload of a sample that is too large
    payload: bytes | None = None


@dataclass(slots=True)
class Outcomes:
    """The outcomes of one or several steps, in order."""

    samples: list[Sample] = field(default_factory=list)
    side_rows: list[SideRow] = field(default_factory=list)
    dead: list[DeadSample] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    #: called with each sample instead of adding it to `samples`: payloads that are kept cost fresh memory each
    emit: Callable[[Sample], None] | None = None
    revised: bool = False

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """Adds to the counter `name` for `label` (a stream, a reason …)."""
        self.counts[name, label] = self.counts.get((name, label), 0) + by

    def __bool__(self) -> bool:
        return bool(self.samples or self.side_rows or self.dead)
