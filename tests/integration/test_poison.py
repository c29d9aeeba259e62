"""Bad records and functions: each ends where the rules say, is counted, and the partition continues."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from samplejoin.core.keys import encode_key
from tests.integration.scenes import edit_job, encoded, letters, outcomes, record, remember, send_raw
from tests.integration.support import START_MS, STREAMS, World, feed, wait_for
from tests.support.kafka import consume_all

pytestmark = pytest.mark.kafka

FUNCTIONS = """
import time


def clean(record):
    do = record.get("do")
    if do == "raise":
        raise RuntimeError(f"cannot clean {record['uid']}")
    if do == "exit":
        raise SystemExit(3)
    if do == "int":
        return 42
    if do == "strings":
        return ["a", "b"]
    if do == "mixed":
        return [record, "nonsense"]
    if do == "nan":
        return {**record, "dwell": float("nan")}
    if do == "block":
        time.sleep(1.8)
    return None if record.get("drop") else record


def format_sample(sample):
    if sample["pos"] == "raise":
        raise ValueError("cannot format")
    if sample["pos"] == "number":
        return 42
    return None if sample["pos"] == "filter" else sample
"""

MEGABYTES = 7_000_000
TOO_MANY = 9_000_000


class Poison:
    """Sends bad records into a world, and knows what must become of each."""

    def __init__(self, world: World) -> None:
        self.world = world
        #: (source, reason) -> the original
        self.dead: dict[tuple[str, str], bytes] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def die(self, reason: str, *values: bytes | None, stream: str = "click", key: bytes | None = None) -> None:
        """Records that become a dead letter."""
        for n, value in enumerate(values):
            partition = n % 4
            (offset,) = send_raw(self.world, stream, partition, [value], key=key)
            self.dead[f"{self.world.name}-{stream}/{partition}/{offset}", reason] = value or b""
            self.counts[stream, f"dead_{reason}"] += 1

    def count(self, outcome: str, *values: bytes | None, stream: str = "click") -> None:
        """Records that are counted and no more."""
        send_raw(self.world, stream, 1, list(values))
        self.counts[stream, outcome] += len(values)

    def live(self, stream: str, *rows: dict[str, Any], commit: bool | None = None, key: bytes | None = None) -> None:
        """Records that are good all the same."""
        offsets = send_raw(self.world, stream, 2, encoded(*rows), commit=commit, key=key)
        for offset, row in zip(offsets, rows, strict=True):
            remember(self.world, stream, 2, offset, row)


@pytest.mark.rule(9, 10, 12, 13)
def test_poison_lands_where_the_rules_say(world, start_worker):
    (world.root / "poison.py").write_text(FUNCTIONS)
    edit_job(world, ("functions:", "poison:"), ("label: clicks > 0", "label: clicks > 0\nformat: poison:format_sample"))
    poison = Poison(world)
    poison.die("decode", b"", b"not json", b"[1, 2]", b'"text"', b"\xff\xfe\x00", b'{"uid": "a"', key=b"k")
    poison.die("decode", b'{"uid": "a", "mid": "m", "ts": %d, "dwell": NaN}' % START_MS, b"x" * MEGABYTES)
    times: list[Any] = ["soon", True, None, -5, 1e30, [], {}, "2023-11-14T22:13:20Z"]
    poison.die("too_large", b"x" * TOO_MANY)
    poison.die("time", *encoded(*({**record("t"), "ts": ts} for ts in times), {"uid": "a", "mid": "m"}))
    poison.die("future", *encoded({**record("f"), "ts": 4_070_908_800_000}, {**record("f"), "ts": 253_402_300_799_999}))
    poison.die("clean", *encoded(*(record("c", do=do) for do in ("raise", "exit", "int"))))
    poison.die("row", *encoded(record("r", do="strings"), {**record("r"), "uid": ["a"]}, {**record("r"), "uid": 1.5}))
    poison.die("row", *encoded(record("r", dwell="long"), record("r", dwell={"a": 1})))
    poison.die("row", *encoded(record("r", pos="x" * MEGABYTES)), stream="impression")
    (mixed,) = send_raw(world, "click", 3, encoded(record("mixed", do="mixed", dwell=1.5)))
    remember(world, "click", 3, mixed, record("mixed", do="mixed", dwell=1.5))
    poison.dead[f"{world.name}-click/3/{mixed}", "row"] = encoded(record("mixed", do="mixed", dwell=1.5))[0] or b""
    poison.counts["click", "dead_row"] += 1
    poison.counts["click", "dead_row"] += 1  # of two bad rows the second is counted, without a letter of its own
    junk: list[Any] = [None, "", "0"]
    poison.count("junk_key", *encoded(*({**record("j"), "uid": uid} for uid in junk), {"mid": "m", "ts": START_MS}))
    poison.count("filtered", *encoded(record("d", drop=1)), None)
    send_raw(world, "impression", 0, encoded(*(record(f"aborted-{n}") for n in range(50))), commit=False)
    poison.live("impression", record("committed", 1, pos=1), record("mixed", 1, pos=2), commit=True)
    send_raw(world, "click", 2, encoded(record("committed", 2, dwell=100.0)), commit=False)
    poison.live("click", record("committed", 3, dwell=0.5), commit=True, key=b"\x00" * 100)
    poison.live("impression", record("large", 1, pos=3, unused="x" * MEGABYTES), record("slow", 1, do="block", pos=4))
    poison.live("impression", *(record(pos, 5, pos=pos) for pos in ("raise", "number", "filter")))
    offset = send_raw(world, "click", 2, encoded(record("large", 2, do="nan")))[0]
    remember(world, "click", 2, offset, record("large", 2, dwell=float("nan")))

    # after the bad records, whose times are its past: sent before them it could make the good ones among them late
    world.send(feed(seed=21, seconds=40, per_second=40, start_s=10))
    judged = {pos: encode_key([pos, "m"]) for pos in ("raise", "number", "filter")}
    closed, world.rows = world.rows, [row for row in world.rows if row.key not in judged.values()]
    world.send(feed(seed=22, seconds=30, per_second=40, start_s=600))
    world.end()
    worker = start_worker(world, 1)
    world.wait_until_complete([worker])
    late = [record("old", dwell=1.0) | {"ts": ts} for ts in (0, 1, 86_400_000)]  # the clock has long passed 1970
    send_raw(world, "impression", 3, encoded(*late))
    send_raw(world, "click", 3, encoded(*late))
    dropped = "samplejoin_late_dropped_rows_total"
    wait_for(lambda: worker.metric(dropped) == 2 * len(late), 30, worker.log_tail, [worker])
    wait_for(lambda: worker.metric("samplejoin_samples_total", outcome="filtered") == 1, 30, worker.log_tail, [worker])
    wait_for(lambda: len(letters(world)) >= len(poison.dead) + 2, 30, worker.log_tail, [worker])
    world.check()

    check_letters(world, poison)
    for stream in STREAMS:
        good = sum(row.stream == stream for row in world.rows)
        filtered = world.partitions  # what ends the input
        poison.counts[stream, "ok"] = good + (3 if stream != "like" else 0)  # those of 1970
        poison.counts[stream, "filtered"] += filtered
    poison.counts["impression", "ok"] += len(closed) - len([r for r in closed if r.key not in judged.values()])
    assert outcomes([worker]) == poison.counts
    assert worker.metric("samplejoin_dead_letters_total") == len(poison.dead) + 2
    assert worker.metric("samplejoin_dead_letters_total", reason="format") == 2
    assert worker.metric("samplejoin_samples_total", outcome="dead") == 2

    sides = consume_all(world.kafka.bootstrap, f"{world.name}-late")
    late_sides = [json.loads(r.value or b"") for r in sides]
    assert sorted((s["stream"], s["slice_ms"]) for s in late_sides) == sorted(
        (stream, ts) for stream in ("click", "impression") for ts in (0, 0, 86_400_000)
    )
    assert worker.metric("samplejoin_late_dropped_rows_total") == 6

    log = worker.log.read_text()
    assert "poison:clean at " in log
    assert "Traceback" not in log


def check_letters(world: World, poison: Poison) -> None:
    """Every dead letter once, with its headers and as much of the original as one carries."""
    found = letters(world)
    records = [(h, v) for h, v in found if "source" in h]
    assert Counter((h["source"], h["reason"]) for h, _ in records) == Counter(poison.dead.keys())
    for headers, value in records:
        original = poison.dead[headers["source"], headers["reason"]]
        assert value == original[: 64 << 10], headers
        assert int(headers["length"]) == len(original)
        assert headers["error"], headers
        assert headers["function"], headers
        assert headers["job"] == world.name, headers
        assert headers["stream"] in headers["source"]
        if headers["reason"] == "clean":
            assert headers["function"] == "poison:clean"
            raised = not headers["error"].startswith("TypeError: poison:clean must return")
            assert ("Traceback" in headers.get("traceback", "")) == raised, headers
    assert {h["error"] for h, _ in records} >= {
        "RuntimeError: cannot clean c",
        "SystemExit: 3",
        "ValueError: empty record",
    }

    samples = [h for h, _ in found if "sample_id" in h]
    assert sorted(h["error"] for h in samples) == [
        "TypeError: poison:format_sample returned int, expected a dict, bytes, str or None",
        "ValueError: cannot format",
    ]
    assert all(h["reason"] == "format" for h in samples)
    assert ["Traceback" in h.get("traceback", "") for h in samples] == ["cannot format" in h["error"] for h in samples]
