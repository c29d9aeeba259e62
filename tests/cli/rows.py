"""Functions of jobs for tests: `clean` does with a record what it says."""

from __future__ import annotations

import json
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
        case "say":
            raise ValueError(record["pos"] + "\ud800")
        case "large":
            return {**record, "pos": "x" * 2000}
        case "text":
            return "text"
    return record


def asking(record: dict[str, Any]) -> Any:
    """Asks for fields that are there, that are misspelt, and that no record has."""
    record.get("pos"), record.get("poss"), "channel" in record, record.pop("device", None)
    return record


def label(sample: dict[str, Any]) -> int:
    return int(bool(sample.get("click")))


def loud(sample: dict[str, Any]) -> int:
    raise ValueError(sample["pos"] + "\ud800")


def written(sample: dict[str, Any]) -> bytes:
    sample.get("nothing_like_it")
    return json.dumps(sample).encode()
