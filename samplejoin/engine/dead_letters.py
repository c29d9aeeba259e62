"""Dead letters: what could not be used, with where it stood and why (rule 12). One format for records and samples."""

from __future__ import annotations

from typing import Any

from samplejoin.core.refused_record import Refused

MAX_ORIGINAL_BYTES = 64 << 10
MAX_TRACEBACK_BYTES = 8 << 10


def headers_of(**fields: Any) -> list[tuple[str, bytes]]:
    """Kafka headers of a dead letter; the names are the job's contract with its readers."""
    return [
        (f"samplejoin.{name}", text.encode("utf-8", "replace")[:MAX_TRACEBACK_BYTES])
        for name, value in fields.items()
        if (text := str(value)) != ""
    ]


def original(record: Any) -> bytes:
    """As much of a record's value as its dead letter carries."""
    value: bytes | None = record.head if type(record) is Refused else record.value
    return (value or b"")[:MAX_ORIGINAL_BYTES]


def length_of(record: Any) -> int:
    """Bytes of a record's value."""
    return record.length if type(record) is Refused else len(record.value or b"")
