"""The records of a job's output topics as a test sees them: samples and dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samplejoin.cleaning.cleaned import DeadRecord
from samplejoin.core.keys import decode_key
from samplejoin.engine.dead_letters import original
from samplejoin.formats import json
from samplejoin.samples import read_headers


@dataclass(frozen=True)
class Sent:
    """A record of an output topic."""

    topic: str
    key: bytes
    value: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class FinishedSample:
    """A sample as a reader of the samples topic gets it. `body` is a dict if the value is a JSON object, else bytes."""

    body: Any
    #: the values of the join key
    key: list[Any]
    sample_id: str
    revision: int
    weight: float
    #: weight of the revision that this one replaces; None for revision 0
    previous_weight: float | None
    #: False if `max_wait` had left out the streams in `missing` when the window closed
    complete: bool
    missing: tuple[str, ...]
    truncated: bool
    #: start of the window in event time, epoch ms
    window_ms: int
    value: bytes


@dataclass(frozen=True)
class DeadLetter:
    """A record or a sample that could not be used. For records, `source` is `topic/partition/offset`."""

    reason: str
    function: str
    error: str
    traceback: str
    stream: str
    source: str
    value: bytes


def sample_of(sent: Sent, windows: Mapping[str, int]) -> FinishedSample:
    """Reads a record of the samples topic. `windows` has the start of each sample's window, by sample id."""
    said = read_headers((name, text.encode()) for name, text in sent.headers.items())
    return FinishedSample(
        body=_body(sent.value),
        key=decode_key(sent.key),
        sample_id=said.sample_id,
        revision=said.revision,
        weight=said.weight,
        previous_weight=said.previous_weight,
        complete=said.complete,
        missing=said.missing,
        truncated=said.truncated,
        window_ms=windows[said.sample_id],
        value=sent.value,
    )


def _body(value: bytes) -> Any:
    try:
        body = json.loads(value)
    except ValueError:
        return value
    return body if isinstance(body, dict) else value


def letter_of(sent: Sent) -> DeadLetter:
    """Reads a record of the dead-letter topic that was a sample."""
    said = {name.removeprefix("samplejoin."): text for name, text in sent.headers.items()}
    parts = {name: said.get(name, "") for name in ("reason", "function", "error", "traceback", "stream", "source")}
    return DeadLetter(**parts, value=sent.value)


def record_letter_of(letter: DeadRecord) -> DeadLetter:
    """Returns the dead letter that the clean agent would send for a record."""
    source = f"{letter.topic}/{letter.partition}/{letter.offset}"
    value = original(letter.record)
    return DeadLetter(letter.reason, letter.function, letter.error, letter.traceback, letter.stream, source, value)
