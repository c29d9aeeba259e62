"""The costs as a picture: bars of CPU-seconds per million events, with the range of the rounds."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.table import COST, Result, by_system

#: from this factor between the dearest and the cheapest on, the axis is logarithmic
LOG_FROM = 10


def plot_costs(results: list[Result], title: str, path: Path) -> None:
    """Writes an SVG. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    costs = {name: [run[COST] for run in runs] for name, runs in by_system(results).items() if runs}
    names = sorted(costs, key=lambda name: median(costs[name]), reverse=True)
    middles = [median(costs[name]) for name in names]
    below = [middle - min(costs[name]) for name, middle in zip(names, middles, strict=True)]
    above = [max(costs[name]) - middle for name, middle in zip(names, middles, strict=True)]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.4 * len(names)), layout="constrained")
    colours = ["tab:blue" if name.startswith(("ours", "floor")) else "tab:gray" for name in names]
    axes.barh(names, middles, xerr=[below, above], color=colours, capsize=3)
    for place, middle in enumerate(middles):
        axes.annotate(f"{middle:.1f}", (middle + above[place], place), (6, 0), textcoords="offset points", va="center")
    if max(middles) > LOG_FROM * min(middles):
        axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("CPU-seconds per million events: median and range")
    axes.set_title(title)
    figure.savefig(path)
    pyplot.close(figure)
