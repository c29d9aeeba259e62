"""Faust as its documentation shows it: an agent per input, a repartition topic, a table in RocksDB with a changelog."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import faust

WINDOW_S = 10.0
E = os.environ
FIRST = Path(E["RUN_DIR"]) / f"first-{os.getpid()}"
app = faust.App(
    E["RUN_ID"],
    broker=f"kafka://{E['BROKER']}",
    store="rocksdb://?driver=rocksdict",
    datadir=f"{E['RUN_DIR']}/data{E['PROC']}",
    topic_partitions=4,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    producer_linger=0.05,
    key_serializer="raw",
    value_serializer="json",
    web_enabled=False,
)
impressions = app.topic(E["IMP"], value_serializer="json")
actions = app.topic(E["ACT"], value_serializer="json")
samples = app.topic(E["OUT"], value_serializer="json")
pairs = app.topic(f"{E['RUN_ID']}-pairs", partitions=4, internal=True, key_type=str)
table = app.Table(f"{E['RUN_ID']}-state", partitions=4, key_type=str)
#: (start, key) in order of start
due: deque[tuple[float, str]] = deque()
started = False


def mark() -> None:  # the benchmark's: work begins
    global started
    if not started:
        started = True
        FIRST.touch()


@app.agent(impressions)
async def on_impression(stream: Any) -> None:
    async for event in stream:
        mark()
        if event["pos"] >= 0:
            await pairs.send(key=f"{event['uid']}|{event['mid']}", value=event)


@app.agent(actions)
async def on_action(stream: Any) -> None:
    async for event in stream:
        mark()
        await pairs.send(key=f"{event['uid']}|{event['mid']}", value=event)


@app.agent(pairs)
async def join(stream: Any) -> None:
    async for key, event in stream.items():
        state = table.get(key)
        if "expire" in event:
            if state is not None and state["start"] == event["expire"]:
                del table[key]
                if state["imps"]:
                    await samples.send(value=sample(state))
            continue
        if state is None:
            state = {
                "start": time.time(), "imp": None, "imps": 0, "clicks": 0, "likes": 0, "dwell_sum": 0.0,
                "dwell_max": 0.0, "last_ts": 0,
            }  # fmt: skip
            due.append((state["start"], key))
        table[key] = update(state, event)


@app.timer(1.0)
async def sweep() -> None:
    # A timer may not change the table, so it sends a marker to the key's partition, and the agent ends the window.
    limit = time.time() - WINDOW_S
    while due and due[0][0] <= limit:
        start, key = due.popleft()
        await pairs.send(key=key, value={"expire": start})


@app.task
async def rebuild() -> None:  # after a restart: the windows that were open
    due.extend(sorted((state["start"], key) for key, state in table.items()))


def update(state: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    action = event.get("action")
    if action is None:
        state["imps"] += 1
        if state["imp"] is None:
            state["imp"] = event
    elif action == "click":
        state["clicks"] += 1
    elif action == "like":
        state["likes"] += 1
    elif action == "dwell":
        state["dwell_sum"] += event["value"]
        state["dwell_max"] = max(state["dwell_max"], event["value"])
    state["last_ts"] = max(state["last_ts"], event["ts"])
    return state


def sample(state: dict[str, Any]) -> dict[str, Any]:
    start = state.pop("start")
    return {
        **state.pop("imp"), **state, "label": state["clicks"] > 0, "window_end_ms": int((start + WINDOW_S) * 1000),
    }  # fmt: skip


if __name__ == "__main__":
    app.main()
