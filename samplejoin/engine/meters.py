"""Where the engine counts: implemented by `samplejoin.worker.metrics`, so that the engine needs no metrics library."""

from __future__ import annotations

from typing import Protocol


class Meters(Protocol):
    """Counters and gauges by name and label values."""

    def add(self, name: str, labels: tuple[str, ...], by: float = 1) -> None:
        """Raises a counter."""

    def set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Sets a gauge."""

    def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Adds to a histogram."""
