"""What happens to OTTO's events and samples. Plain functions: they depend on nothing but their argument."""

from __future__ import annotations

from datetime import UTC, datetime

from samplejoin.udf import Record, Row, Sample


def clean_click(record: Record) -> Row | None:
    """The row of a click; None filters the replay's heartbeats, whose event time still moves the clock."""
    if record["type"] == "heartbeat":
        return None
    return {name: record[name] for name in ("event_id", "session", "aid", "ts")}


def clean_label(record: Record) -> Row | None:
    """The row of a cart or an order: the same fields."""
    return clean_click(record)


def format_sample(sample: Sample) -> Sample:
    """What the trainer gets: the time of day as a feature, and how long cart and order took, in seconds."""
    clicked_at = sample["clicked_at"]
    moment = datetime.fromtimestamp(clicked_at / 1000, UTC)
    return {
        "session": sample["session"],
        "aid": sample["aid"],
        "clicked_at": moment.isoformat(timespec="milliseconds"),
        "hour": moment.hour,
        "weekday": moment.isoweekday(),
        "clicks": sample["clicks"],
        "carts": sample["carts"],
        "cart_delay_s": seconds_between(clicked_at, sample["cart_at"]),
        "orders": sample["orders"],
        "order_delay_s": seconds_between(clicked_at, sample["order_at"]),
        "label": sample["label"],
    }


def seconds_between(start_ms: int, end_ms: int | None) -> float | None:
    """Seconds from one time to another; None if there is no second one."""
    return None if end_ms is None else (end_ms - start_ms) / 1000
