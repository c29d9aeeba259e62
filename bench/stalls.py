"""Reads from a worker's metrics how long its event loop has stood still."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from bench.processes import Process

STALLS = "samplejoin_event_loop_stall_seconds"


def stalls(process: Process) -> dict[str, float]:
    """Returns how often a worker's loop has stalled, by bucket bound in seconds; empty without metrics."""
    port = process.command.environment.get("SAMPLEJOIN_WEB_PORT")
    if port is None:
        return {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {each.labels["le"]: each.value for each in families[STALLS].samples if each.name == f"{STALLS}_bucket"}


def longest_stall_s(before: Iterable[dict[str, float]], after: Iterable[dict[str, float]]) -> float:
    """Returns the lowest bound that no stall between two readings exceeded, the worst of all workers."""

    def bound(old: dict[str, float], new: dict[str, float]) -> float:
        count = {float(le): new[le] - old.get(le, 0.0) for le in new}
        return min(le for le, under in count.items() if under == count[float("inf")])

    return max(bound(old, new) for old, new in zip(before, after, strict=True))
