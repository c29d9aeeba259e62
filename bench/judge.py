"""Judges a run: reads its samples back from Kafka and compares them with the truth."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from bench.fetch import committed
from bench.generate import PARTITIONS, Truth

ALWAYS = (0, 1 << 62)
WindowEnd = Callable[[dict[str, Any]], int | None]
"""The end of a sample's window, ms since the epoch; None where the sample does not tell."""


class Found(NamedTuple):
    """The samples of a topic, summed up; times are the broker's, in ms."""

    samples: int
    keys: int
    impressions: int
    clicks: int
    last_ms: int
    #: from a window's end to when its sample could be read, rising
    delays_ms: list[int]


def named_end(sample: dict[str, Any]) -> int | None:
    """Returns the end of the window that a peer's sample names."""
    end: int | None = sample.get("window_end_ms")
    return end


def read_samples(
    bootstrap: str, topic: str, window_end: WindowEnd = named_end, between_ms: tuple[int, int] = ALWAYS
) -> Found:
    """Reads the topic to its end. Delays are of windows that end `between_ms`."""
    return asyncio.run(_read(bootstrap, topic, window_end, between_ms))


async def _read(bootstrap: str, topic: str, window_end: WindowEnd, between_ms: tuple[int, int]) -> Found:
    samples = impressions = clicks = last_ms = 0
    # hashes of 64 bits: with five million keys a collision has a chance of one in a million, and a set of them is small
    keys: set[int] = set()
    delays_ms = array("q")
    async for visible_ms, value in committed(bootstrap, topic, PARTITIONS):
        sample = orjson.loads(value)
        samples += 1
        impressions += sample["imps"]
        clicks += sample["clicks"]
        keys.add(hash((sample["uid"], sample["mid"])))
        last_ms = max(last_ms, visible_ms)
        end_ms = window_end(sample)
        if end_ms is not None and between_ms[0] < end_ms <= between_ms[1]:
            delays_ms.append(visible_ms - end_ms)
    return Found(samples, len(keys), impressions, clicks, last_ms, sorted(delays_ms))


def verdict(found: Found, truth: Truth, event_time: bool) -> dict[str, Any]:
    """Returns whether the run is right, and the expected figures.

    Windows of event time have one right outcome. Of windows of the machine's clock every key must come, and every click
    of a key that was shown; one key may come twice, if its events are further apart than the window.
    """
    expected = (truth.samples, truth.clicks) if event_time else (truth.keys, truth.key_clicks)
    reached = (found.samples if event_time else found.keys, found.clicks)
    right = reached == expected and found.keys == truth.keys
    return {
        "right": right, "samples": found.samples, "keys": found.keys, "expected_samples": expected[0],
        "clicks": found.clicks, "expected_clicks": expected[1],
    }  # fmt: skip


def quantiles_ms(delays_ms: list[int]) -> dict[str, int] | None:
    """Returns p50, p99 and maximum of ascending values; None if there are none."""
    if not delays_ms:
        return None
    last = len(delays_ms) - 1
    return {"p50": delays_ms[last // 2], "p99": delays_ms[last * 99 // 100], "max": delays_ms[last]}
