"""Cleaning for the parity tests: a record holds the rows that it gives."""

from __future__ import annotations

from typing import Any


def clean(record: dict[str, Any]) -> Any:
    return record["rows"]


def picky(record: dict[str, Any]) -> dict[str, Any] | None:
    """Drops what says so, and fails where it must."""
    if record.get("fail"):
        raise ValueError("asked for")
    return None if record.get("drop") else record
