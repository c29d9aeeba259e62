"""The benchmark job's functions: plain, as an ML engineer writes them."""

from typing import Any


def clean_impression(record: dict[str, Any]) -> dict[str, Any] | None:
    """Drops impressions that were not seen."""
    return record if record["pos"] >= 0 else None


def clean_action(record: dict[str, Any]) -> dict[str, Any]:
    """One column per kind of action, so that the job file can aggregate them."""
    action = record["action"]
    row = {"uid": record["uid"], "mid": record["mid"], "ts": record["ts"]}
    if action == "dwell":
        row["dwell"] = record["value"]
    else:
        row[action] = 1
    return row
