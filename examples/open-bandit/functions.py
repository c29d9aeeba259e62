"""What happens to impressions, clicks and samples. Plain functions: they depend on nothing but their argument."""

from __future__ import annotations

from datetime import UTC, datetime

from samplejoin.udf import Record, Row, Sample

POSITIONS = {1: "left", 2: "center", 3: "right"}


def clean_impression(record: Record) -> Row | None:
    """The row of an impression; None filters the replay's heartbeats, whose event time still moves the clock."""
    if record["type"] == "heartbeat":
        return None
    row = {name: value for name, value in record.items() if name != "type"}
    return {**row, "position": POSITIONS[record["position"]]}


def clean_click(record: Record) -> Row | None:
    """The row of a click."""
    if record["type"] == "heartbeat":
        return None
    return {"request_id": record["request_id"], "ts": record["ts"]}


def format_sample(sample: Sample) -> Sample:
    """What the trainer gets: flat features, the propensity for off-policy learning, the click's delay in seconds."""
    shown_at, click_at = sample["shown_at"], sample["click_at"]
    moment = datetime.fromtimestamp(shown_at / 1000, UTC)
    return {
        "request_id": sample["request_id"],
        "shown_at": moment.isoformat(timespec="milliseconds"),
        "hour": moment.hour,
        "policy": sample["policy"],
        "item_id": sample["item_id"],
        "position": sample["position"],
        "propensity": sample["propensity"],
        "affinity": sample["affinity"],
        "item_feature": sample["item_feature"],
        **{f"user_feature_{n}": value[:8] for n, value in enumerate(sample["user_features"])},
        "click_delay_s": None if click_at is None else (click_at - shown_at) / 1000,
        "label": sample["label"],
    }
