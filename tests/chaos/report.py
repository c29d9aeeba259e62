"""The report of a run: a JSON line per round as it ends, and a table of all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

WRONGS = (
    "lost", "doubled", "wrong", "wrongly_late", "orphans_wrong", "letters_missing", "letters_unexpected",
)  # fmt: skip


def append(path: Path, line: dict[str, Any]) -> None:
    """Adds a round to the report."""
    with path.open("a") as file:
        file.write(json.dumps(line, default=str) + "\n")


def rounds_of(path: Path) -> list[dict[str, Any]]:
    """All rounds of a report."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rounds: list[dict[str, Any]]) -> str:
    """The summary as Markdown."""
    verdicts = [line["verdict"] for line in rounds]
    counts = sum((Counter(line["counts"]) for line in rounds), Counter[str]())
    faults = [fault for line in rounds for fault in line["faults"]]
    kinds = Counter(fault["fault"] for fault in faults)
    lenient = sum(v["lenient_keys"] for v in verdicts)
    checked = sum(v["checked"] for v in verdicts)
    lines = [
        ("rounds", len(rounds)),
        ("of them red", sum(line["red"] for line in rounds)),
        ("events", sum(line["events"] for line in rounds)),
        ("worker kills", counts["kills"]),
        ("other faults", sum(count for kind, count in kinds.items() if kind not in KILLS)),
        ("samples checked", checked),
        *((wrong.replace("_", " "), sum(v[wrong] for v in verdicts)) for wrong in WRONGS),
        ("repeats allowed (at_least_once, dead letters read again)", sum(v["repeats"] for v in verdicts)),
        ("keys judged leniently (late rows without a topic)", f"{lenient} ({lenient / max(1, checked):.3%})"),
        ("exempt share of windows by samplejoin verify", _exempt(rounds)),
        ("longest stall", _seconds(max((line["longest_stall_s"] for line in rounds), default=0.0))),
        ("fault to next sample, median and worst", _spread(fault.get("next_sample_s") for fault in faults)),
        ("fault to all ready, median and worst", _spread(fault.get("ready_s") for fault in faults)),
        ("wall time per round, median and worst", _spread(sum(r["wall_s"].values()) for r in rounds)),
    ]
    text = ["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines), ""]
    text += [
        "| fault | times | to next sample, median, worst | to all ready, median, worst |",
        "|---|---|---|---|",
    ]
    for kind, times in sorted(kinds.items()):
        mine = [fault for fault in faults if fault["fault"] == kind]
        felt = _spread(fault.get("next_sample_s") for fault in mine), _spread(fault.get("ready_s") for fault in mine)
        text.append(f"| {kind} | {times} | {felt[0]} | {felt[1]} |")
    places = {
        name: count for name, count in sorted(counts.items()) if name.startswith(("failpoint ", "frozen ", "raised "))
    }
    text += ["", "| killed, frozen or failed at | times |", "|---|---|"]
    text += [f"| {name.removeprefix('failpoint ')} | {count} |" for name, count in places.items()]
    return "\n".join(text) + "\n"


KILLS = {"kill", "kill-twice", "kill-all", "failpoint", "empty-disk", "older-disk"}
"""Faults that are counted as worker kills."""


def _exempt(rounds: list[dict[str, Any]]) -> str:
    known = [line["verified"] for line in rounds if line["verified"]]
    windows = sum(each["windows"] for each in known)
    return f"{sum(each['exempt'] for each in known) / windows:.3%}" if windows else "not verified"


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _spread(values: Iterable[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    return f"{_seconds(median(known))}, {_seconds(known[-1])}" if known else "none"
