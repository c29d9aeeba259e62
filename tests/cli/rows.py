"""A cleaning function for tests: a record says what becomes of it."""

from __future__ import annotations

from typing import Any


def clean(record: dict[str, Any]) -> Any:
    match record.pop("do", None):
        case "none":
            return None
        case "empty":
            return []
        case "twice":
            return [record, {**record, "mid": 2}]
        case "late":
            return {**record, "ts": 1_735_689_570_000}
        case "seconds":
            return {**record, "ts": record["ts"] / 1000}
        case "raise":
            raise LookupError("no such thing")
        case "large":
            return {**record, "pos": "x" * 2000}
        case "text":
            return "text"
    return record
