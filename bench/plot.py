"""The results as a picture: cost, rate, memory and delay of each system, with the range of the rounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.table import COST, Result, by_system

#: from this factor between the highest and the lowest on, an axis is logarithmic
LOG_FROM = 10


def _delay_s(run: Result) -> float | None:
    return run["delay_ms"]["p99"] / 1000 if run["delay_ms"] else None


PANELS: tuple[tuple[str, str, Callable[[Result], float | None]], ...] = (
    ("CPU-seconds per million events", ",.1f", lambda run: run[COST]),
    ("events per second, whole span", ",.0f", lambda run: run["events_per_s_of_span"]),
    ("peak memory, MB", ",.0f", lambda run: run["peak_mb"]),
    ("sample delay on a backlog, p99, s", ",.1f", _delay_s),
)


def plot_costs(results: list[Result], title: str, path: Path) -> None:
    """Writes an SVG. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    runs = {name: each for name, each in by_system(results).items() if each}
    names = sorted(runs, key=lambda name: median(run[COST] for run in runs[name]), reverse=True)
    height = 0.5 + 0.28 * len(names)
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 2 * height + 0.5), sharey=True, layout="constrained")
    for panel, (label, form, value) in zip(axes.flat, PANELS, strict=True):
        _bars(panel, names, [[v for run in runs[name] if (v := value(run)) is not None] for name in names], form)
        panel.set_title(label, fontsize="medium")
    figure.suptitle(f"{title}: median and range")
    figure.savefig(path)
    pyplot.close(figure)


def _bars(axes: Any, names: list[str], values: list[list[float]], form: str) -> None:
    """A bar for each system that has values."""
    colours = ["tab:blue" if name.startswith(("ours", "floor")) else "tab:gray" for name in names]
    middles = [median(each) if each else 0.0 for each in values]
    below = [middle - min(each, default=middle) for middle, each in zip(middles, values, strict=True)]
    above = [max(each, default=middle) - middle for middle, each in zip(middles, values, strict=True)]
    axes.barh(names, middles, xerr=[below, above], color=colours, capsize=3)
    for place, (middle, each) in enumerate(zip(middles, values, strict=True)):
        said = format(middle, form) if each else "does not apply"
        axes.annotate(said, (middle + above[place], place), (6, 0), textcoords="offset points", va="center")
    known = [middle for middle in middles if middle]
    if known and max(known) > LOG_FROM * min(known):
        axes.set_xscale("log")
    axes.margins(x=0.2)
