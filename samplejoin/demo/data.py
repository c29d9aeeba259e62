"""The events of the two examples, read from their data files. Times are epoch milliseconds."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zlib import crc32

import orjson

import samplejoin
from samplejoin.demo.errors import DemoError

CLICK_DELAY_MEDIAN_S = 10.0
CLICK_DELAY_SIGMA = 1.2
SEED = 20191124


@dataclass(frozen=True)
class Event:
    """A record to send to an input stream. `key` decides its topic partition."""

    stream: str
    time_ms: int
    key: str
    value: bytes

    def partition(self, partitions: int) -> int:
        """Returns the partition that the event goes to."""
        return crc32(self.key.encode()) % partitions


@dataclass(frozen=True)
class Dataset:
    """One example: its folder below `examples/`, its events in time order, and texts about it."""

    name: str
    title: str
    load: Callable[[Path], list[Event]]
    #: label stream -> the sample field with its delay in seconds
    delays: dict[str, str]
    note: str
    #: sample field whose values are experiment arms, to be compared
    arms: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of its job file and data. Raises DemoError if they are not installed."""
        folder = Path(samplejoin.__file__).resolve().parents[1] / "examples" / self.name
        if not (folder / "job.yaml").is_file():
            raise DemoError(f"{folder} is missing: the demo's data are only in a clone, run `make demo` there")
        return folder

    def events(self) -> list[Event]:
        """Returns all events in time order."""
        return self.load(self.folder / "data")


def otto_events(data: Path) -> list[Event]:
    """Returns the clicks, carts and orders of OTTO's sessions, each type in its own stream."""
    streams = {"clicks": "click", "carts": "cart", "orders": "order"}
    events = []
    with (data / "train.jsonl").open("rb") as lines:
        for line in lines:
            session = orjson.loads(line)
            for number, event in enumerate(session["events"]):
                value = {"event_id": f"{session['session']}-{number}", "session": session["session"], **event}
                stream = streams[event["type"]]
                events.append(Event(stream, event["ts"], str(session["session"]), orjson.dumps(value)))
    return sorted(events, key=lambda event: event.time_ms)


def bandit_events(data: Path) -> list[Event]:
    """Returns the impressions of both policies, and their clicks with log-normal delays drawn from a fixed seed."""
    events: list[Event] = []
    for policy in ("bts", "random"):
        draw = random.Random(f"{SEED} {policy}")
        features = {row["item_id"]: float(row["item_feature_0"]) for row in _rows(data, policy, "item_context")}
        for number, row in enumerate(_rows(data, policy, "men")):
            request_id = f"{policy}-{number}"
            shown_at = _epoch_ms(row["timestamp"])
            impression = _impression(row, request_id, policy, shown_at, features[row["item_id"]])
            events.append(Event("impression", shown_at, request_id, orjson.dumps(impression)))
            if row["click"] == "1":
                delay_s = draw.lognormvariate(math.log(CLICK_DELAY_MEDIAN_S), CLICK_DELAY_SIGMA)
                clicked_at = shown_at + round(delay_s * 1000)
                click = {"type": "click", "request_id": request_id, "ts": clicked_at}
                events.append(Event("click", clicked_at, request_id, orjson.dumps(click)))
    return sorted(events, key=lambda event: event.time_ms)


def _impression(
    row: dict[str, str], request_id: str, policy: str, shown_at: int, item_feature: float
) -> dict[str, object]:
    item = row["item_id"]
    return {
        "type": "impression",
        "request_id": request_id,
        "ts": shown_at,
        "policy": policy,
        "item_id": int(item),
        "position": int(row["position"]),
        "propensity": float(row["propensity_score"]),
        "affinity": float(row[f"user-item_affinity_{item}"]),
        "item_feature": item_feature,
        "user_features": [row[f"user_feature_{n}"] for n in range(4)],
    }


def _rows(data: Path, policy: str, name: str) -> Iterator[dict[str, str]]:
    with gzip.open(data / f"{policy}-men" / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _epoch_ms(text: str) -> int:
    return math.floor(datetime.fromisoformat(text).timestamp() * 1000)


EXAMPLES = {
    "otto": Dataset(
        "otto",
        "OTTO: clicks of a web shop, with the carts and orders that follow (CC BY 4.0; Normann, Baumeister, Wilm 2023)",
        otto_events,
        {"cart": "cart_delay_s", "order": "order_delay_s"},
        "Delays are as in the data. Orphans have no click on that product in the 30 minutes before them.",
    ),
    "open-bandit": Dataset(
        "open-bandit",
        "Open Bandit: recommendations of a fashion shop, with their clicks (ZOZO, Inc.; Saito et al. 2020)",
        bandit_events,
        {"click": "click_delay_s"},
        "Which impressions were clicked is real. The data have no click times: they are drawn here, log-normal from a "
        f"fixed seed, median {CLICK_DELAY_MEDIAN_S:.0f} s.",
        arms="policy",
    ),
}
