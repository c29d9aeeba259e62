"""The benchmark job's functions, each some microseconds of processor time slower: BENCH_SLOW_US."""

import os
import time
from typing import Any

import functions  # type: ignore[import-not-found]  # beside this file, where the job looks

SLOW_S = int(os.environ.get("BENCH_SLOW_US", "0")) / 1e6


def _spend() -> None:
    end = time.perf_counter() + SLOW_S
    while time.perf_counter() < end:
        pass


def clean_impression(record: dict[str, Any]) -> dict[str, Any] | None:
    """As `functions.clean_impression`."""
    _spend()
    row: dict[str, Any] | None = functions.clean_impression(record)
    return row


def clean_action(record: dict[str, Any]) -> dict[str, Any]:
    """As `functions.clean_action`."""
    _spend()
    row: dict[str, Any] = functions.clean_action(record)
    return row
