"""Dead letters: what could not be used, with where it stood and why (rule 12). One format for records and samples."""

from __future__ import annotations

from typing import Any

MAX_ORIGINAL_BYTES = 64 << 10
MAX_TRACEBACK_BYTES = 8 << 10


def headers_of(**fields: Any) -> list[tuple[str, bytes]]:
    """Kafka headers of a dead letter; the names are the job's contract with its readers."""
    return [
        (f"samplejoin.{name}", text.encode("utf-8", "replace")[:MAX_TRACEBACK_BYTES])
        for name, value in fields.items()
        if (text := str(value)) != ""
    ]


def original(value: bytes | None) -> bytes:
    """As much of the original as a dead letter carries."""
    return (value or b"")[:MAX_ORIGINAL_BYTES]
