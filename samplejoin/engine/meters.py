"""The engine's interface to metrics; `samplejoin.worker.metrics` implements it, so the engine needs no library."""

from __future__ import annotations

from typing import Protocol


class Meters(Protocol):
    """Counters, gauges and histograms by name and label values."""

    def add(self, name: str, labels: tuple[str, ...], by: float = 1) -> None:
        """Increases a counter."""

    def set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Sets a gauge."""

    def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Adds a value to a histogram."""
