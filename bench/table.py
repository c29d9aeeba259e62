"""Results as Markdown: medians with their range, and ratios that are taken within a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

Result = dict[str, Any]

COST = "cpu_s_per_million"
#: (base, the systems that are held against it; none: all)
BASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("flink-rocksdb", ()),
    ("flink-heap", ("ours", "ours-2")),
    ("floor", ("ours", "ours-2")),
)


def spread(values: Iterable[float], form: str = ",.1f") -> str:
    """`median (lowest-highest)`, one value alone, or `-` for none."""
    each = sorted(values)
    if not each:
        return "-"
    middle = format(median(each), form)
    return middle if len(each) == 1 else f"{middle} ({format(each[0], form)}-{format(each[-1], form)})"


def by_system(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Returns the successful runs of each system, in their order; an empty list if all of them failed."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result["system"], []).extend([] if "error" in result else [result])
    return grouped


def ratios(results: Iterable[Result], system: str, base: str) -> list[float]:
    """Returns the cost of `system` over that of `base`, for each round that has both."""
    grouped = by_system(results)
    costs = {run["round"]: run[COST] for run in grouped.get(base, ())}
    return [run[COST] / costs[run["round"]] for run in grouped.get(system, ()) if run["round"] in costs]


def joined(runs: list[Result]) -> str:
    """Returns `right` if all runs are, otherwise the result of the worst and the best of them."""
    if all(run["right"] for run in runs):
        return "right"
    clicks = sorted(run["clicks"] for run in runs)
    lost = max(run["expected_samples"] - (run["samples"] if run["event_time"] else run["keys"]) for run in runs)
    reached = f"{clicks[0]:,}" if clicks[0] == clicks[-1] else f"{clicks[0]:,}-{clicks[-1]:,}"
    samples = f"; {abs(lost):,} samples {'missing' if lost > 0 else 'too many'}" if lost else ""
    return f"{reached} of {runs[0]['expected_clicks']:,} clicks{samples}"


def delay(runs: list[Result]) -> str:
    """Medians over the runs of p50, p99 and maximum, in seconds."""
    known = [run["delay_ms"] for run in runs if run["delay_ms"]]
    if not known:
        return "-"
    return " / ".join(f"{median(each[q] for each in known) / 1000:.2f}" for q in ("p50", "p99", "max"))


COLUMNS: tuple[tuple[str, Callable[[list[Result]], str]], ...] = (
    ("CPU-s per million events", lambda runs: spread(run[COST] for run in runs)),
    ("events/s, window apart", lambda runs: spread((run["events_per_s"] for run in runs), ",.0f")),
    ("events/s, whole span", lambda runs: spread((run["events_per_s_of_span"] for run in runs), ",.0f")),
    ("peak memory, MB", lambda runs: spread((run["peak_mb"] for run in runs), ",.0f")),
    ("delay p50 / p99 / max, s", delay),
    ("samples and clicks", joined),
)


def costs_table(results: list[Result]) -> str:
    """One line per system."""
    lines = [_line(["system", *(title for title, _ in COLUMNS)]), _line(["---"] * (len(COLUMNS) + 1))]
    for name, runs in by_system(results).items():
        cells = [column(runs) for _, column in COLUMNS] if runs else ["failed", *["-"] * (len(COLUMNS) - 1)]
        lines.append(_line([name, *cells]))
    return "\n".join(lines)


def ratios_table(results: list[Result]) -> str:
    """CPU-seconds of each system over those of the bases in the same round; empty if no base was run."""
    systems = list(by_system(results))
    bases = [(base, those) for base, those in BASES if base in systems]
    if not bases:
        return ""
    lines = [_line(["cost of", *(f"over {base}" for base, _ in bases)]), _line(["---"] * (len(bases) + 1))]
    for name in systems:
        cells = [
            spread(ratios(results, name, base), ".2f") if name != base and (not those or name in those) else "-"
            for base, those in bases
        ]
        if set(cells) != {"-"}:
            lines.append(_line([name, *cells]))
    return "\n".join(lines)


def delays_table(delays: list[Result]) -> str:
    """Sample delays at a steady rate, one line per run."""
    titles = ["system", "events/s", "delay p50 / p99 / max, s", "longest stall of the loop", "impressions in samples"]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for run in delays:
        share = "all" if run["impressions"] == run["expected_impressions"] else (
            f"{run['impressions']:,} of {run['expected_impressions']:,}"
        )  # fmt: skip
        stall = "-" if run["stall_below_s"] is None else f"below {run['stall_below_s']:g} s"
        lines.append(_line([run["system"], f"{run['rate']:,}", delay([run]), stall, share]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
