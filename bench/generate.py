"""The benchmark's events: impressions and actions of a feed, deterministic, with the true result of their join."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

START_MS = 1_760_000_000_000
PARTITIONS = 4
SCENES = ("feed", "hot", "search", "video")
DEVICES = ("android", "ios", "web")
ACTIONS = ("click", "like", "repost", "comment", "dwell")


HOT = "u-hot", "m-hot"


class Shape(NamedTuple):
    """Changes for special loads: the density of event time, which decides how many keys are open at once, and the
    share of all events that one key has."""

    impressions_per_ms: int = 10
    hot_share: float = 0.0


USUAL = Shape()


def events(impressions: int, shape: Shape = USUAL, seed: int = 7) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(topic, partition, event) in production order: ten impressions a millisecond, 0.3 actions each.

    Actions lag their impression by up to 60 s of event time; 8 % of impressions repeat a recent key; 1 % have pos < 0.
    """
    r, hot = random.Random(seed), random.Random(seed + 1)
    total = int(impressions * 0.3)
    actions = r.choices(ACTIONS, [5, 2, 1, 1, 6], k=total)
    keys: list[tuple[str, str]] = []
    done = 0

    def skewed(n: int) -> int:
        return int(n * (r.random() ** 3))

    for i in range(impressions):
        if keys and r.random() < 0.08:
            uid, mid = keys[r.randrange(max(0, len(keys) - 50_000), len(keys))]
        else:
            uid, mid = f"u{skewed(400_000):07d}", f"m{skewed(2_000_000):08d}"
            keys.append((uid, mid))
        if shape.hot_share and hot.random() < shape.hot_share:
            uid, mid = HOT
        pos = -1 if r.random() < 0.01 else r.randrange(30)
        ts = START_MS + i // shape.impressions_per_ms
        scene, device = r.choice(SCENES), r.choice(DEVICES)
        features = [r.randrange(1_000_000) for _ in range(8)]
        event = {"uid": uid, "mid": mid, "ts": ts, "pos": pos, "scene": scene, "device": device, "feat": features}
        yield "imp", (i // 200) % PARTITIONS, event
        if r.random() < 0.3 and done < total:
            uid, mid = keys[r.randrange(max(0, len(keys) - 20_000), len(keys))]
            action = actions[done]
            done += 1
            lag = r.randrange(60_000)
            if shape.hot_share and hot.random() < shape.hot_share:
                uid, mid = HOT
            value = round(r.expovariate(1 / 12), 2) if action == "dwell" else 1
            event = {"uid": uid, "mid": mid, "ts": ts + lag, "action": action, "value": value}
            yield "act", (done // 200) % PARTITIONS, event


class Truth(NamedTuple):
    """The correct result: by windows of event time, and by key, with windows that hold all events of a key."""

    samples: int
    clicks: int
    keys: int
    key_clicks: int


def truth(impressions: int, window_ms: int, shape: Shape = USUAL, seed: int = 7) -> Truth:
    """Returns the true figures of the same `events`, by a separate join over sorted event times."""
    shown: dict[tuple[str, str], list[int]] = {}
    clicked: dict[tuple[str, str], list[int]] = {}
    for topic, _, event in events(impressions, shape, seed):
        key = (event["uid"], event["mid"])
        if topic == "imp" and event["pos"] >= 0:
            shown.setdefault(key, []).append(event["ts"] // 1000)
        elif topic == "act" and event["action"] == "click":
            clicked.setdefault(key, []).append(event["ts"] // 1000)
    samples = clicks = 0
    for key, seconds in shown.items():
        end = -1
        windows = []
        for second in sorted(seconds):
            if second >= end:
                end = second + window_ms // 1000
                windows.append((second, end))
        samples += len(windows)
        clicks += sum(1 for c in clicked.get(key, ()) if any(a <= c < b for a, b in windows))
    key_clicks = sum(len(seconds) for key, seconds in clicked.items() if key in shown)
    return Truth(samples, clicks, len(shown), key_clicks)


def preload(bootstrap: str, impressions: int, shape: Shape = USUAL) -> int:
    """Produces all events and returns their number."""
    from confluent_kafka import Producer

    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "lz4", "batch.size": 262_144,
        "queue.buffering.max.messages": 500_000, "queue.buffering.max.kbytes": 1 << 20,
    })  # fmt: skip
    count = 0
    for topic, partition, event in events(impressions, shape):
        while True:
            try:
                producer.produce(topic, orjson.dumps(event), partition=partition)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if count % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    # The end of the input: records that are dropped in cleaning, but whose time closes the last windows.
    end = {
        "uid": "",
        "mid": "",
        "ts": START_MS + impressions // shape.impressions_per_ms + 600_000,
        "pos": -1,
        "action": "end",
        "value": 0,
    }
    for topic in ("imp", "act"):
        for partition in range(PARTITIONS):
            producer.produce(topic, orjson.dumps(end), partition=partition)
    producer.flush()
    return count
