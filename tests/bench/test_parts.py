"""The benchmark's arithmetic: medians, ratios within a round, verdicts, the truth, the command line."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from bench import large
from bench.__main__ import main, options_of, order, rates_of, report
from bench.cost import settings_of
from bench.generate import HOT, PARTITIONS, START_MS, Shape, Truth, events, truth
from bench.judge import Found, quantiles_ms, verdict
from bench.live import closable
from bench.processes import Command, Process, SystemFailed, rss_mb
from bench.run import Samples
from bench.stalls import longest_stall_s
from bench.systems import BUILT, SYSTEMS, Run
from bench.table import by_system, costs_table, delays_table, ratios, ratios_table, spread
from tests.integration.support import wait_for


def result(system, round_, cost, **given):
    return {
        "system": system, "round": round_, "cpu_s_per_million": cost, "events_per_s": 1000, "events_per_s_of_span": 500,
        "peak_mb": 700, "delay_ms": None, "right": True, "event_time": False, "samples": 10, "keys": 9,
        "expected_samples": 9, "clicks": 5, "expected_clicks": 5, **given,
    }  # fmt: skip


# ---- table ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "-"),
        ([3.14], "3.1"),
        ([5, 1, 3], "3.0 (1.0-5.0)"),
        ([4, 2], "3.0 (2.0-4.0)"),
        ([12345.5, 1234.5], "6,790.0 (1,234.5-12,345.5)"),
    ],
)
def test_spread_is_median_and_range(values, said):
    assert spread(values) == said


def test_ratios_are_taken_within_a_round():
    results = [
        result("ours", 1, 20.0), result("flink-rocksdb", 1, 40.0),
        result("flink-rocksdb", 2, 30.0), result("ours", 2, 30.0),
        result("ours", 3, 99.0),  # its base failed in this round
        {"system": "flink-rocksdb", "round": 3, "error": "ended"},
    ]  # fmt: skip
    assert ratios(results, "ours", "flink-rocksdb") == [0.5, 1.0]
    assert ratios(results, "flink-rocksdb", "ours") == [2.0, 1.0]
    assert ratios(results, "ours", "quix") == []


def test_the_bases_are_held_against_those_they_are_meant_for():
    results = [result(name, 1, cost) for name, cost in (("ours", 24.0), ("floor", 12.0), ("flink-rocksdb", 48.0))]
    assert ratios_table(results).splitlines() == [
        "| cost of | over flink-rocksdb | over floor |",
        "| --- | --- | --- |",
        "| ours | 0.50 | 2.00 |",
        "| floor | 0.25 | - |",
    ]
    assert ratios_table([result("quix", 1, 100.0)]) == ""


def test_a_system_that_failed_says_so():
    results = [{"system": "faust", "round": 1, "error": "ended"}, result("ours", 1, 20.0)]
    assert by_system(results)["faust"] == []
    lines = costs_table(results).splitlines()
    assert lines[2].startswith("| faust | failed | - |")
    assert lines[3] == "| ours | 20.0 | 1,000 | 500 | 700 | - | right |"


def test_labels_that_were_lost_are_shown():
    runs = [result("quix", 1, 100.0, right=False, clicks=2), result("quix", 2, 100.0, right=False, clicks=4, keys=8)]
    assert costs_table(runs).endswith("| 2-4 of 5 clicks; 1 samples missing |")


def test_delays_are_shown_in_seconds():
    run = {
        "system": "ours", "rate": 20_000, "delay_ms": {"p50": 1500, "p99": 2250, "max": 3000}, "stall_below_s": 0.2,
        "impressions": 7, "expected_impressions": 7,
    }  # fmt: skip
    assert delays_table([run]).endswith("| ours | 20,000 | 1.50 / 2.25 / 3.00 | below 0.2 s | all |")


def test_a_report_is_written(tmp_path):
    text = report([{"system": "ours", "round": 1, "error": "ended"}], 1000, tmp_path)
    assert (tmp_path / "table.md").read_text() == text + "\n"
    assert "1,000 impressions and their actions, 1 round;" in text


# ---- truth ----------------------------------------------------------------------------------------------------------


def test_the_truth_by_key_counts_keys_and_their_clicks():
    shown: set[tuple[str, str]] = set()
    clicks: Counter[tuple[str, str]] = Counter()
    for topic, _, event in events(3000):
        if topic == "imp" and event["pos"] >= 0:
            shown.add((event["uid"], event["mid"]))
        elif topic == "act" and event["action"] == "click":
            clicks[event["uid"], event["mid"]] += 1
    found = truth(3000, 70_000)
    assert (found.keys, found.key_clicks) == (len(shown), sum(n for key, n in clicks.items() if key in shown))


def test_a_shorter_window_makes_more_samples_and_loses_clicks():
    long, short = truth(30_000, 120_000), truth(30_000, 1000)
    assert long.samples == long.keys == short.keys < short.samples
    assert short.clicks < long.clicks


def test_events_of_another_shape():
    dense = [event["ts"] for topic, _, event in events(2000, Shape(impressions_per_ms=100)) if topic == "imp"]
    assert max(dense) - min(dense) == 2000 // 100 - 1
    hot = [(e["uid"], e["mid"]) == HOT for _, _, e in events(5000, Shape(hot_share=0.5))]
    assert 0.48 < sum(hot) / len(hot) < 0.52
    assert truth(5000, 70_000, Shape(hot_share=1.0)).keys == 1


def test_settings_reach_the_job_by_its_environment():
    options = argparse.Namespace(slow_us=0, set=["limits.cache_keys=5", "window=20m"])
    expected = {"BENCH_SLOW_US": "0", "SAMPLEJOIN_LIMITS__CACHE_KEYS": "5", "SAMPLEJOIN_WINDOW": "20m"}
    assert settings_of(options) == expected


RIGHT = Found(samples=10, keys=9, impressions=12, clicks=5, last_ms=0, delays_ms=[])
TRUTH = Truth(samples=10, clicks=5, keys=9, key_clicks=6)


@pytest.mark.parametrize(
    ("found", "event_time", "right"),
    [
        (RIGHT, True, True),
        (RIGHT._replace(samples=11), True, False),
        (RIGHT._replace(clicks=4), True, False),
        (RIGHT._replace(keys=8), True, False),
        (RIGHT, False, False),  # a click less than by key
        (RIGHT._replace(clicks=6), False, True),
        (RIGHT._replace(clicks=6, samples=11), False, True),  # a window that the machine's clock has cut in two
        (RIGHT._replace(clicks=6, keys=8), False, False),
    ],
)
def test_verdict(found, event_time, right):
    assert verdict(found, TRUTH, event_time)["right"] is right


@pytest.mark.parametrize(
    ("delays_ms", "said"),
    [([], None), ([7], (7, 7, 7)), (list(range(101)), (50, 99, 100)), ([1, 2], (1, 1, 2))],
)
def test_quantiles(delays_ms, said):
    assert quantiles_ms(delays_ms) == (said and dict(zip(("p50", "p99", "max"), said, strict=True)))


def test_a_window_of_ours_can_close_when_events_are_lateness_past_its_end():
    assert closable({"ts": START_MS + 1999}) == START_MS + 12_000


def test_the_longest_stall_is_the_lowest_bound_that_holds():
    before = {"0.1": 5.0, "0.2": 5.0, "+Inf": 6.0}
    assert longest_stall_s([before], [{"0.1": 9.0, "0.2": 9.0, "+Inf": 10.0}]) == 0.1
    assert longest_stall_s([before], [{"0.1": 8.0, "0.2": 9.0, "+Inf": 10.0}]) == 0.2
    assert longest_stall_s([before], [{"0.1": 8.0, "0.2": 8.0, "+Inf": 10.0}]) == float("inf")


# ---- command line ---------------------------------------------------------------------------------------------------


def test_options_have_defaults():
    options = options_of([])
    assert (options.rounds, options.systems, options.impressions) == (3, list(SYSTEMS), 1_000_000)
    assert options.out == BUILT
    assert options_of(["--long"]).impressions == 5_000_000
    assert options_of(["--long"]).out == BUILT / "long"
    assert options_of(["--delay"]).systems == ["ours"]
    assert options_of(["--systems", "floor,ours-2", "--out", "x"]).systems == ["floor", "ours-2"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--systems", "ours,storm"], "there is no storm; there are ours, ours-2, floor"),
        (["--rounds", "0"], "must be at least 1"),
        (["--long", "--impressions", "5"], "not allowed with"),
        (["--delay", "--rate", "0"], "must be at least 1"),
        (["--set", "window=5s"], "--rate and --set go with --delay"),
    ],
)
def test_mistakes_are_named(argv, said, capsys):
    with pytest.raises(SystemExit):
        options_of(argv)
    assert said in capsys.readouterr().err


def test_every_round_begins_one_system_later():
    assert list(order(["a", "b", "c"], 4)) == [
        (1, "a"), (1, "b"), (1, "c"), (2, "b"), (2, "c"), (2, "a"), (3, "c"), (3, "a"), (3, "b"),
        (4, "a"), (4, "b"), (4, "c"),
    ]  # fmt: skip


def test_what_is_not_set_up_is_named(monkeypatch, tmp_path):
    there, away = tmp_path, tmp_path / "away"
    monkeypatch.setitem(SYSTEMS, "quix", SYSTEMS["quix"]._replace(needs=away))
    monkeypatch.setitem(SYSTEMS, "bytewax", SYSTEMS["bytewax"]._replace(needs=there))
    with pytest.raises(SystemExit, match=f"^quix needs {away}\n`make bench` sets it up"):
        main(["--systems", "ours,quix,bytewax", "--out", str(tmp_path)])


def test_delays_are_measured_at_a_share_of_the_rate_found(tmp_path):
    options = options_of(["--delay", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="has no rate of ours"):
        rates_of(options)
    runs = [result("ours", n, 20.0, events_per_s_of_span=rate) for n, rate in enumerate((900, 1000, 2000))]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    assert rates_of(options) == {"ours": 700}
    assert rates_of(options_of(["--delay", "--out", str(tmp_path), "--rate", "15000"])) == {"ours": 15_000}


def test_a_broker_that_does_not_know_a_new_topic_yet_says_no_number():
    def watermarks(partition: Any, timeout: float) -> tuple[int, int]:
        answer = answers.pop(0)
        if answer is None:
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return 0, answer

    answers = [None, *[2] * PARTITIONS, 3, None]
    samples: Any = object.__new__(Samples)
    samples._topic, samples._seen = "out", 0
    samples._consumer = SimpleNamespace(get_watermark_offsets=watermarks)
    assert [samples.written() for _ in range(3)] == [0, 2 * PARTITIONS, 2 * PARTITIONS]


# ---- processes ------------------------------------------------------------------------------------------------------


def shell(text: str, log: Path) -> Process:
    return Process(Command(["sh", "-c", text], {}), log)


def test_children_are_counted_and_ended(tmp_path):
    process = shell(f"cd {tmp_path}; sleep 1000 & echo $! > new; mv new child; wait", tmp_path / "log")
    wait_for((tmp_path / "child").exists, 30, process.log_tail)
    process.look()
    shell_mb = rss_mb(process.pid)
    process.stop()
    assert process.peak_mb > shell_mb > 0
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    wait_for(lambda: not child.exists() or ") Z " in child.read_text(), 30, lambda: "the child lives on")


def test_cpu_between_two_looks_is_in_proportion(tmp_path):
    process = shell("true", tmp_path / "log")
    process.finish()
    process.seen = [(10.0, 0.0), (12.0, 1.0), (14.0, 5.0)]
    assert [process.cpu_s_at(at_s) for at_s in (9.0, 11.0, 12.0, 13.0, 20.0)] == [0.0, 0.5, 1.0, 3.0, 5.0]


def test_a_process_that_ends_by_itself_is_a_failure(tmp_path):
    process = shell("echo no such option; exit 2", tmp_path / "process-0.log")
    with pytest.raises(SystemFailed, match="process process-0 ended with status 2:\nno such option"):
        process.finish()
    with pytest.raises(SystemFailed, match="ended with status 2"):
        process.look()
    process.stop()


@pytest.mark.parametrize(
    ("version", "file"), [(1, "memory/samplejoin-x/memory.limit_in_bytes"), (2, "samplejoin-x/memory.max")]
)
def test_a_system_under_a_limit_enters_its_cgroup_first(tmp_path, monkeypatch, version, file):
    """Against folders in place of the kernel's: what is written where."""
    (tmp_path / "memory").mkdir()
    if version == 2:
        (tmp_path / "cgroup.controllers").touch()
    monkeypatch.setattr(large, "V1", tmp_path / "memory")
    monkeypatch.setattr(large, "V2", tmp_path)
    folder = large.group_of("x", 3)
    assert (tmp_path / file).read_text() == str(3 << 20)
    (command,) = large.inside(folder, lambda run: [Command(["echo", "a b"], {})], ("more",))(Run("x", "", tmp_path))
    assert subprocess.run(command.argv, capture_output=True, text=True, check=True).stdout == "a b more\n"
    assert int((folder / "cgroup.procs").read_text()) > 1
