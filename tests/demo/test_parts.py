"""The examples' functions and data, and the parts of the demo that need no broker."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from samplejoin.demo.data import CLICK_DELAY_MEDIAN_S, EXAMPLES
from samplejoin.demo.errors import DemoError
from samplejoin.demo.process import LOG_LINES, WorkerProcess
from samplejoin.demo.summary import quantiles

HEARTBEAT = {"type": "heartbeat", "ts": 1_659_304_800_025}


def functions(example: str) -> ModuleType:
    """The example's own module: both are called `functions`."""
    found = importlib.util.spec_from_file_location(f"{example}_functions", EXAMPLES[example].folder / "functions.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.rule(13)
@pytest.mark.parametrize(
    ("example", "name"),
    [("otto", "clean_click"), ("otto", "clean_label"), ("open-bandit", "clean_impression"),
     ("open-bandit", "clean_click")],
)  # fmt: skip
def test_heartbeats_are_filtered(example, name):
    assert getattr(functions(example), name)(HEARTBEAT) is None


def test_otto_rows_and_samples():
    module = functions("otto")
    record = {"event_id": "3-0", "session": 3, "aid": 7, "ts": 1_659_304_800_025, "type": "clicks"}
    assert module.clean_click(record) == {"event_id": "3-0", "session": 3, "aid": 7, "ts": 1_659_304_800_025}
    sample = {
        "session": 3, "aid": 7, "clicked_at": 1_659_304_800_025, "clicks": 2, "carts": 1,
        "cart_at": 1_659_304_811_225, "orders": 0, "order_at": None, "label": 1,
    }  # fmt: skip
    assert module.format_sample(sample) == {
        "session": 3, "aid": 7, "clicked_at": "2022-07-31T22:00:00.025+00:00", "hour": 22, "weekday": 7, "clicks": 2,
        "carts": 1, "cart_delay_s": 11.2, "orders": 0, "order_delay_s": None, "label": 1,
    }  # fmt: skip


def test_open_bandit_rows_and_samples():
    module = functions("open-bandit")
    record = json.loads(EXAMPLES["open-bandit"].events()[0].value)
    row = module.clean_impression(record)
    assert row["position"] in ("left", "center", "right")
    assert "type" not in row
    sample = {**row, "shown_at": row["ts"], "clicks": 1, "click_at": row["ts"] + 1500, "label": 1}
    formatted = module.format_sample(sample)
    assert formatted["click_delay_s"] == 1.5
    assert formatted["user_feature_3"] == row["user_features"][3][:8]
    assert module.format_sample({**sample, "click_at": None})["click_delay_s"] is None


def test_the_events_of_otto_are_the_datas():
    events = EXAMPLES["otto"].events()
    assert Counter(event.stream for event in events) == {"click": 800, "cart": 52, "order": 10}
    assert [event.time_ms for event in events] == sorted(event.time_ms for event in events)


def test_the_events_of_open_bandit_are_the_datas_but_for_the_click_times():
    events = EXAMPLES["open-bandit"].events()
    assert events == EXAMPLES["open-bandit"].events()
    shown = {event.key: event.time_ms for event in events if event.stream == "impression"}
    clicks = [event for event in events if event.stream == "click"]
    assert Counter(click.key.partition("-")[0] for click in clicks) == {"bts": 69, "random": 46}
    assert len(shown) == 20_000
    delays_s = [(click.time_ms - shown[click.key]) / 1000 for click in clicks]
    assert min(delays_s) > 0
    assert CLICK_DELAY_MEDIAN_S / 2 < statistics.median(delays_s) < CLICK_DELAY_MEDIAN_S * 2


@pytest.mark.parametrize("example", EXAMPLES)
def test_licenses_and_attribution_are_there(example):
    folder = EXAMPLES[example].folder
    assert list((folder / "data").glob("LICENSE-*"))
    assert "Attribution" in (folder / "README.md").read_text()


def test_quantiles():
    assert quantiles([]) is None
    assert quantiles([3.0]) == (3.0, 3.0, 3.0)
    assert quantiles(float(n) for n in range(11)) == (5.0, 9.0, 10.0)


def test_a_worker_that_ends_is_said_with_its_last_words(tmp_path: Path):
    worker = WorkerProcess(tmp_path / "no-job.yaml", tmp_path, {})
    try:
        worker._process.wait(30)
        with pytest.raises(DemoError, match="ended with status 1") as error:
            worker.check()
    finally:
        worker.stop()
    assert "there is no such file" in str(error.value)
    assert len(str(error.value).splitlines()) <= LOG_LINES + 1
    assert worker.read() is None
    assert sys.executable not in str(error.value)
